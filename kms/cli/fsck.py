"""`kmsctl queue fsck`: is the store whole? With `--repair`, what cannot be used is set aside, and nothing deleted.

Exit status 0 where nothing is wrong (any more), 65 where something is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from kms.cli import failure
from kms.cli.failure import CommandFailed
from kms.cli.offline import OfflineStore
from kms.cli.session import Session, pass_session


@click.command("fsck")
@click.option(
    "--repair", "must_repair", is_flag=True, help="Set aside what is damaged; the server must not run."
)
@pass_session
def fsck(session: Session, must_repair: bool) -> None:
    """Check the queue, its body files, and what crashes left in mailboxes."""
    with session.administration() as administration:
        if not must_repair:
            facts = administration.check_queue()
        elif isinstance(administration, OfflineStore):
            facts = administration.repair_queue()
        else:
            raise CommandFailed(failure.TRY_AGAIN, "the server is running: stop it, then repair")
    session.emit(facts, "\n".join(_tell(facts)))
    if facts["faults"]:
        raise CommandFailed(failure.BAD_DATA, f"{len(facts['faults'])} faults")


def _tell(facts: dict[str, Any]) -> Iterator[str]:
    for fault in facts.get("found", facts["faults"]):
        yield fault["what"]
    for sentence in facts.get("done", ()):
        yield f"repaired: {sentence}"
    if not facts["faults"]:
        yield "nothing is wrong" if "found" not in facts else "nothing is wrong any more"
    if not facts["is_offline"]:
        yield "(the server is running: body files without a message were not looked for)"
