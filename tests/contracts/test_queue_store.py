"""What every engine of the queue store must do; run on SQLite in memory and on file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection

import attrs
import pytest

from kms.domain.content import FileContent, InlineContent
from kms.domain.dsn_request import MessageRequest, Notify, RecipientRequest, Returned
from kms.domain.queue_entry import QueueEntry
from kms.store.bodies import BodyWriter, body_path
from kms.store.queue_store import (
    Claimed,
    FinishedPart,
    NewEntry,
    NumberSource,
    QueueCount,
    QueueStore,
    SetAside,
    Settled,
    Settlement,
    count,
    earliest_due,
    extend_leases,
    free_ended_leases,
    greatest_number,
    list_entries,
    load_entry,
    release_leases,
    set_aside,
)
from kms.store.schema import IN_MEMORY, open_database
from tests.support.queue_entries import CONTENT, NOW, make_entry, make_new

HOUR = timedelta(hours=1)
LATER = NOW + HOUR


class QueueStoreContract:
    """The tests; a subclass gives the connection."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> QueueStore:
        self.spool = tmp_path / "spool"
        self.spool.mkdir()
        return QueueStore(self.spool)

    @pytest.fixture
    def connection(self, tmp_path: Path) -> Iterator[Connection]:
        raise NotImplementedError

    def claim(self, store: QueueStore, connection: Connection, limit: int = 10) -> list[Claimed]:
        claimed, aside = store.claim(connection, NOW, limit, "me", LATER)
        assert aside == []
        return claimed

    def claim_one(self, store: QueueStore, connection: Connection) -> QueueEntry:
        (claimed,) = self.claim(store, connection)
        return claimed.entry

    def test_an_entry_is_claimed_as_it_was_added(self, store: QueueStore, connection: Connection) -> None:
        entry = attrs.evolve(
            make_entry(7, recipients=3),
            warned_at=NOW - HOUR,
            attempts=4,
            fence=8,
            last_status={2: "later", 3: "much later"},
        )
        entry = attrs.evolve(entry, envelope=attrs.evolve(entry.envelope, is_8bit=True))
        store.add(connection, [NewEntry(entry, CONTENT, is_leased=False)])
        assert self.claim(store, connection) == [Claimed(attrs.evolve(entry, fence=9), CONTENT)]

    @pytest.mark.parametrize(
        ("message", "notify", "original"),
        [
            (MessageRequest(Returned.HEADER, "a+2Bb"), Notify.NEVER, "rfc822;a@b.test"),
            (MessageRequest(None, "x"), Notify.SUCCESS | Notify.DELAY, ""),
            (MessageRequest(Returned.FULL), None, "utf-8;ü@b.test"),
        ],
    )
    def test_what_was_asked_of_reports_is_kept(
        self,
        store: QueueStore,
        connection: Connection,
        message: MessageRequest,
        notify: Notify | None,
        original: str,
    ) -> None:
        entry = make_entry(7, recipients=2)
        first, second = entry.envelope.recipients
        recipients = (attrs.evolve(first, request=RecipientRequest(notify, original)), second)
        envelope = attrs.evolve(
            entry.envelope, recipients=recipients, request=message, is_8bit=True, has_utf8_header=True
        )
        store.add(connection, [NewEntry(attrs.evolve(entry, envelope=envelope), CONTENT, is_leased=False)])
        assert self.claim_one(store, connection).envelope == envelope

    def test_the_null_reverse_path_is_kept(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [NewEntry(make_entry(reverse_path=None), CONTENT, is_leased=False)])
        assert self.claim_one(store, connection).reverse_path is None

    def test_what_is_claimed_is_not_claimed_twice(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new()])
        assert len(self.claim(store, connection)) == 1
        assert self.claim(store, connection) == []

    def test_the_longest_due_come_first_and_no_more_than_asked(
        self, store: QueueStore, connection: Connection
    ) -> None:
        store.add(connection, [make_new(number, due=timedelta(minutes=-number)) for number in (1, 2, 3)])
        assert [claimed.entry.number for claimed in self.claim(store, connection, limit=2)] == [3, 2]

    def test_what_is_not_due_is_left(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new(due=timedelta(microseconds=1))])
        assert self.claim(store, connection) == []
        assert earliest_due(connection) == NOW + timedelta(microseconds=1)

    def test_a_new_entry_that_is_leased_is_nobody_elses(
        self, store: QueueStore, connection: Connection
    ) -> None:
        store.add(connection, [make_new(is_leased=True)])
        assert self.claim(store, connection) == []
        assert earliest_due(connection) is None

    def test_a_leased_new_entry_is_settled_with_its_first_fence(
        self, store: QueueStore, connection: Connection
    ) -> None:
        store.add(connection, [make_new(number, recipients=2, is_leased=True) for number in (1, 2)])
        settled = store.settle(connection, [Settlement(number, 0, finished=(1, 2)) for number in (1, 2)])
        assert settled == [Settled(True), Settled(True)]
        assert count(connection) == QueueCount(0, 0, 0, 0)
        assert connection.execute("SELECT count(*) FROM content").fetchone() == (0,)

    def test_adding_nothing_is_allowed(self, store: QueueStore, connection: Connection) -> None:
        assert store.add(connection, []) == []
        assert store.settle(connection, []) == []

    def test_a_deferred_recipient_is_tried_again_at_its_time(
        self, store: QueueStore, connection: Connection
    ) -> None:
        store.add(connection, [make_new(recipients=3)])
        entry = self.claim_one(store, connection)
        settlement = Settlement(1, entry.fence, finished=(2,), last_status={1: "busy"}, due_at=LATER)
        assert store.settle(connection, [settlement]) == [Settled(True)]
        assert earliest_due(connection) == LATER
        ((again,), _) = store.claim(connection, LATER, 10, "me", LATER + HOUR)
        assert [recipient.recipient_id for recipient in again.entry.envelope.recipients] == [1, 3]
        assert again.entry.last_status == {1: "busy"}
        assert (again.entry.attempts, again.entry.fence, again.entry.due_at) == (1, 2, LATER)
        assert again.content == CONTENT

    def test_a_warning_is_remembered(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new()])
        store.settle(connection, [Settlement(1, self.claim_one(store, connection).fence, (), due_at=NOW)])
        entry = self.claim_one(store, connection)
        assert entry.warned_at is None
        store.settle(connection, [Settlement(1, entry.fence, (), due_at=NOW, warned_at=NOW)])
        entry = self.claim_one(store, connection)
        store.settle(connection, [Settlement(1, entry.fence, (), due_at=NOW)])
        assert self.claim_one(store, connection).warned_at == NOW

    def test_the_report_is_added_with_the_settlement(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new(1)])
        fence = self.claim_one(store, connection).fence
        store.settle(connection, [Settlement(1, fence, finished=(1,), reports=(make_new(2),))])
        assert [claimed.entry.number for claimed in self.claim(store, connection)] == [2]

    def test_an_outcome_of_a_lost_claim_is_not_taken(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new(1)])
        old = self.claim_one(store, connection)
        assert free_ended_leases(connection, LATER + HOUR) == 1
        new = self.claim_one(store, connection)
        late = Settlement(1, old.fence, finished=(1,), reports=(make_new(2),))
        assert store.settle(connection, [late]) == [Settled(False)]
        assert count(connection).recipients == 1
        assert store.settle(connection, [Settlement(1, new.fence, finished=(1,))]) == [Settled(True)]

    def test_a_freed_entry_cannot_be_settled(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new(1)])
        fence = self.claim_one(store, connection).fence
        release_leases(connection)
        assert store.settle(connection, [Settlement(1, fence, (1,))]) == [Settled(False)]

    def test_an_outcome_is_taken_once(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new(1, recipients=2)])
        fence = self.claim_one(store, connection).fence
        first, second = Settlement(1, fence, (1,), due_at=LATER), Settlement(1, fence, (2,), due_at=NOW)
        assert store.settle(connection, [first, second]) == [Settled(True), Settled(False)]
        assert store.settle(connection, [second, Settlement(9, 0, (1,))]) == [Settled(False), Settled(False)]
        assert count(connection).recipients == 1

    def test_left_recipients_without_a_time_are_an_error(
        self, store: QueueStore, connection: Connection
    ) -> None:
        store.add(connection, [make_new(1, recipients=2)])
        fence = self.claim_one(store, connection).fence
        with pytest.raises(ValueError, match="no time to try"):
            store.settle(connection, [Settlement(1, fence, finished=(1,))])

    def test_a_part_is_finished_under_the_same_claim(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new(1, recipients=3)])
        fence = self.claim_one(store, connection).fence
        parts = [FinishedPart(1, fence, (1, 2)), FinishedPart(1, fence + 1, (3,)), FinishedPart(5, 0, (1,))]
        assert store.finish_part(connection, parts) == [True, False, False]
        assert count(connection).recipients == 1
        assert self.claim(store, connection) == []
        assert store.settle(connection, [Settlement(1, fence, (1, 2, 3))]) == [Settled(True)]

    def test_a_recipient_is_never_taken_for_another_that_was_finished_before(
        self, store: QueueStore, connection: Connection
    ) -> None:
        store.add(connection, [make_new(1, recipients=3, is_leased=True)])
        store.finish_part(connection, [FinishedPart(1, 0, (3,))])
        store.settle(connection, [Settlement(1, 0, finished=(1, 3), due_at=NOW)])
        (claimed,) = self.claim(store, connection)
        assert [recipient.recipient_id for recipient in claimed.entry.envelope.recipients] == [2]

    def test_a_finished_part_survives_a_crash(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new(1, recipients=2, is_leased=True)])
        store.finish_part(connection, [FinishedPart(1, 0, (1,))])
        assert release_leases(connection) == 1
        entry = self.claim_one(store, connection)
        assert [recipient.recipient_id for recipient in entry.envelope.recipients] == [2]

    def test_after_a_crash_all_leases_are_free_and_due(
        self, store: QueueStore, connection: Connection
    ) -> None:
        store.add(connection, [make_new(1, is_leased=True), make_new(2)])
        self.claim(store, connection)
        assert release_leases(connection) == 2
        assert {claimed.entry.number for claimed in self.claim(store, connection)} == {1, 2}

    def test_a_lease_that_was_extended_is_kept(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new(number) for number in (1, 2)])
        self.claim(store, connection)
        extend_leases(connection, [1], "me", LATER + HOUR)
        extend_leases(connection, [2], "another", LATER + HOUR)
        assert free_ended_leases(connection, LATER + timedelta(minutes=1)) == 1
        assert self.claim_one(store, connection).number == 2

    def test_a_large_content_is_named_and_given_back_for_removal(
        self, store: QueueStore, connection: Connection
    ) -> None:
        writer = BodyWriter(self.spool, 5)
        writer.write(b"x" * 100_000)
        content = writer.finish()
        store.add(connection, [make_new(5, content=content)])
        (claimed,) = self.claim(store, connection)
        assert claimed.content == content
        waiting = Settlement(5, claimed.entry.fence, (), due_at=NOW)
        assert store.settle(connection, [waiting]) == [Settled(True, None)]
        fence = self.claim_one(store, connection).fence
        done = Settlement(5, fence, (1,))
        assert store.settle(connection, [done]) == [Settled(True, content.path)]
        assert Path(content.path).exists()

    def test_a_file_in_another_place_is_refused(self, store: QueueStore, connection: Connection) -> None:
        content = FileContent(str(body_path(self.spool, 6)), 10)
        with pytest.raises(ValueError, match="not the body file"):
            store.add(connection, [make_new(5, content=content)])

    def test_many_entries_are_settled_at_once(self, store: QueueStore, connection: Connection) -> None:
        numbers = range(1, 1202)
        store.add(connection, [make_new(number) for number in numbers])
        claimed = self.claim(store, connection, limit=5000)
        assert len(claimed) == len(numbers)
        settled = store.settle(connection, [Settlement(item.entry.number, 1, (1,)) for item in claimed])
        assert all(item.was_taken for item in settled)
        assert count(connection).messages == 0

    def test_a_number_cannot_come_twice(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new(1)])
        with pytest.raises(Exception, match="UNIQUE"):
            store.add(connection, [make_new(1)])

    def test_numbers_grow_over_a_restart_and_a_jump_of_the_clock(
        self, store: QueueStore, connection: Connection
    ) -> None:
        assert greatest_number(connection) == 0
        numbers = NumberSource(greatest_number(connection))
        used = [numbers.next(NOW), numbers.next(NOW), numbers.next(NOW - HOUR), numbers.next(LATER)]
        assert used == sorted(set(used))
        store.add(connection, [make_new(number, is_leased=True) for number in used])
        store.settle(connection, [Settlement(number, 0, (1,)) for number in used])
        again = NumberSource(greatest_number(connection))
        assert again.next(NOW - HOUR) > used[-1]

    def test_the_queue_is_counted_and_listed_by_pages(
        self, store: QueueStore, connection: Connection
    ) -> None:
        store.add(connection, [make_new(number, recipients=2) for number in range(1, 6)])
        set_aside(connection, [SetAside(4, "odd")])
        assert count(connection) == QueueCount(5, 10, 5 * CONTENT.octets, 1)
        first, _ = list_entries(connection, 0, 3)
        second, aside = list_entries(connection, first[-1].number, 3)
        assert [entry.number for entry in first + second] == [1, 2, 3, 5]
        assert aside == [SetAside(4, "odd")]

    def test_one_entry_is_looked_up(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new(3)])
        assert load_entry(connection, 3) == make_entry(3)
        assert load_entry(connection, 4) is None

    def test_what_is_set_aside_is_neither_claimed_nor_settled(
        self, store: QueueStore, connection: Connection
    ) -> None:
        store.add(connection, [make_new(1), make_new(2)])
        fence = self.claim(store, connection)[0].entry.fence
        set_aside(connection, [SetAside(1, "odd")])
        release_leases(connection)
        assert self.claim_one(store, connection).number == 2
        assert store.settle(connection, [Settlement(1, fence, (1,))]) == [Settled(False)]
        assert count(connection).messages == 2

    def test_an_empty_content_is_a_content(self, store: QueueStore, connection: Connection) -> None:
        store.add(connection, [make_new(1, content=InlineContent(b""))])
        assert self.claim(store, connection)[0].content == InlineContent(b"")


class TestInMemory(QueueStoreContract):
    @pytest.fixture
    def connection(self, tmp_path: Path) -> Iterator[Connection]:
        with closing(open_database(IN_MEMORY)) as connection:
            yield connection


class TestOnFile(QueueStoreContract):
    @pytest.fixture
    def connection(self, tmp_path: Path) -> Iterator[Connection]:
        with closing(open_database(tmp_path / "kms.sqlite3")) as connection:
            yield connection
