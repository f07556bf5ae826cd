"""The queue as one looks at it: counts, pages, single entries, the earliest due. Nothing here changes it.

All operations take a connection, and see what is committed (or, in a transaction, what it has done so far).
They are imported from `queue_store`, which adds what changes the queue.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from sqlite3 import Connection

from kms.domain.queue_entry import QueueEntry
from kms.store.many_rows import select_in
from kms.store.queue_items import QueueCount, SetAside
from kms.store.queue_rows import SELECT_MESSAGE, SELECT_RECIPIENTS, DamagedRow, RecipientRow, read_entry
from kms.store.queue_triggers import NUMBERS_RESERVED
from kms.store.schema import MAX_US, from_us


def greatest_number(connection: Connection) -> int:
    """The greatest number that may have been used, for `NumberSource`; 0 in a new store."""
    row = connection.execute(
        "SELECT max((SELECT coalesce(max(number), 0) FROM message),"
        " (SELECT coalesce(max(value), 0) FROM meta WHERE key = ?))",
        (NUMBERS_RESERVED,),
    ).fetchone()
    return int(row[0])


def earliest_due(connection: Connection) -> datetime | None:
    """When the first entry that nobody holds is due; None where there is none. An index answers it."""
    row = connection.execute(
        "SELECT min(due_us) FROM message WHERE lease_owner = '' AND set_aside_reason IS NULL"
        " AND parked IS NULL"
    ).fetchone()
    return None if row[0] is None else from_us(min(max(row[0], 0), MAX_US))


def count(connection: Connection) -> QueueCount:
    """Count the queue; reads all of it."""
    messages, octets, aside = connection.execute(
        "SELECT count(*), coalesce(sum(octets), 0), count(set_aside_reason) FROM message WHERE parked IS NOT 'trash'"
    ).fetchone()
    recipients = connection.execute(
        "SELECT count(*) FROM recipient WHERE number NOT IN (SELECT number FROM message WHERE parked = 'trash')"
    ).fetchone()[0]
    return QueueCount(messages, recipients, octets, aside)


def load_entry(connection: Connection, number: int) -> QueueEntry | None:
    """Read one entry without its content; None where there is none. Raises DamagedRow."""
    row = connection.execute(SELECT_MESSAGE + "WHERE number = ?", (number,)).fetchone()
    if row is None:
        return None
    return read_entry(row, recipients_of(connection, [number]).get(number, ()))


def list_entries(connection: Connection, after: int, limit: int) -> tuple[list[QueueEntry], list[SetAside]]:
    """Read a page of the queue, without contents, ordered by number.

    Args:
        after: the last number of the page before; 0 for the first page.
        limit: of entries, those that were set aside included.

    Returns:
        The entries; and those that are, or should be, set aside.
    """
    rows = connection.execute(
        SELECT_MESSAGE + "WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
    ).fetchall()
    numbers = [row[0] for row in rows]
    reasons = _reasons_of(connection, numbers)
    recipients = recipients_of(connection, numbers)
    entries, aside = [], []
    for row in rows:
        try:
            if row[0] in reasons:
                raise DamagedRow(reasons[row[0]])
            entries.append(read_entry(row, recipients.get(row[0], ())))
        except DamagedRow as error:
            aside.append(SetAside(row[0], str(error)))
    return entries, aside


def recipients_of(connection: Connection, numbers: Iterable[int]) -> dict[int, list[RecipientRow]]:
    """Read the rows of all recipients of some entries, by number, in the order of their ids."""
    query = SELECT_RECIPIENTS + "WHERE number IN ({}) ORDER BY number, recipient_id"
    found: dict[int, list[RecipientRow]] = {}
    for row in select_in(connection, query, numbers):
        found.setdefault(row[0], []).append(row)
    return found


def _reasons_of(connection: Connection, numbers: Iterable[int]) -> dict[int, str]:
    query = """
        SELECT number, set_aside_reason FROM message WHERE number IN ({}) AND set_aside_reason IS NOT NULL
    """
    return {row[0]: row[1] for row in select_in(connection, query, numbers)}
