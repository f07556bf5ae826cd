"""The durable queue as the services see it: take a message, claim what is due, settle what came of it.

What is answered 250 has been committed here. A message that has room in memory is inserted already leased to
this process and tried at once, without being read again; anything else is claimed from the store when due.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kms.domain.content import Content, InlineContent
from kms.domain.queue_entry import QueueEntry
from kms.service.clock import Clock
from kms.service.database import Database
from kms.store.client_ledger import ClientEvent
from kms.store.queue_state import unpark_ended
from kms.store.queue_store import (
    Claimed,
    FinishedPart,
    NewEntry,
    NumberSource,
    PutBack,
    QueueStore,
    SetAside,
    Settled,
    Settlement,
    earliest_due,
    put_back,
)

OWNER = "server"
_LEASE = timedelta(hours=6)
_MOST_HELD = 20_000
_MOST_HELD_OCTETS = 64 * 1024 * 1024
_SHARE_OF_ALL = 0.75  # the rest is for mail to our own mailboxes, which no slow server may hold up


def _held_octets(content: Content) -> int:
    return len(content.data) if isinstance(content, InlineContent) else 0


class Queue:
    """The queue of this process.

    Args:
        database: commits.
        store: the queue's tables.
        clock: for arrivals and leases.

    Attributes:
        keeps_stories: what happens to messages is to be remembered after they have left the queue: whoever
            hands in a message or an outcome tells its story.
    """

    def __init__(self, database: Database, store: QueueStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._numbers = NumberSource(0)
        self._clock = clock
        self.keeps_stories = True
        self._held = 0
        self._held_octets = 0
        self._log = Logger(namespace="kms.queue")
        self.is_local: Callable[[QueueEntry], bool] = _is_unknown
        self.on_accepted: Callable[[QueueEntry, Content], object] = _ignore
        self.on_waiting: Callable[[], object] = _ignore
        self.is_paused: Callable[[], bool] = lambda: False

    def start(self, greatest: int) -> None:
        """Make numbers above the greatest that may have been used."""
        self._numbers = NumberSource(greatest)

    def next_number(self) -> tuple[int, datetime]:
        """Make the number of a new entry, and say when it was made."""
        now = self._clock.now()
        return self._numbers.next(now), now

    @property
    def has_room(self) -> bool:
        """True while more messages may be held in memory for their attempt, wherever they go."""
        return self._has_room(_SHARE_OF_ALL)

    def _has_room(self, share: float) -> bool:
        return self._held < _MOST_HELD * share and self._held_octets < _MOST_HELD_OCTETS * share

    def _hold(self, content: Content) -> None:
        self._held += 1
        self._held_octets += _held_octets(content)

    def let_go(self, content: Content) -> None:
        """The attempt with this content is over; it is not held any more."""
        self._held -= 1
        self._held_octets -= _held_octets(content)

    def accept(
        self, entry: QueueEntry, content: Content, story: str = "", counted: ClientEvent | None = None
    ) -> Deferred[None]:
        """Take responsibility for a message.

        Args:
            entry: with a number from `next_number`.
            content: of the message.
            story, counted: why it is taken, and whose it is; see `NewEntry`.

        Returns:
            Fires after the commit; the first attempt begins then too. Fails with StoreError, and nothing is
            kept.
        """
        is_leased = not self.is_paused() and (self.has_room or (self._has_room(1.0) and self.is_local(entry)))
        new = NewEntry(entry, content, is_leased, story, counted)
        if new.is_leased:
            self._hold(content)
        added = self._database.run_batched(self._store.add, new)
        return added.addCallbacks(
            self._committed, self._not_committed, callbackArgs=(new,), errbackArgs=(new,)
        )

    def _committed(self, _: None, new: NewEntry) -> None:
        try:
            if new.is_leased:
                self.on_accepted(new.entry, new.content)
            else:
                self.on_waiting()
        except Exception:  # the message is safe, and its 250 is earned
            self._log.failure("The attempt at {queue_id} could not begin", queue_id=new.entry.queue_id)

    def _not_committed(self, failure: Failure, new: NewEntry) -> Failure:
        if new.is_leased:
            self.let_go(new.content)
        return failure

    async def claim(self, limit: int) -> tuple[list[Claimed], list[SetAside]]:
        """Lease up to `limit` due entries; each is held until `let_go`. Damaged ones are set aside instead."""
        now = self._clock.now()
        claimed, damaged = await self._database.run(
            lambda connection: self._store.claim(connection, now, limit, OWNER, now + _LEASE)
        )
        for item in claimed:
            self._hold(item.content)
        return claimed, damaged

    def finish_part(self, part: FinishedPart) -> Deferred[bool]:
        """Record recipients that are finished while others of the same attempt are still tried."""
        return self._database.run_batched(self._store.finish_part, part)

    def settle(self, settlement: Settlement) -> Deferred[Settled]:
        """Record what came of an attempt, in one transaction with the reports that it causes."""
        settlement.at = self._clock.now()
        return self._database.run_batched(self._store.settle, settlement)

    def put_back(self, item: PutBack) -> Deferred[None]:
        """Free an entry that was claimed and not tried."""
        return self._database.run_batched(put_back, item)

    def unpark_ended(self, standing: Callable[[], Sequence[str]]) -> Deferred[int]:
        """Free the entries whose reason to wait is none of these; asked when it is their turn to be written."""
        reasons = standing()
        return self._database.run(lambda connection: unpark_ended(connection, reasons))

    async def earliest_due(self) -> datetime | None:
        """When the next entry that nobody holds is due; None for an empty queue."""
        return await self._database.run(earliest_due)


def _is_unknown(_: QueueEntry) -> bool:
    """Nobody knows yet which domains are local."""
    return False


def _ignore(*_: object) -> None:
    """Nobody listens yet."""
