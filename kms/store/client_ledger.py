"""What clients did within the last hour, and who is blocked, as they survive a restart.

An accepted message is counted in the transaction that stores it (`QueueStore.add`), so it is neither lost nor
counted twice. The tables of the hour are only appended to, in the order of their keys, and purged from their
beginning. Blocks are removed when their end has been told.

Flow: service/client_ledger.py keeps the same in memory, and decides; kmsctl reads it where no server runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from sqlite3 import Connection
from typing import Any

import attrs

from kms.policy.block import Block, BlockKey, BlockKind
from kms.store.schema import MAX_US, from_us, to_us

HOUR = timedelta(hours=1)
_PURGED_AT_ONCE = 20_000  # rows, so that no purge holds up the messages that wait for the writer
_MOST_KEY = 2**63 - 1
_KINDS = {kind.value: kind for kind in BlockKind}


@attrs.frozen
class ClientEvent:
    """Something that a client did, and when."""

    client: str
    at: datetime


def count_unknown_recipients(connection: Connection, items: Sequence[ClientEvent]) -> list[None]:
    """Count recipients that do not exist; made for `Database.run_batched`."""
    connection.executemany(
        "INSERT INTO unknown_recipient (client, at_us) VALUES (?, ?)",
        [(item.client, to_us(item.at)) for item in items],
    )
    return [None] * len(items)


def load_messages(connection: Connection, now: datetime, most: int) -> list[ClientEvent]:
    """The accepted messages of the hour before `now`, at most so many, the newest kept; oldest first.

    What a jump of the wall clock has put into the next hour is taken for happening now.
    """
    return _load(connection, "SELECT client, at_us FROM counted_message", "number", now, most)


def load_unknown_recipients(connection: Connection, now: datetime, most: int) -> list[ClientEvent]:
    """The unknown recipients of the hour before `now`; as `load_messages`."""
    return _load(connection, "SELECT client, at_us FROM unknown_recipient", "id", now, most)


def _load(connection: Connection, select: str, key: str, now: datetime, most: int) -> list[ClientEvent]:
    rows = connection.execute(
        f"{select} WHERE at_us > ? AND at_us < ? ORDER BY {key} DESC LIMIT ?",
        (to_us(now - HOUR), to_us(now + HOUR), most),
    )
    events = [ClientEvent(client, min(from_us(at_us), now)) for client, at_us in rows]
    return sorted(events, key=lambda event: event.at)


def count_of(connection: Connection, client: str, now: datetime) -> tuple[int, int]:
    """How many messages, and how many unknown recipients, a client had within the hour before `now`."""
    span = (client, to_us(now - HOUR), to_us(now + HOUR))
    where = "WHERE client = ? AND at_us > ? AND at_us < ?"
    messages = connection.execute(f"SELECT count(*) FROM counted_message {where}", span).fetchone()[0]
    unknown = connection.execute(f"SELECT count(*) FROM unknown_recipient {where}", span).fetchone()[0]
    return int(messages), int(unknown)


def forget_unknown_recipients(connection: Connection, client: str) -> None:
    """Count a client's unknown recipients from nothing."""
    connection.execute("DELETE FROM unknown_recipient WHERE client = ?", (client,))


def purge(connection: Connection, now: datetime) -> int:
    """Forget a part of what is more than an hour old; says how many rows, to be called again until 0."""
    old = to_us(now - HOUR)
    purged = 0
    for table, key in (("counted_message", "number"), ("unknown_recipient", "id")):
        young = connection.execute(
            f"SELECT {key} FROM {table} WHERE at_us > ? ORDER BY {key} LIMIT 1", (old,)
        ).fetchone()
        bite = f"SELECT {key} FROM {table} WHERE {key} < ? ORDER BY {key} LIMIT {_PURGED_AT_ONCE}"
        before = _MOST_KEY if young is None else young[0]
        purged += connection.execute(f"DELETE FROM {table} WHERE {key} IN ({bite})", (before,)).rowcount
    return purged


# Blocks


def put_blocks(connection: Connection, items: Sequence[Block]) -> list[None]:
    """Store blocks, each in the place of the one with its key; made for `Database.run_batched`."""
    connection.executemany(
        "INSERT INTO block (client, kind, account, since_us, until_us, why) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (client, kind, account) DO UPDATE SET since_us = excluded.since_us,"
        " until_us = excluded.until_us, why = excluded.why",
        [
            (item.client, item.kind.value, item.account, to_us(item.since), to_us(item.until), item.why)
            for item in items
        ],
    )
    return [None] * len(items)


def load_blocks(connection: Connection) -> list[Block]:
    """All blocks that are stored, also those that ended while no server ran; by client."""
    rows = connection.execute(
        "SELECT client, kind, since_us, until_us, why, account FROM block"
        " WHERE since_us BETWEEN 0 AND ? AND until_us BETWEEN 0 AND ? ORDER BY client, kind, account",
        (MAX_US, MAX_US),
    )
    return [_read_block(row) for row in rows if row[1] in _KINDS]


def _read_block(row: tuple[Any, ...]) -> Block:
    client, kind, since_us, until_us, why, account = row
    return Block(client, _KINDS[kind], from_us(since_us), from_us(until_us), why, account)


def remove_blocks(connection: Connection, keys: Iterable[BlockKey]) -> None:
    """Remove single blocks."""
    connection.executemany(
        "DELETE FROM block WHERE client = ? AND kind = ? AND account = ?",
        [(client, kind.value, account) for client, kind, account in keys],
    )


def lift_blocks(connection: Connection, client: str, now: datetime) -> int:
    """Lift all blocks of a client and count its unknown recipients anew; says how many had not ended."""
    lasting = connection.execute(
        "SELECT count(*) FROM block WHERE client = ? AND until_us > ?", (client, to_us(now))
    ).fetchone()[0]
    connection.execute("DELETE FROM block WHERE client = ?", (client,))
    forget_unknown_recipients(connection, client)
    return int(lasting)
