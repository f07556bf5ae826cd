"""`kmsctl limits …` and `kmsctl blocks …`: what is counted of a client, and who is refused for a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from kms.cli.session import Session, make_table, pass_session

_NAMES = (
    ("messages", "messages within the last hour"),
    ("reserved", "messages under way"),
    ("smtp_connections", "SMTP connections"),
    ("pop3_connections", "POP3 connections"),
    ("unknown_recipients", "unknown recipients within the last hour"),
)


@click.group()
def limits() -> None:
    """Counters of clients."""


@limits.command("show")
@click.argument("address")
@pass_session
def show(session: Session, address: str) -> None:
    """Show what is counted of an address (over IPv6, of its /64)."""
    with session.administration() as administration:
        facts = administration.show_limits(address)
    lines = [facts["client"], *(f"{facts[key]:>8}  {name}" for key, name in _NAMES)]
    if facts["blocks"]:
        lines += ["", _make_table(facts["blocks"])]
    session.emit(facts, "\n".join(lines))


@click.group()
def blocks() -> None:
    """Clients that are refused for a time."""


@blocks.command("list")
@pass_session
def list_(session: Session) -> None:
    """Show the blocks that last."""
    with session.administration() as administration:
        found = administration.list_blocks()
    session.emit(found, _make_table(found))


@blocks.command("lift")
@click.argument("address")
@pass_session
def lift(session: Session, address: str) -> None:
    """End the blocks of an address, and count its unknown recipients from nothing."""
    with session.administration() as administration:
        facts = administration.lift_blocks(address)
    session.emit(facts, f"{facts['lifted']} lifted")


def _make_table(found: Sequence[dict[str, Any]]) -> str:
    columns = ("client", "kind", "account", "since", "until", "why")
    return make_table([key.upper() for key in columns], [[facts[key] for key in columns] for facts in found])
