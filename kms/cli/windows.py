"""`kmsctl windows …`: addresses that may relay for a while since a POP3 login."""

from __future__ import annotations

import click

from kms.cli.session import Session, make_table, pass_session


@click.group()
def windows() -> None:
    """Relay windows."""


@windows.command("list")
@pass_session
def list_(session: Session) -> None:
    """Show the open windows."""
    with session.administration() as administration:
        found = administration.list_windows()
    rows = [(facts["address"], facts["user"], facts["until"]) for facts in found]
    session.emit(found, make_table(("ADDRESS", "USER", "UNTIL"), rows))


@windows.command("revoke")
@click.argument("address")
@click.option("--user", help="Only the window that this user opened.")
@pass_session
def revoke(session: Session, address: str, user: str | None) -> None:
    """End the windows of an address."""
    with session.administration() as administration:
        facts = administration.revoke_windows(address, user)
    session.emit(facts, f"{facts['revoked']} ended")
