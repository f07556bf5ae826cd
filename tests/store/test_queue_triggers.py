"""One statement writes all rows of an entry, and one removes them; the tables themselves stand in the schema."""

from __future__ import annotations

from datetime import UTC, datetime
from sqlite3 import Connection

import pytest

from kms.domain.address import Mailbox
from kms.domain.content import InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.queue_entry import QueueEntry
from kms.store.client_ledger import ClientEvent
from kms.store.queue_store import NewEntry, QueueStore, Settlement
from kms.store.queue_triggers import NUMBERS_RESERVED
from kms.store.schema import IN_MEMORY, open_database

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TABLES = ("message", "recipient", "content", "message_life", "counted_message")
ALICE, BOB, EVE = (Mailbox(name, "example.test") for name in ("alice", "bob", "eve"))


@pytest.fixture
def connection() -> Connection:
    return open_database(IN_MEMORY)


@pytest.fixture
def store(tmp_path) -> QueueStore:  # type: ignore[no-untyped-def]
    return QueueStore(tmp_path)


def entry(number: int, *recipients: Mailbox, story: str = "", client: str = "") -> NewEntry:
    envelope = Envelope(None, tuple(Recipient(i, to, to) for i, to in enumerate(recipients, 1)))
    counted = ClientEvent(client, NOW) if client else None
    return NewEntry(QueueEntry(number, envelope, NOW, 4, NOW), InlineContent(b"mail"), True, story, counted)


def rows(connection: Connection) -> dict[str, int]:
    counts = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in TABLES}
    return {name: count for name, count in counts.items() if count}


def test_an_entry_has_a_row_wherever_something_is_to_be_said(
    connection: Connection, store: QueueStore
) -> None:
    store.add(connection, [entry(1, ALICE, story="{}", client="192.0.2.1")])
    assert rows(connection) == dict.fromkeys(TABLES, 1)


def test_an_entry_without_story_and_count_has_neither(connection: Connection, store: QueueStore) -> None:
    store.add(connection, [entry(1, ALICE)])
    assert rows(connection) == {"message": 1, "recipient": 1, "content": 1}


def test_all_recipients_of_each_entry_are_there(connection: Connection, store: QueueStore) -> None:
    store.add(connection, [entry(1, ALICE, BOB, EVE), entry(2, BOB), entry(3, EVE, ALICE)])
    found = connection.execute("SELECT number, recipient_id, local_part FROM recipient").fetchall()
    assert found == [
        (1, 1, "alice"), (1, 2, "bob"), (1, 3, "eve"), (2, 1, "bob"), (3, 1, "eve"), (3, 2, "alice"),
    ]  # fmt: skip


def test_what_leaves_takes_everything_along_but_its_story(connection: Connection, store: QueueStore) -> None:
    store.add(connection, [entry(1, ALICE, BOB, story="{}"), entry(2, EVE)])
    store.settle(connection, [Settlement(1, 0, (1, 2))])
    assert rows(connection) == {"message": 1, "recipient": 1, "content": 1, "message_life": 1}


def test_numbers_are_reserved_ahead_and_the_mark_is_moved_only_when_it_is_reached(
    connection: Connection, store: QueueStore
) -> None:
    def mark() -> int:
        query = "SELECT value FROM meta WHERE key = ?"
        return int(connection.execute(query, (NUMBERS_RESERVED,)).fetchone()[0])

    store.add(connection, [entry(1000, ALICE)])
    first = mark()
    assert first > 1000
    store.add(connection, [entry(first - 1, ALICE), entry(first, ALICE)])
    assert mark() == first
    store.add(connection, [entry(first + 1, ALICE)])
    assert mark() > first + 1
