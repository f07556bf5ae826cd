"""What goes into the queue store and comes out of it: values, and the source of the entries' numbers."""

from __future__ import annotations

from datetime import datetime

import attrs

from kms.domain.content import Content
from kms.domain.queue_entry import QueueEntry
from kms.store.client_ledger import ClientEvent
from kms.store.schema import to_us


@attrs.define  # not frozen: measured, one for each message; nobody changes one
class NewEntry:
    """An entry to be added.

    Attributes:
        entry: with a number from `NumberSource`.
        content: a `FileContent` lies where `BodyWriter` put it for this number.
        is_leased: this process will try it at once from memory; else it waits for `claim`.
        story: why it was taken, JSON, for `store.message_life`; "" keeps nothing of it.
        counted: whose message it is counted as; None where it is not.
    """

    entry: QueueEntry
    content: Content
    is_leased: bool
    story: str = ""
    counted: ClientEvent | None = None


@attrs.frozen
class Claimed:
    """An entry that is leased to the claimer, with its content."""

    entry: QueueEntry
    content: Content


@attrs.frozen
class SetAside:
    """An entry that cannot be used any more, and why; it stays in the store for an operator to look at."""

    number: int
    reason: str


@attrs.frozen
class FinishedPart:
    """Recipients that are finished before the attempt at their entry is over; see `Settlement`."""

    number: int
    fence: int
    finished: tuple[int, ...]


@attrs.frozen
class PutBack:
    """An entry that was claimed and not tried: it is free again, and no attempt is counted.

    Attributes:
        parked: why it waits for no time at all (see queue_tables); "" = it does not.
        due_at: when it is due now; None = as before.
    """

    number: int
    fence: int
    parked: str
    due_at: datetime | None = None


@attrs.define  # not frozen: measured, one for each message; nobody changes one
class Settlement:
    """What came of one attempt at one entry.

    Attributes:
        number: of the entry.
        fence: as the claimed (or new) entry has it.
        finished: ids of the recipients that are delivered, or that failed and are reported.
        last_status: what deferred the others, by recipient id.
        due_at: when to try those others; None says that none is left.
        parked: why they wait for no time at all (see queue_tables); "" = they do not.
        warned_at: when their delay warning went out; None keeps what is stored.
        reports: to the sender, added in the same transaction.
        at: when the attempt was over.
        story: what came of it, JSON, for `store.message_life`; "" keeps nothing of it.
        added: the entry with those recipients only that take the place of finished ones; None = nobody does.
    """

    number: int
    fence: int
    finished: tuple[int, ...]
    last_status: dict[int, str] = attrs.field(factory=dict)
    due_at: datetime | None = None
    warned_at: datetime | None = None
    reports: tuple[NewEntry, ...] = ()
    parked: str = ""
    at: datetime | None = None
    story: str = ""
    added: QueueEntry | None = None


@attrs.define  # not frozen: measured, one for each message; nobody changes one
class Settled:
    """What became of a settlement.

    Attributes:
        was_taken: False where the claim was lost (another one is newer, or the entry is gone): nothing
            changed, and no report is added.
        unused_body: path of the body file that may be unlinked once the transaction is committed, or None.
    """

    was_taken: bool
    unused_body: str | None = None


@attrs.frozen
class QueueCount:
    """How much is in the queue; `messages` includes those `set_aside`."""

    messages: int
    recipients: int
    octets: int
    set_aside: int


class NumberSource:
    """Makes the numbers of entries: microseconds of the arrival, but always greater than the last one.

    Args:
        greatest: from `greatest_number`, so that no number comes twice, also not after a restart or a jump of
            the clock: mailbox files are named after it.
    """

    def __init__(self, greatest: int) -> None:
        self._last = greatest

    def next(self, now: datetime) -> int:
        """Make a number for a message that arrives now."""
        self._last = max(to_us(now), self._last + 1)
        return self._last
