"""Outgoing transactions: at most so many at one moment in all, and so many to one destination.

Destinations take turns, so that one with much mail does not hold up the others. A destination is a domain, the
hop of a `[routes]` line, or the smarthost for everything else. A transaction whose outcome is not yet
committed still counts for its destination: at most two of them stand for each connection, which bounds what a
crash can send twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kms.domain import reply
from kms.domain.address import Mailbox
from kms.domain.content import Content
from kms.domain.envelope import Recipient
from kms.domain.outcome import Deferred as DeferredOutcome
from kms.domain.outcome import Failed, Outcome
from kms.domain.queue_entry import QueueEntry
from kms.policy.routing import Route, name_destination, reroute
from kms.ports import Sender
from kms.service.route_finder import RouteFinder

NOWHERE = "none"


class RouteChanged(Exception):
    """A reload gave the message another way while it waited for its turn; the next attempt takes that."""


@attrs.frozen
class Transmission:
    """One message to one destination: one outgoing transaction.

    Attributes:
        done: called once with an outcome for each recipient, and whether a smarthost was the way;
        withdrawn: called instead, where an operator takes it back before its turn.
    """

    entry: QueueEntry
    recipients: tuple[Recipient, ...]
    content: Content
    done: Callable[[dict[int, Outcome], bool], None]
    withdrawn: Callable[[], None] = lambda: None


@attrs.define
class _Destination:
    domain: str
    waiting: deque[Transmission] = attrs.field(factory=deque)
    running: int = 0
    uncommitted: int = 0
    failures: int = 0  # attempts in a row that reached no server


@attrs.define
class OutboundRules:
    """How many transactions may run.

    Attributes:
        delivery_tasks: in all.
        per_destination: to one destination.
    """

    delivery_tasks: int = 32
    per_destination: int = 5


class Outbound:
    """Runs the outgoing transactions.

    Args:
        rules: the limits; a reload replaces the attribute.
        routes: finds the next hops of a domain.
        sender: makes one attempt.
    """

    def __init__(self, rules: OutboundRules, routes: RouteFinder, sender: Sender) -> None:
        self.rules = rules
        self._routes = routes
        self._sender = sender
        self._destinations: dict[str, _Destination] = {}
        self._turn: deque[_Destination] = deque()
        self._running = 0
        self._is_starting = False
        self._drained: Deferred[None] | None = None
        self._log = Logger(namespace="kms.outbound")

    @property
    def running(self) -> int:
        """Outgoing transactions at this moment."""
        return self._running

    def destination_of(self, domain: str, sender: Mailbox | None = None) -> str:
        """The destination of a domain's mail: a `[routes]` hop, "" for the smarthost, or the domain itself."""
        return name_destination(domain, sender, self._routes.rules)

    def takes_over(self, domain: str) -> bool:
        """Say whether a `[routes]` line takes a local domain's mail away from its Maildirs."""
        return self._routes.rules.table.takes_over(domain)

    def submit(self, destination: str, transmission: Transmission) -> None:
        """Let a transaction wait for its turn."""
        found = self._destinations.get(destination)
        if found is None:
            found = self._destinations[destination] = _Destination(destination)
            self._turn.append(found)
        found.waiting.append(transmission)
        self._start_more()

    def committed(self, destination: str) -> None:
        """The outcome of a transaction stands in the store."""
        found = self._destinations.get(destination)
        if found is not None:
            found.uncommitted -= 1
            self._forget_idle(found)
        self._start_more()

    def withdraw(self, is_meant: Callable[[Transmission], bool]) -> None:
        """Take back what waits for its turn; what is under way goes on."""
        for destination in list(self._destinations.values()):
            meant = [transmission for transmission in destination.waiting if is_meant(transmission)]
            if meant:
                left = [transmission for transmission in destination.waiting if not is_meant(transmission)]
                destination.waiting = deque(left)
                self._forget_idle(destination)
            for transmission in meant:
                transmission.withdrawn()

    def drain(self) -> Deferred[None]:
        """Start nothing more; fires when what is under way has ended."""
        self._drained = Deferred()
        drained = self._drained
        self._tell_drained()
        return drained

    def _tell_drained(self) -> None:
        if self._drained is not None and not self._running and not self._drained.called:
            self._drained.callback(None)

    @property
    def _may_run_more(self) -> bool:
        return self._drained is None and self._running < self.rules.delivery_tasks

    def _may_start(self, destination: _Destination) -> bool:
        limit = self.rules.per_destination
        return (
            bool(destination.waiting)
            and destination.running < limit
            and destination.running + destination.uncommitted < 2 * limit
        )

    def _start_more(self) -> None:
        if self._is_starting:
            return  # an outcome that came at once: the loop below goes on with what it freed
        self._is_starting = True
        idle = 0
        while self._may_run_more and idle < len(self._turn):
            destination = self._turn[0]
            self._turn.rotate(-1)
            if self._may_start(destination):
                idle = 0
                self._start(destination, destination.waiting.popleft())
            else:
                idle += 1
        self._is_starting = False

    def _start(self, destination: _Destination, transmission: Transmission) -> None:
        self._running += 1
        destination.running += 1
        sent = Deferred.fromCoroutine(self._send(destination.domain, transmission))
        sent.addErrback(self._trouble, transmission)
        sent.addCallback(self._sent, destination, transmission)
        sent.addErrback(lambda failure: self._log.failure("An outcome could not be recorded", failure))

    async def _send(self, destination: str, transmission: Transmission) -> tuple[dict[int, Outcome], bool]:
        if self._destinations_now(transmission) != {destination}:
            raise RouteChanged
        domain, entry = transmission.recipients[0].forward_path.domain, transmission.entry
        if entry.next_hop:
            route: Route | DeferredOutcome | Failed = self._routes.note_dane(
                reroute(entry.next_hop, self._routes.rules)
            )
        else:
            route = await self._routes.find(domain, entry.reverse_path)
        if isinstance(route, (DeferredOutcome, Failed)):
            return {recipient.recipient_id: route for recipient in transmission.recipients}, False
        outcomes = await self._sender.send(
            route.hops, transmission.entry.envelope, transmission.recipients, transmission.content
        )
        return outcomes, route.through_smarthost

    def _destinations_now(self, transmission: Transmission) -> set[str]:
        """Where the mail would go by the rules of now: a reload may have changed them."""
        if transmission.entry.next_hop:
            return {transmission.entry.next_hop}
        domains = {recipient.forward_path.domain for recipient in transmission.recipients}
        return {self.destination_of(domain, transmission.entry.reverse_path) for domain in domains}

    def _trouble(self, failure: Failure, transmission: Transmission) -> tuple[dict[int, Outcome], bool]:
        self._log.failure("An outgoing transaction failed within kms", failure)
        trouble = DeferredOutcome(reply.TROUBLE, NOWHERE)
        through_smarthost = "" in self._destinations_now(transmission)
        return {recipient.recipient_id: trouble for recipient in transmission.recipients}, through_smarthost

    def _sent(
        self, result: tuple[dict[int, Outcome], bool], destination: _Destination, transmission: Transmission
    ) -> None:
        self._running -= 1
        destination.running -= 1
        destination.uncommitted += 1
        try:
            self._back_off(destination, *result)
            transmission.done(*result)
        finally:
            self._start_more()
            self._tell_drained()

    def _back_off(
        self, destination: _Destination, outcomes: dict[int, Outcome], through_smarthost: bool
    ) -> None:
        """Defer all that waits for a destination none of whose servers can be reached, try after try."""
        last = _find_unreached(outcomes)
        destination.failures = 0 if last is None else destination.failures + 1
        if last is None or destination.failures < self.rules.per_destination:
            return
        waiting, destination.waiting = destination.waiting, deque()
        destination.uncommitted += len(waiting)
        for transmission in waiting:
            numbers = [recipient.recipient_id for recipient in transmission.recipients]
            try:
                transmission.done(dict.fromkeys(numbers, last), through_smarthost)
            except Exception:
                self._log.failure("An outcome could not be recorded")

    def _forget_idle(self, destination: _Destination) -> None:
        if not destination.waiting and not destination.running and not destination.uncommitted:
            del self._destinations[destination.domain]
            self._turn.remove(destination)


def _find_unreached(outcomes: dict[int, Outcome]) -> Outcome | None:
    """Give the outcome that stands for all, where no server was reached (RFC 3463: X.4.Y); else None.

    Of those that were not tried, no server can have taken anything.
    """
    last = None
    for outcome in outcomes.values():
        status = outcome.reply.status
        if not isinstance(outcome, DeferredOutcome) or status is None or status.subject != 4:
            return None
        last = attrs.evolve(outcome, is_ambiguous=False)
    return last
