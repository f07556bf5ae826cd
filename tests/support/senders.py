"""Senders whose every answer, and the moment of it, is the test's to choose."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred

from kms.domain.content import Content
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import NextHop
from kms.domain.outcome import Deferred as DeferredOutcome
from kms.domain.outcome import Delivered, Failed, Outcome
from kms.domain.reply import Reply
from kms.domain.status import OK, EnhancedStatus

TAKEN = Delivered(Reply(250, OK, "taken"), "mx.test")
BUSY = DeferredOutcome(Reply(451, EnhancedStatus(4, 7, 1), "greylisted"), "mx.test")
REFUSED = Failed(Reply(550, EnhancedStatus(5, 1, 1), "nobody here"), "mx.test")


@attrs.define
class Sending:
    """One call of `send` that has no answer yet."""

    hops: tuple[NextHop, ...]
    envelope: Envelope
    recipients: tuple[Recipient, ...]
    content: Content
    answered: Deferred[dict[int, Outcome]]

    @property
    def domain(self) -> str:
        return self.recipients[0].forward_path.domain

    def finish(self, outcome: Outcome = TAKEN) -> None:
        """Let it end with this outcome for all its recipients."""
        self.answered.callback({recipient.recipient_id: outcome for recipient in self.recipients})


class HeldSender:
    """Answers when it is told to.

    Attributes:
        sendings: the calls without an answer, oldest first; whoever finishes one takes it out.
        most: how many there were at one moment, at most.
        started: how many calls there were.
    """

    def __init__(self) -> None:
        self.sendings: list[Sending] = []
        self.started = 0
        self.most = 0

    async def send(
        self, hops: Sequence[NextHop], envelope: Envelope, recipients: Sequence[Recipient], content: Content
    ) -> dict[int, Outcome]:
        sending = Sending(tuple(hops), envelope, tuple(recipients), content, Deferred())
        self.started += 1
        self.sendings.append(sending)
        self.most = max(self.most, len(self.sendings))
        return await sending.answered

    def finish(self, outcome: Outcome = TAKEN) -> Sending:
        """Let the oldest end."""
        sending = self.sendings.pop(0)
        sending.finish(outcome)
        return sending

    def of(self, domain: str) -> list[Sending]:
        """Those that go to a domain."""
        return [sending for sending in self.sendings if sending.domain == domain]


class AddressedSender:
    """Gives each recipient its own outcomes, one an attempt.

    Attributes:
        outcomes: by address; the last one repeats. An address that is not here is taken.
        faults: what the next calls raise, one each.
        sent: the addresses of each call.
        taken: how often each address was answered `Delivered`.
        watch: called at each call.
    """

    def __init__(self, outcomes: dict[str, list[Outcome]] | None = None) -> None:
        self.outcomes = {address: deque(given) for address, given in (outcomes or {}).items()}
        self.faults: deque[Exception] = deque()
        self.sent: list[tuple[str, ...]] = []
        self.taken: dict[str, int] = {}
        self.watch: Callable[[], object] = lambda: None

    async def send(
        self, hops: Sequence[NextHop], envelope: Envelope, recipients: Sequence[Recipient], content: Content
    ) -> dict[int, Outcome]:
        self.watch()
        self.sent.append(tuple(str(recipient.forward_path) for recipient in recipients))
        if self.faults:
            raise self.faults.popleft()
        return {recipient.recipient_id: self._answer(str(recipient.forward_path)) for recipient in recipients}

    def _answer(self, address: str) -> Outcome:
        given = self.outcomes.get(address)
        outcome: Outcome = TAKEN
        if given:
            outcome = given.popleft() if len(given) > 1 else given[0]
        if isinstance(outcome, Delivered):
            self.taken[address] = self.taken.get(address, 0) + 1
        return outcome
