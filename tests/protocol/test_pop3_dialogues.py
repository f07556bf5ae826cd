"""POP3 sessions as dialogues that anybody can read."""

from __future__ import annotations

import pytest

from tests.support import dialogue
from tests.support.dialogue import play
from tests.support.pop3_dialogues import Pop3Peer

NAMES = sorted(path.name for path in (dialogue.DIALOGUES / "pop3").glob("*.txt"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split_octets", [0, 1, 7])
def test_the_dialogue_goes_as_written(name: str, split_octets: int) -> None:
    written = dialogue.read(f"pop3/{name}")
    play(written, Pop3Peer(written.givens), split_octets=split_octets)
