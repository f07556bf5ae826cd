"""Whatever is added, claimed, settled and crashed: each recipient is finished once, and none is lost."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kms.store.queue_store import (
    NumberSource,
    QueueStore,
    Settled,
    Settlement,
    count,
    greatest_number,
    list_entries,
    release_leases,
)
from kms.store.schema import IN_MEMORY, open_database
from tests.support.queue_entries import NOW, make_new


class QueueOfOneServer(RuleBasedStateMachine):
    """A server that adds, tries, settles and is killed; `waiting` is what it must not lose."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = open_database(IN_MEMORY)
        self.store = QueueStore(Path("/nonexistent"))
        self.numbers = NumberSource(0)
        self.now = NOW
        self.waiting: dict[int, set[int]] = {}
        self.held: dict[int, int] = {}
        self.lost: list[tuple[int, int]] = []

    def teardown(self) -> None:
        self.connection.close()

    @rule(recipients=st.integers(1, 3), is_leased=st.booleans())
    def add(self, recipients: int, is_leased: bool) -> None:
        number = self.numbers.next(self.now)
        assert number not in self.waiting
        self.store.add(self.connection, [make_new(number, recipients, is_leased=is_leased)])
        self.waiting[number] = set(range(1, recipients + 1))
        if is_leased:
            self.held[number] = 0

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        claimed, aside = self.store.claim(self.connection, self.now, limit, "me", self.now)
        assert aside == []
        for item in claimed:
            number = item.entry.number
            assert number not in self.held
            ids = {recipient.recipient_id for recipient in item.entry.envelope.recipients}
            assert ids == self.waiting[number]
            self.held[number] = item.entry.fence

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.held)), unique=True)) if self.held else []
        items = []
        for number in chosen:
            finished = data.draw(st.sets(st.sampled_from(sorted(self.waiting[number]))))
            self.waiting[number] -= finished
            due_at = self.now + timedelta(minutes=1) if self.waiting[number] else None
            items.append(Settlement(number, self.held.pop(number), tuple(finished), due_at=due_at))
            if not self.waiting[number]:
                del self.waiting[number]
        assert self.store.settle(self.connection, items) == [Settled(True)] * len(items)

    @rule()
    def settle_what_was_lost(self) -> None:
        items = [Settlement(number, fence, (1, 2, 3)) for number, fence in self.lost]
        assert self.store.settle(self.connection, items) == [Settled(False)] * len(items)

    @rule(minutes=st.integers(1, 5))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def crash(self) -> None:
        assert release_leases(self.connection) == len(self.held)
        self.lost.extend(self.held.items())
        self.held.clear()
        self.numbers = NumberSource(greatest_number(self.connection))

    @invariant()
    def nothing_is_lost_and_nothing_is_left_over(self) -> None:
        entries, aside = list_entries(self.connection, 0, 1000)
        assert aside == []
        assert {
            entry.number: {recipient.recipient_id for recipient in entry.envelope.recipients}
            for entry in entries
        } == self.waiting
        assert count(self.connection).recipients == sum(map(len, self.waiting.values()))
        contents = self.connection.execute("SELECT count(*) FROM content").fetchone()
        assert contents == (len(self.waiting),)


TestQueueOfOneServer = QueueOfOneServer.TestCase
TestQueueOfOneServer.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def test_the_machine_itself_can_be_made() -> None:
    with closing(QueueOfOneServer().connection):
        pass
