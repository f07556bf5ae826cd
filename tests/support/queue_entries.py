"""Builders of queue entries for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection

from kms.domain.address import Mailbox
from kms.domain.content import Content, InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.queue_entry import QueueEntry
from kms.store.queue_store import NewEntry

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
CONTENT = InlineContent(b"Subject: hello\r\n\r\nworld\r\n")
SENDER = Mailbox("joe", "sender.test")


def make_recipient(recipient_id: int) -> Recipient:
    """Recipient n was named rn@list.test and goes to mn@target.test."""
    return Recipient(
        recipient_id, Mailbox(f"m{recipient_id}", "target.test"), Mailbox(f"r{recipient_id}", "list.test")
    )


def make_entry(
    number: int = 1,
    recipients: int = 1,
    due: timedelta = timedelta(0),
    content: Content = CONTENT,
    reverse_path: Mailbox | None = SENDER,
) -> QueueEntry:
    """An entry that arrived at `NOW` and is due `due` later."""
    envelope = Envelope(reverse_path, tuple(make_recipient(number) for number in range(1, recipients + 1)))
    return QueueEntry(number, envelope, NOW, content.octets, NOW + due)


def make_new(
    number: int = 1,
    recipients: int = 1,
    due: timedelta = timedelta(0),
    content: Content = CONTENT,
    is_leased: bool = False,
) -> NewEntry:
    """The same, ready to be added."""
    return NewEntry(make_entry(number, recipients, due, content), content, is_leased)


def count_messages(connection: Connection, rows: Sequence[tuple[int, str, int]]) -> None:
    """Count messages that nobody has sent: queue number, client and instant (as `to_us` gives it) of each."""
    connection.executemany("INSERT INTO counted_message VALUES (?, ?, ?)", rows)
