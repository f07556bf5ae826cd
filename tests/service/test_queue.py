from datetime import timedelta
from pathlib import Path

import attrs
import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from kms.domain.content import Content, InlineContent
from kms.domain.queue_entry import QueueEntry
from kms.service.clock import ClockOf
from kms.service.queue import Queue
from kms.store.queue_store import FinishedPart, NewEntry, QueueStore, Settlement, list_entries
from kms.store.schema import StoreError
from tests.support.delivery_side import START
from tests.support.queue_entries import CONTENT, NOW, make_entry
from tests.support.results import result_of
from tests.support.synchronous_database import SynchronousDatabase


class Listener:
    """Notes what the queue tells the runner."""

    def __init__(self, queue: Queue) -> None:
        self.accepted: list[int] = []
        self.waiting = 0
        queue.on_accepted = lambda entry, content: self.accepted.append(entry.number)
        queue.on_waiting = self._more_waits

    def _more_waits(self) -> None:
        self.waiting += 1


@pytest.fixture
def database() -> SynchronousDatabase:
    return SynchronousDatabase()


@pytest.fixture
def queue(database: SynchronousDatabase, tmp_path: Path) -> Queue:
    reactor = Clock()
    reactor.advance(START.timestamp())
    return Queue(database, QueueStore(tmp_path), ClockOf(reactor))


def stored(database: SynchronousDatabase) -> list[int]:
    return [entry.number for entry in list_entries(database.connection, 0, 100)[0]]


def leased(database: SynchronousDatabase) -> list[int]:
    rows = database.connection.execute("SELECT number FROM message WHERE lease_owner <> '' ORDER BY number")
    return [row[0] for row in rows]


class TestNumbers:
    def test_are_made_of_the_time(self, queue: Queue) -> None:
        number, now = queue.next_number()
        assert now == START
        assert number == int(START.timestamp() * 1_000_000)

    def test_rise_while_the_clock_stands_still(self, queue: Queue) -> None:
        assert queue.next_number()[0] < queue.next_number()[0]

    def test_begin_above_the_greatest_of_before_though_the_clock_was_set_back(self, queue: Queue) -> None:
        queue.start(2**62)
        assert queue.next_number()[0] == 2**62 + 1


