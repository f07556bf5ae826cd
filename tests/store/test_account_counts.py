from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from sqlite3 import Connection

import pytest

from kms.store.account_counts import (
    FirstContact,
    SentMessage,
    add_contacts,
    add_messages,
    forget_account,
    is_contact,
    load_contacts,
    load_messages,
    purge,
)
from kms.store.schema import IN_MEMORY, open_database
from tests.support.queue_entries import NOW

ANNA, BERT, FAR = "anna@example.org", "bert@example.org", "far@elsewhere.example"
DAY = timedelta(days=1)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with closing(open_database(IN_MEMORY)) as connection:
        yield connection


def test_messages_are_loaded_in_their_order_from_an_instant_on(connection: Connection) -> None:
    items = [SentMessage(ANNA, NOW), SentMessage(BERT, NOW - DAY), SentMessage(ANNA, NOW - DAY / 2)]
    assert add_messages(connection, items) == [None] * 3
    assert load_messages(connection, NOW - DAY) == [items[2], items[0]]


def test_a_first_contact_stays_the_first(connection: Connection) -> None:
    first = FirstContact(ANNA, FAR, NOW)
    assert add_contacts(connection, [first, FirstContact(ANNA, FAR, NOW + DAY)]) == [None, None]
    assert load_contacts(connection, NOW - DAY) == [first]
    assert load_contacts(connection, NOW) == []
    assert is_contact(connection, ANNA, FAR)
    assert not is_contact(connection, BERT, FAR)


def test_what_does_not_count_any_more_is_purged(connection: Connection) -> None:
    add_messages(connection, [SentMessage(ANNA, NOW - DAY), SentMessage(ANNA, NOW)])
    add_contacts(
        connection, [FirstContact(ANNA, FAR, NOW - 400 * DAY), FirstContact(ANNA, "b@x", NOW - 2 * DAY)]
    )
    purge(connection, NOW)
    assert load_messages(connection, NOW - 9 * DAY) == [SentMessage(ANNA, NOW)]
    assert not is_contact(connection, ANNA, FAR)
    assert is_contact(connection, ANNA, "b@x")


def test_a_removed_account_is_forgotten(connection: Connection) -> None:
    for login in (ANNA, BERT):
        add_messages(connection, [SentMessage(login, NOW)])
        add_contacts(connection, [FirstContact(login, FAR, NOW)])
    forget_account(connection, ANNA)
    assert load_messages(connection, NOW - DAY) == [SentMessage(BERT, NOW)]
    assert load_contacts(connection, NOW - DAY) == [FirstContact(BERT, FAR, NOW)]
