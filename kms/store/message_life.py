"""What became of messages, kept for some days: written with the message, and with what came of each attempt.

An event is stored in the transaction of what it tells of, so the story and the queue never contradict each
other. Facts are JSON; a row that cannot be read is left out, since it only tells.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from sqlite3 import Connection

from kms.domain.message_life import LifeEntry, LifeEvent
from kms.store.many_rows import execute_rows
from kms.store.schema import MAX_US, from_us, to_us

NewLifeEvent = tuple[int, datetime, LifeEvent, str]
"""The entry's number, when, what, and its facts as JSON."""


def add(connection: Connection, events: Sequence[NewLifeEvent]) -> None:
    """Remember events."""
    rows = [(number, to_us(at), event.value, facts) for number, at, event, facts in events]
    execute_rows(connection, "INSERT OR REPLACE INTO message_life VALUES {}", rows)


def find(connection: Connection, number: int) -> list[LifeEntry]:
    """The life of an entry, in order; empty where nothing is remembered."""
    rows = connection.execute(
        "SELECT at_us, event, facts FROM message_life WHERE number = ? AND at_us BETWEEN 0 AND ? ORDER BY at_us",
        (number, MAX_US),
    )
    entries = []
    for at_us, event, facts in rows:
        try:
            entries.append(LifeEntry(from_us(at_us), LifeEvent(event), json.loads(facts)))
        except ValueError:
            continue
    return entries


def purge(connection: Connection, before: datetime, limit: int) -> int:
    """Forget messages that came before an instant and have left the queue; `limit` events at most, says how many."""
    return connection.execute(
        "DELETE FROM message_life WHERE (number, at_us, event) IN ("
        " SELECT number, at_us, event FROM message_life"
        " WHERE number < ? AND number NOT IN (SELECT number FROM message) LIMIT ?)",
        (to_us(before), limit),
    ).rowcount
