from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Connection

import pytest

from kms.domain.message_life import LifeEntry, LifeEvent
from kms.store import message_life
from kms.store.schema import open_database, to_us

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Connection]:
    with closing(open_database(tmp_path / "kms.sqlite3")) as connection:
        yield connection


def test_a_life_is_told_in_order(store: Connection) -> None:
    message_life.add(
        store,
        [
            (7, LATER, LifeEvent.ATTEMPTED, '{"outcomes":[]}'),
            (7, NOW, LifeEvent.ACCEPTED, '{"client":"192.0.2.1"}'),
            (8, NOW, LifeEvent.ACCEPTED, "{}"),
        ],
    )
    assert message_life.find(store, 7) == [
        LifeEntry(NOW, LifeEvent.ACCEPTED, {"client": "192.0.2.1"}),
        LifeEntry(LATER, LifeEvent.ATTEMPTED, {"outcomes": []}),
    ]
    assert message_life.find(store, 9) == []


@pytest.mark.parametrize("column", ["facts", "event"])
def test_a_row_that_cannot_be_read_is_left_out(store: Connection, column: str) -> None:
    message_life.add(store, [(7, NOW, LifeEvent.ACCEPTED, "{}"), (7, LATER, LifeEvent.ATTEMPTED, "{}")])
    store.execute(f"UPDATE message_life SET {column} = 'nonsense' WHERE event = 'attempted'")
    assert [entry.event for entry in message_life.find(store, 7)] == [LifeEvent.ACCEPTED]


def test_a_message_that_has_left_the_queue_is_forgotten_after_its_time(store: Connection) -> None:
    old, new, waiting = (to_us(NOW - timedelta(days=days)) for days in (8, 1, 9))
    rows = [(number, NOW, LifeEvent.ACCEPTED, "{}") for number in (old, new, waiting)]
    message_life.add(store, rows)
    store.execute(
        "INSERT INTO message (number, is_8bit, arrived_us, octets, attempts, due_us, fence, is_in_file)"
        " VALUES (?, 0, ?, 1, 0, 0, 0, 0)",
        (waiting, waiting),
    )
    before = NOW - timedelta(days=7)
    assert [message_life.purge(store, before, 10) for _ in range(2)] == [1, 0]
    assert [len(message_life.find(store, number)) for number in (old, new, waiting)] == [0, 1, 1]
