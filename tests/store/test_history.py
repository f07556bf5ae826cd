from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection

import pytest

from kms.domain.address import Mailbox
from kms.domain.content import InlineContent
from kms.domain.decision import Record, Stage, format_decision_id
from kms.domain.envelope import Envelope, Recipient
from kms.domain.message_life import LifeEvent
from kms.domain.queue_entry import QueueEntry, format_queue_id
from kms.store import decisions, message_life
from kms.store.administration import NotFound
from kms.store.history import tell_why
from kms.store.queue_store import NewEntry, QueueStore
from kms.store.schema import open_database

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NUMBER = 1_795_521_600_000_000
ANNA = Mailbox("anna", "example.org")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Connection]:
    with closing(open_database(tmp_path / "kms.sqlite3")) as connection:
        yield connection


def test_a_decision_is_told_by_its_id_in_any_case(store: Connection) -> None:
    decisions.add(
        store, [Record(7, NOW, "192.0.2.1", Stage.RCPT, "a rule", "550 5.1.1 No", {"to": "x@y.test"})]
    )
    told = tell_why(store, format_decision_id(7).lower())
    assert told == {
        "decision": {
            "id": format_decision_id(7),
            "at": "2026-11-24T12:00:00+00:00",
            "client": "192.0.2.1",
            "stage": "RCPT",
            "rule": "a rule",
            "reply": "550 5.1.1 No",
            "is_observed": False,
            "facts": {"to": "x@y.test"},
        }
    }


def test_a_message_is_told_with_what_is_left_of_it(store: Connection) -> None:
    entry = QueueEntry(NUMBER, Envelope(None, (Recipient(1, ANNA, ANNA),)), NOW, 1, due_at=NOW)
    QueueStore(Path("/none")).add(
        store, [NewEntry(entry, InlineContent(b"x"), False, '{"client":"192.0.2.1"}')]
    )
    message = tell_why(store, format_queue_id(NUMBER).lower())["message"]
    assert message["queue_id"] == format_queue_id(NUMBER)
    assert message["events"] == [
        {"at": "2026-11-24T12:00:00+00:00", "event": "accepted", "client": "192.0.2.1"}
    ]
    assert message["waiting"] == {
        "recipients": ["anna@example.org"],
        "next_try": "2026-11-24T12:00:00+00:00",
        "attempts": 0,
    }
    store.execute("UPDATE recipient SET domain = ''")
    assert "damage" in tell_why(store, format_queue_id(NUMBER))["message"]["waiting"]


def test_a_message_that_has_left_the_queue_waits_for_nothing(store: Connection) -> None:
    message_life.add(store, [(NUMBER, NOW, LifeEvent.ATTEMPTED, '{"outcomes":[]}')])
    assert tell_why(store, format_queue_id(NUMBER))["message"]["waiting"] is None


@pytest.mark.parametrize("text", ["", "7F3K2Q", "FFFFFFFFFFFFF", "nonsense", "0", "A" * 40])
def test_anything_else_is_not_found(store: Connection, text: str) -> None:
    with pytest.raises(NotFound):
        tell_why(store, text)
