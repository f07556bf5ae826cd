"""Relay windows as they survive a restart: per address and user, open until an instant.

A POP3 login opens or extends one; nothing shortens one but revoking it. One user's window on an address is
independent of another's. `service.relay_windows` keeps the open ones in memory, and decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from sqlite3 import Connection

import attrs

from kms.store.schema import MAX_US, from_us, to_us


@attrs.frozen
class RelayWindow:
    """One open window.

    Attributes:
        address: the client's, as `ipaddress` prints it.
        user: login name of the account that opened it.
        until: its end.
    """

    address: str
    user: str
    until: datetime


def open_windows(connection: Connection, items: Sequence[RelayWindow]) -> list[None]:
    """Open windows, or extend those that are open; made for `Database.run_batched`."""
    connection.executemany(
        "INSERT INTO relay_window (address, user, until_us) VALUES (?, ?, ?)"
        " ON CONFLICT (address, user) DO UPDATE SET until_us = excluded.until_us"
        " WHERE excluded.until_us > relay_window.until_us",
        [(item.address, item.user, to_us(item.until)) for item in items],
    )
    return [None] * len(items)


def load_live(connection: Connection, now: datetime) -> list[RelayWindow]:
    """The windows that are open at `now`, ordered by address and user."""
    rows = connection.execute(
        "SELECT address, user, until_us FROM relay_window WHERE until_us > ? AND until_us <= ?"
        " ORDER BY address, user",
        (to_us(now), MAX_US),
    )
    return [RelayWindow(address, user, from_us(until_us)) for address, user, until_us in rows]


def revoke(connection: Connection, address: str, user: str | None = None) -> int:
    """End the windows of an address, or only the one that `user` opened; says how many there were."""
    if user is None:
        return connection.execute("DELETE FROM relay_window WHERE address = ?", (address,)).rowcount
    return connection.execute(
        "DELETE FROM relay_window WHERE address = ? AND user = ?", (address, user)
    ).rowcount


def revoke_user(connection: Connection, user: str) -> int:
    """End all windows that `user` opened; says how many there were."""
    return connection.execute("DELETE FROM relay_window WHERE user = ?", (user,)).rowcount


def purge(connection: Connection, now: datetime) -> int:
    """Forget the windows that have ended; says how many."""
    return connection.execute("DELETE FROM relay_window WHERE until_us <= ?", (to_us(now),)).rowcount
