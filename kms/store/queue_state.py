"""What an operator withholds from delivery, over restarts: pause, offline, suspended destinations.

Entries that wait for such a thing are parked (queue_tables.py); `unpark_ended` frees those whose reason is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from sqlite3 import Connection

import attrs

from kms.store.schema import to_us

HOLD = "hold"
TRASH = "trash"
OFFLINE = "offline"
_FLAGS = ("is_paused", "is_offline")


@attrs.frozen
class QueueState:
    """What is withheld.

    Attributes:
        is_paused: nothing is begun.
        is_offline: nothing leaves this server; mailboxes are delivered to.
        suspended: domains that nothing is sent to.
    """

    is_paused: bool = False
    is_offline: bool = False
    suspended: frozenset[str] = frozenset()


def suspended(domain: str) -> str:
    """Print the reason of what waits for a suspended destination."""
    return f"@{domain}"


def load_state(connection: Connection) -> QueueState:
    """Read what is withheld."""
    flags = dict(connection.execute("SELECT key, value FROM meta WHERE key IN (?, ?)", _FLAGS))
    domains = connection.execute("SELECT domain FROM suspended_destination")
    return QueueState(
        bool(flags.get("is_paused")), bool(flags.get("is_offline")), frozenset(row[0] for row in domains)
    )


def save_state(connection: Connection, state: QueueState, now: datetime) -> None:
    """Remember what is withheld."""
    for key in _FLAGS:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, int(getattr(state, key))))
    old = load_state(connection).suspended
    connection.executemany(
        "DELETE FROM suspended_destination WHERE domain = ?", [(domain,) for domain in old - state.suspended]
    )
    rows = [(domain, to_us(now)) for domain in sorted(state.suspended - old)]
    connection.executemany("INSERT INTO suspended_destination VALUES (?, ?)", rows)


def unpark_ended(connection: Connection, standing: Sequence[str]) -> int:
    """Free the entries whose reason to wait is none of these, nor an operator's word. Returns how many."""
    kept = (HOLD, TRASH, *standing)
    query = f"UPDATE message SET parked = NULL WHERE parked NOT IN ({', '.join('?' * len(kept))})"
    return connection.execute(query, kept).rowcount


def make_due(connection: Connection, domains: Sequence[str], now: datetime) -> None:
    """Let entries with recipients in these domains be tried now; reads all recipients."""
    for domain in domains:
        connection.execute(
            "UPDATE message SET due_us = ? WHERE parked IS NULL AND due_us > ?"
            " AND number IN (SELECT number FROM recipient WHERE domain = ?)",
            (to_us(now), to_us(now), domain),
        )
