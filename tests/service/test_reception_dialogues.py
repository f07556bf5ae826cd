"""Relay control, limits and refusals as dialogues with the whole reception behind the session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import dialogue
from tests.support.dialogue import play
from tests.support.smtp_dialogues import RigPeer

NAMES = sorted(path.name for path in (dialogue.DIALOGUES / "reception").glob("*.txt"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split_octets", [0, 7])
def test_the_dialogue_goes_as_written(name: str, split_octets: int, tmp_path: Path) -> None:
    written = dialogue.read(f"reception/{name}")
    peer = RigPeer(written.givens, tmp_path)

    play(written, peer, split_octets=split_octets)

    assert peer.rig.rows() == len(peer.rig.stored)
    assert len(peer.rig.body_files()) <= len(peer.rig.stored)


def test_there_are_dialogues() -> None:
    assert len(NAMES) > 30


def test_a_given_that_nobody_knows_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="GIVEN what"):
        RigPeer(["weather fine"], tmp_path)
