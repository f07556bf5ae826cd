"""What every engine must remember of clients; run on SQLite in memory and on file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection, IntegrityError

import attrs
import pytest

from kms.policy.block import Block, BlockKind
from kms.store import client_ledger
from kms.store.client_ledger import (
    ClientEvent,
    count_of,
    count_unknown_recipients,
    lift_blocks,
    load_blocks,
    load_messages,
    load_unknown_recipients,
    purge,
    put_blocks,
    remove_blocks,
)
from kms.store.queue_store import QueueStore
from kms.store.schema import IN_MEMORY, open_database, to_us
from tests.support.queue_entries import NOW, count_messages, make_new

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
CLIENT, OTHER = "192.0.2.1", "2001:db8::/64"
BLOCK = Block(CLIENT, BlockKind.HARVEST, NOW, NOW + HOUR, "too many unknown recipients")


class ClientLedgerContract:
    """The tests; a subclass gives the connection."""

    @pytest.fixture
    def connection(self, tmp_path: Path) -> Iterator[Connection]:
        raise NotImplementedError

    def test_an_accepted_message_is_counted_in_its_own_transaction(self, connection: Connection) -> None:
        event = ClientEvent(CLIENT, NOW)
        QueueStore(Path("/nonexistent")).add(
            connection, [attrs.evolve(make_new(1), counted=event), make_new(2)]
        )
        assert load_messages(connection, NOW + SECOND, 10) == [event]
        connection.execute("BEGIN")
        QueueStore(Path("/nonexistent")).add(connection, [attrs.evolve(make_new(3), counted=event)])
        connection.execute("ROLLBACK")
        assert count_of(connection, CLIENT, NOW) == (1, 0)

    def test_no_message_is_counted_twice(self, connection: Connection) -> None:
        count_messages(connection, [(1, CLIENT, to_us(NOW))])
        with pytest.raises(IntegrityError):
            count_messages(connection, [(1, CLIENT, to_us(NOW))])

    def test_what_is_an_hour_old_does_not_count(self, connection: Connection) -> None:
        count_messages(connection, [(1, CLIENT, to_us(NOW)), (2, CLIENT, to_us(NOW + SECOND))])
        count_unknown_recipients(connection, [ClientEvent(CLIENT, NOW), ClientEvent(OTHER, NOW + SECOND)])
        assert load_messages(connection, NOW + HOUR, 10) == [ClientEvent(CLIENT, NOW + SECOND)]
        assert load_unknown_recipients(connection, NOW + HOUR, 10) == [ClientEvent(OTHER, NOW + SECOND)]
        assert count_of(connection, CLIENT, NOW + HOUR) == (1, 0)
        assert count_of(connection, OTHER, NOW + HOUR) == (0, 1)

    def test_the_newest_are_loaded_oldest_first(self, connection: Connection) -> None:
        rows = [(number, str(number), to_us(NOW + number * SECOND)) for number in range(5)]
        count_messages(connection, rows)
        assert [event.client for event in load_messages(connection, NOW + HOUR / 2, 3)] == ["2", "3", "4"]

    def test_a_clock_that_was_set_back_makes_no_event_of_the_future(self, connection: Connection) -> None:
        count_messages(connection, [(1, CLIENT, to_us(NOW + HOUR / 2)), (2, CLIENT, to_us(NOW + 2 * HOUR))])
        assert load_messages(connection, NOW, 10) == [ClientEvent(CLIENT, NOW)]

    def test_the_purge_takes_what_is_old_a_bite_at_a_time(
        self, connection: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_ledger, "_PURGED_AT_ONCE", 2)
        count_messages(connection, [(n, CLIENT, to_us(NOW + n * SECOND)) for n in range(4)])
        count_unknown_recipients(connection, [ClientEvent(CLIENT, NOW)])
        purged = []
        while count := purge(connection, NOW + HOUR + 2 * SECOND):
            purged.append(count)
        assert purged == [3, 1]
        assert [event.at for event in load_messages(connection, NOW + HOUR, 10)] == [NOW + 3 * SECOND]
        assert purge(connection, NOW + 3 * HOUR) == 1

    def test_blocks_come_back_as_they_were_each_once(self, connection: Connection) -> None:
        longer = attrs.evolve(BLOCK, until=NOW + 2 * HOUR, why="again")
        of_anna = Block(CLIENT, BlockKind.LOGIN, NOW, NOW + HOUR, "guesses", "anna@example.org")
        assert put_blocks(connection, [BLOCK, of_anna, longer]) == [None] * 3
        assert load_blocks(connection) == [longer, of_anna]
        remove_blocks(connection, [longer.key])
        assert load_blocks(connection) == [of_anna]

    def test_a_block_of_a_kind_that_nobody_knows_is_left_alone(self, connection: Connection) -> None:
        connection.execute("INSERT INTO block VALUES ('192.0.2.1', 'newer', '', 1, 2, '')")
        assert load_blocks(connection) == []

    def test_lifting_ends_all_blocks_and_forgets_the_unknown_recipients(self, connection: Connection) -> None:
        ended = Block(CLIENT, BlockKind.LOGIN, NOW - HOUR, NOW, "guesses")
        other = attrs.evolve(BLOCK, client=OTHER)
        put_blocks(connection, [BLOCK, ended, other])
        count_unknown_recipients(connection, [ClientEvent(CLIENT, NOW), ClientEvent(OTHER, NOW)])
        assert lift_blocks(connection, CLIENT, NOW) == 1
        assert load_blocks(connection) == [other]
        assert (count_of(connection, CLIENT, NOW)[1], count_of(connection, OTHER, NOW)[1]) == (0, 1)


class TestInMemory(ClientLedgerContract):
    @pytest.fixture
    def connection(self, tmp_path: Path) -> Iterator[Connection]:
        with closing(open_database(IN_MEMORY)) as connection:
            yield connection


class TestOnFile(ClientLedgerContract):
    @pytest.fixture
    def connection(self, tmp_path: Path) -> Iterator[Connection]:
        with closing(open_database(tmp_path / "kms.sqlite3")) as connection:
            yield connection