class TestAcceptance:
    def test_is_answered_after_the_commit_and_not_before(
        self, queue: Queue, database: SynchronousDatabase
    ) -> None:
        listener = Listener(queue)
        database.is_held = True
        accepted = queue.accept(make_entry(1), CONTENT)
        assert not accepted.called
        assert not listener.accepted
        database.release()
        assert accepted.called
        assert listener.accepted == [1]
        assert stored(database) == [1]

    def test_leases_the_entry_to_this_process_which_tries_it_at_once(
        self, queue: Queue, database: SynchronousDatabase
    ) -> None:
        result_of(queue.accept(make_entry(1), CONTENT))
        assert leased(database) == [1]
        assert result_of(queue.claim(10)) == ([], [])

    def test_stands_though_the_attempt_cannot_begin(
        self, queue: Queue, database: SynchronousDatabase
    ) -> None:
        def breaks(entry: QueueEntry, content: Content) -> None:
            raise RuntimeError("a fault of ours")

        queue.on_accepted = breaks
        with capturedLogs() as events:
            assert result_of(queue.accept(make_entry(1), CONTENT)) is None
        assert stored(database) == [1]
        assert any("a fault of ours" in str(event.get("log_failure")) for event in events)

    def test_that_fails_keeps_nothing(self, queue: Queue, database: SynchronousDatabase) -> None:
        listener = Listener(queue)
        database.failures.append(StoreError("disk full"))
        with pytest.raises(StoreError, match="disk full"):
            result_of(queue.accept(make_entry(1), CONTENT))
        assert not listener.accepted
        assert not stored(database)

    def test_that_fails_gives_its_room_back(
        self, queue: Queue, database: SynchronousDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kms.service.queue._MOST_HELD", 1)
        database.failures.append(StoreError("disk full"))
        with pytest.raises(StoreError):
            result_of(queue.accept(make_entry(1), CONTENT))
        assert queue.has_room

    def test_that_fails_where_there_was_no_room_gives_none_back(
        self, queue: Queue, database: SynchronousDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kms.service.queue._MOST_HELD", 1)
        result_of(queue.accept(make_entry(1), CONTENT))
        database.failures.append(StoreError("disk full"))
        with pytest.raises(StoreError):
            result_of(queue.accept(make_entry(2), CONTENT))
        assert not queue.has_room


class TestRoomInMemory:
    def test_ends_at_so_many_messages_and_the_next_one_waits_in_the_store(
        self, queue: Queue, database: SynchronousDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kms.service.queue._MOST_HELD", 2)
        listener = Listener(queue)
        for number in (1, 2, 3):
            result_of(queue.accept(make_entry(number), CONTENT))
        assert listener.accepted == [1, 2]
        assert listener.waiting == 1
        assert leased(database) == [1, 2]

    def test_ends_at_so_many_octets(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kms.service.queue._MOST_HELD_OCTETS", 100)
        listener = Listener(queue)
        large = InlineContent(b"x" * 100)
        result_of(queue.accept(make_entry(1, content=large), large))
        result_of(queue.accept(make_entry(2), CONTENT))
        assert listener.accepted == [1]
        queue.let_go(large)
        assert queue.has_room

    def test_is_kept_for_local_mail_where_other_mail_has_taken_its_share(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kms.service.queue._MOST_HELD", 4)
        listener = Listener(queue)
        queue.is_local = lambda entry: entry.number >= 5
        for number in range(1, 8):
            result_of(queue.accept(make_entry(number), CONTENT))
        assert listener.accepted == [1, 2, 3, 5]
        assert listener.waiting == 3
        assert not queue.has_room

    def test_that_is_given_to_claimed_entries_is_counted_until_they_are_let_go(
        self, queue: Queue, database: SynchronousDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kms.service.queue._MOST_HELD", 1)
        result_of(queue.accept(make_entry(1), CONTENT))
        result_of(queue.accept(make_entry(2), CONTENT))
        queue.let_go(CONTENT)
        ((claimed,), damaged) = result_of(queue.claim(10))
        assert claimed.entry.number == 2
        assert claimed.entry.fence == 1
        assert not damaged
        assert not queue.has_room
        queue.let_go(claimed.content)
        assert queue.has_room


class TestOutcomes:
    def test_of_a_part_and_of_the_rest_are_recorded(
        self, queue: Queue, database: SynchronousDatabase
    ) -> None:
        result_of(queue.accept(make_entry(1, recipients=2), CONTENT))
        assert result_of(queue.finish_part(FinishedPart(1, 0, (1,))))
        assert result_of(queue.settle(Settlement(1, 0, (2,)))).was_taken
        assert not stored(database)

    def test_name_the_next_attempt(self, queue: Queue) -> None:
        result_of(queue.accept(make_entry(1), CONTENT))
        assert result_of(queue.earliest_due()) is None
        due = NOW + timedelta(hours=1)
        result_of(queue.settle(Settlement(1, 0, (), {1: "450 later"}, due)))
        assert result_of(queue.earliest_due()) == due

    def test_bring_the_report_with_them(self, queue: Queue, database: SynchronousDatabase) -> None:
        result_of(queue.accept(make_entry(1), CONTENT))
        report = NewEntry(make_entry(2, reverse_path=None), CONTENT, is_leased=False)
        result_of(queue.settle(Settlement(1, 0, (1,), reports=(report,))))
        assert stored(database) == [2]


def test_a_damaged_entry_is_set_aside_and_takes_no_room(
    queue: Queue, database: SynchronousDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kms.service.queue._MOST_HELD", 1)
    entry: QueueEntry = attrs.evolve(make_entry(1), content_octets=9)
    result_of(database.run(lambda store: QueueStore(Path("/")).add(store, [NewEntry(entry, CONTENT, False)])))
    claimed, damaged = result_of(queue.claim(10))
    assert not claimed
    assert [item.number for item in damaged] == [1]
    assert queue.has_room
