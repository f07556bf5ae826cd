"""Leases of queue entries, and entries that are set aside: what changes without any outcome.

A lease says which process tries an entry; one that ended by a crash is freed at the next start. An entry that
is set aside is out of the queue, with its rows and content kept, until an operator has looked at it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from sqlite3 import Connection

from kms.store.queue_items import PutBack, SetAside
from kms.store.schema import MAX_US, to_us


def release_leases(connection: Connection) -> int:
    """Free all leases, at start: those who held them are gone. Returns how many."""
    return connection.execute(
        "UPDATE message SET lease_owner = '', lease_until_us = 0, fence = fence + 1 WHERE lease_owner <> ''"
    ).rowcount


def free_ended_leases(connection: Connection, now: datetime) -> int:
    """Free the leases that ran out before `now`; reads the whole queue, so not on a hot path.

    Their holders can settle no more once others have claimed the entries. Returns how many.
    """
    return connection.execute(
        "UPDATE message SET lease_owner = '', lease_until_us = 0"
        " WHERE lease_owner <> '' AND lease_until_us < ?",
        (to_us(now),),
    ).rowcount


def put_back(connection: Connection, items: Sequence[PutBack]) -> list[None]:
    """Free entries that were claimed and not tried; made for `Database.run_batched`. Lost claims are left alone."""
    connection.executemany(
        "UPDATE message SET lease_owner = '', lease_until_us = 0, parked = coalesce(parked, nullif(?, '')),"
        " due_us = coalesce(?, due_us) WHERE number = ? AND fence = ? AND lease_owner <> ''",
        [
            (item.parked, None if item.due_at is None else to_us(item.due_at), item.number, item.fence)
            for item in items
        ],
    )
    return [None] * len(items)


def extend_leases(connection: Connection, numbers: Iterable[int], owner: str, until: datetime) -> None:
    """Hold leases longer, while a slow server talks; those that `owner` has lost stay lost."""
    connection.executemany(
        "UPDATE message SET lease_until_us = ? WHERE number = ? AND lease_owner = ?",
        [(to_us(until), number, owner) for number in numbers],
    )


def set_aside(connection: Connection, items: Iterable[SetAside]) -> None:
    """Take entries out of the queue for an operator to look at; their rows and contents stay."""
    connection.executemany(
        "UPDATE message SET set_aside_reason = ?, lease_owner = '', lease_until_us = 0 WHERE number = ?",
        [(item.reason, item.number) for item in items],
    )


def set_aside_unreachable(connection: Connection) -> list[SetAside]:
    """Set aside, at start, the entries that would never be due because of an impossible instant."""
    rows = connection.execute(
        "SELECT number FROM message WHERE due_us > ? AND set_aside_reason IS NULL", (MAX_US,)
    )
    found = [SetAside(row[0], "the instant of the next attempt is impossible") for row in rows]
    set_aside(connection, found)
    return found
