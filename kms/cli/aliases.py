"""`kmsctl alias …`: aliases. What is changed acts at once on a running server."""

from __future__ import annotations

from typing import Any

import click

from kms.cli import failure
from kms.cli.failure import CommandFailed
from kms.cli.session import Session, make_table, pass_session


@click.group()
def alias() -> None:
    """Aliases: other addresses of accounts, and lists."""


_address = click.argument("address")


@alias.command("add")
@_address
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@pass_session
def add(session: Session, address: str, targets: tuple[str, ...]) -> None:
    """Make an alias; `*` and `?` stand for other letters, `*` alone for all that nobody else has."""
    with session.administration() as administration:
        facts = administration.add_alias(address, list(targets))
    lines = [f"{facts['address']} leads to {', '.join(facts['targets'])}"]
    if facts["leads_to"]["problem"]:
        lines.append(f"but: {facts['leads_to']['problem']}")
    session.emit(facts, "\n".join(lines))


@alias.command("list")
@pass_session
def list_(session: Session) -> None:
    """Show all aliases."""
    with session.administration() as administration:
        aliases = administration.list_aliases()
    rows = [(facts["address"], ", ".join(facts["targets"])) for facts in aliases]
    session.emit(aliases, make_table(("ALIAS", "TARGETS"), rows))


@alias.command("remove")
@_address
@pass_session
def remove(session: Session, address: str) -> None:
    """Remove an alias."""
    with session.administration() as administration:
        facts = administration.remove_alias(address)
    session.emit(facts, f"{facts['address']} was removed")


@alias.command("resolve")
@_address
@pass_session
def resolve(session: Session, address: str) -> None:
    """Show who gets the mail of an address in the end; status 67 where nobody does."""
    with session.administration() as administration:
        facts: dict[str, Any] = administration.resolve_alias(address)
    if facts["problem"]:
        raise CommandFailed(failure.NO_SUCH_USER, f"{facts['address']}: {facts['problem']}")
    session.emit(facts, "\n".join(facts["targets"]))
