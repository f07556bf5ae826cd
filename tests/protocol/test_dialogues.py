"""Every command, and every reply that the session itself gives, as dialogues that anybody can read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kms.protocol
from kms.domain import reply as replies
from tests.support import dialogue
from tests.support.dialogue import DialogueError, SessionPeer, parse, play

NAMES = sorted(path.name for path in dialogue.DIALOGUES.glob("*.txt"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split_octets", [0, 1, 7])
def test_the_dialogue_goes_as_written(name: str, split_octets: int) -> None:
    written = dialogue.read(name)
    if name == "no_line_end.txt":
        split_octets *= 1000  # a million single octets would take too long
    play(written, SessionPeer(written.givens), split_octets=split_octets)


def test_every_reply_of_the_session_is_shown_in_a_dialogue() -> None:
    said = set()
    for path in Path(kms.protocol.__path__[0]).glob("smtp_*.py"):
        if path.name != "smtp_client.py":
            said |= set(re.findall(r"\brepl(?:y|ies)\.([A-Z][A-Z0-9_]+)\b", path.read_text(encoding="utf-8")))
    shown = "".join((dialogue.DIALOGUES / name).read_text(encoding="utf-8") for name in NAMES)

    missing = {name for name in said if f"S: {getattr(replies, name)}\n" not in shown}

    assert len(said) > 30
    assert missing == set()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("S: 221 Bye\nCLOSED", "not b'221 Bye'"),
        ("S: 220…\nC: NOOP\nCLOSED", "not closed"),
        ("S: 220…\nEVENT TransactionAborted()", "the last event was none"),
        ("S: 220…\nC: NOOP", "must end with CLOSED"),
        ("HELLO", "what is 'HELLO'"),
    ],
)
def test_a_dialogue_that_goes_otherwise_is_reported(text: str, complaint: str) -> None:
    with pytest.raises(DialogueError, match=complaint):
        play(parse(text), SessionPeer())


def test_an_answer_that_is_no_reply_is_reported() -> None:
    with pytest.raises(DialogueError, match="no reply"):
        SessionPeer(["CONNECT -> go away"])
