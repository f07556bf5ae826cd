"""What accounts with limits have sent, as it survives a restart: messages of a day, and recipients ever written to.

Rows are written only for accounts to which such a limit applies.
Flow: service/account_check.py counts in memory, writes here in the group commit of the message, and reads a
recipient before it takes it for a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from sqlite3 import Connection

import attrs

from kms.store.schema import from_us, to_us

REMEMBERED = timedelta(days=400)
"""A recipient that was first written to so long ago is a new one again."""


@attrs.frozen
class SentMessage:
    """One message that counts."""

    login: str
    at: datetime


@attrs.frozen
class FirstContact:
    """A foreign recipient that a login has written to for the first time."""

    login: str
    recipient: str
    at: datetime


def add_messages(connection: Connection, items: Sequence[SentMessage]) -> list[None]:
    """Count messages; made for `Database.run_batched`."""
    rows = [(item.login, to_us(item.at)) for item in items]
    connection.executemany("INSERT INTO account_message (login, at_us) VALUES (?, ?)", rows)
    return [None] * len(items)


def add_contacts(connection: Connection, items: Sequence[FirstContact]) -> list[None]:
    """Remember recipients; made for `Database.run_batched`. One that is known keeps its instant."""
    rows = [(item.login, item.recipient, to_us(item.at)) for item in items]
    connection.executemany(
        "INSERT INTO account_contact (login, recipient, first_us) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        rows,
    )
    return [None] * len(items)


def is_contact(connection: Connection, login: str, recipient: str) -> bool:
    """Say whether a login has written to this recipient before."""
    query = "SELECT 1 FROM account_contact WHERE login = ? AND recipient = ?"
    return connection.execute(query, (login, recipient)).fetchone() is not None


def load_messages(connection: Connection, since: datetime) -> list[SentMessage]:
    """The messages that came after `since`, in their order."""
    query = "SELECT login, at_us FROM account_message WHERE at_us > ? ORDER BY at_us"
    rows = connection.execute(query, (to_us(since),))
    return [SentMessage(login, from_us(at_us)) for login, at_us in rows]


def load_contacts(connection: Connection, since: datetime) -> list[FirstContact]:
    """The first contacts after `since`, in their order."""
    query = "SELECT login, recipient, first_us FROM account_contact WHERE first_us > ? ORDER BY first_us"
    rows = connection.execute(query, (to_us(since),))
    return [FirstContact(login, recipient, from_us(first_us)) for login, recipient, first_us in rows]


def purge(connection: Connection, now: datetime) -> None:
    """Forget what does not count any more."""
    connection.execute("DELETE FROM account_message WHERE at_us <= ?", (to_us(now - timedelta(days=1)),))
    connection.execute("DELETE FROM account_contact WHERE first_us <= ?", (to_us(now - REMEMBERED),))


def forget_account(connection: Connection, login: str) -> None:
    """Forget an account that is removed."""
    connection.execute("DELETE FROM account_message WHERE login = ?", (login,))
    connection.execute("DELETE FROM account_contact WHERE login = ?", (login,))
