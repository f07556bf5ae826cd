"""`kmsctl alias …`: aliases. What is changed acts at once on a running server."""

from __future__ import annotations

from typing import Any

import click

from kms.cli import failure
from kms.cli.connection import is_running
from kms.cli.failure import CommandFailed
from kms.cli.online import OnlineServer
from kms.cli.session import Session, make_table, pass_session
from kms.config.aliases_file import describe_troubles
from kms.config.loader import load_settings
from kms.config.problems import ConfigError


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


@alias.command("load")
@pass_session
def load(session: Session) -> None:
    """Check [domains] aliases_file, and let the running server read it; a wrong one (status 65) changes nothing."""
    facts = load_file(session)
    lines = [f"warning: {warning}" for warning in facts["warnings"]]
    what = "are in force" if facts["is_loaded"] else "are right; no server runs, the next one reads them"
    session.emit(facts, "\n".join([*lines, f"{facts['path']}: {facts['aliases']} aliases {what}"]))


def load_file(session: Session) -> dict[str, Any]:
    """Do what `alias load` and `newaliases` do.

    Returns:
        `path`, `aliases` (how many), `warnings` (those that cannot be used), `is_loaded` by a running server.

    Raises:
        CommandFailed: 65 with every bad line, 78 where the configuration is wrong or names no such file.
    """
    try:
        settings = load_settings(session.config)
    except ConfigError as error:
        is_own = any(problem.file == str(session.config) for problem in error.problems)
        status = failure.BAD_CONFIGURATION if is_own else failure.BAD_DATA
        raise CommandFailed(status, *map(str, error.problems)) from None
    if settings.domains.aliases_file is None:
        raise CommandFailed(
            failure.BAD_CONFIGURATION,
            f"{session.config}: [domains] aliases_file is not set, so no such file is read",
        )
    if is_running(settings.control_socket):
        return {**OnlineServer(settings.control_socket).load_aliases_file(), "is_loaded": True}
    aliases = settings.file_aliases
    return {
        "path": str(settings.domains.aliases_file),
        "aliases": len(aliases),
        "warnings": [*describe_troubles(aliases)],
        "is_loaded": False,
    }


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
