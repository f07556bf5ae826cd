"""Starts what is due, and records what came of it.

One attempt: the pending recipients are grouped by destination; mailboxes and outgoing transactions report an
outcome for each; what was delivered is settled as soon as its group is done, the rest when all are. The store is
written first, reports in the same transaction: a restart takes up exactly there. An exception of any kind is a
deferral, never a loss.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from kms.domain import reply
from kms.domain.account import Directory
from kms.domain.content import Content
from kms.domain.envelope import Recipient
from kms.domain.outcome import Deferred as DeferredOutcome
from kms.domain.outcome import Failed, Outcome
from kms.domain.queue_entry import QueueEntry, format_queue_id
from kms.policy.recipient import DomainKind, classify_domain
from kms.policy.retry import RetryRules
from kms.service.attempt import Attempt
from kms.service.attempt_settlement import decide
from kms.service.bounces import Bounces
from kms.service.clock import Clock
from kms.service.directory import DirectoryCache
from kms.service.local_delivery import LocalDelivery, LocalRecipient
from kms.service.mail_log import MailLog
from kms.service.message_story import tell_attempt
from kms.service.outbound import Outbound, Transmission
from kms.service.queue import Queue
from kms.service.withholding import Withholding
from kms.store.queue_store import Claimed, FinishedPart, PutBack, SetAside, Settled, Settlement

_CLAIM_LIMIT = 100
_LONGEST_SLEEP_SECONDS = 60.0
_TROUBLE_PAUSE_SECONDS = 5.0
_RETURNED = Failed(reply.RETURNED_BY_OPERATOR, "none")


class QueueRunner:
    """Works on the queue.

    Args:
        queue: what is due, and where outcomes go.
        rules: when to try again; a reload replaces the attribute.
        directory: which domains are local.
        local: delivers to mailboxes.
        outbound: delivers to other servers.
        bounces: makes reports.
        remove_body: unlinks a body file, elsewhere than on the reactor.
        log: the mail log.
        clock: for all of it.
        withholding: what an operator keeps from being tried.
    """

    def __init__(
        self,
        queue: Queue,
        rules: RetryRules,
        directory: DirectoryCache,
        local: LocalDelivery,
        outbound: Outbound,
        bounces: Bounces,
        remove_body: Callable[[str], object],
        log: MailLog,
        clock: Clock,
        withholding: Withholding | None = None,
    ) -> None:
        self._queue = queue
        self.rules = rules
        self._directory = directory
        self._local = local
        self._outbound = outbound
        self._bounces = bounces
        self.remove_body = remove_body
        self._mail_log = log
        self._clock = clock
        self.withholding = withholding or Withholding()
        self._attempts: dict[int, Attempt] = {}
        self._timer: IDelayedCall | None = None
        self._wakes_at = 0.0
        self._is_claiming = False
        self._must_claim_again = False
        self._is_stopped = True
        self._settling = 0
        self._idle: Deferred[None] | None = None
        self._log = Logger(namespace="kms.queue")
        queue.is_local = directory.has_only_local
        queue.on_accepted = self._begin
        queue.on_waiting = self.wake
        queue.is_paused = lambda: self.withholding.is_paused

    @property
    def attempts(self) -> int:
        """Entries that are being tried at this moment."""
        return len(self._attempts)

    def start(self) -> None:
        """Begin to work."""
        self._is_stopped = False
        self.wake()

    def stop(self) -> None:
        """Claim and begin nothing more; what is under way may end. What is leased is freed by the next start."""
        self._is_stopped = True
        self._cancel_timer()

    def idle(self) -> Deferred[None]:
        """Fires when every outcome that is known has been recorded; deliveries not begun are not waited for."""
        idle = self._idle = Deferred()
        self._tell_idle()
        return idle

    def _tell_idle(self) -> None:
        if self._idle is not None and not self._settling:
            idle, self._idle = self._idle, None
            idle.callback(None)

    # What is due

    def wake(self) -> None:
        """Look for due entries now."""
        if self._is_claiming or self._is_stopped or self.withholding.is_paused:
            self._must_claim_again = True
            return
        if not self._queue.has_room:
            self._must_claim_again = True
            self._sleep(_LONGEST_SLEEP_SECONDS)
            return
        self._is_claiming = True
        self._cancel_timer()
        Deferred.fromCoroutine(self._claim()).addErrback(self._claim_failed)

    async def _claim(self) -> None:
        self._must_claim_again = False
        claimed, damaged = await self._queue.claim(_CLAIM_LIMIT)
        self._is_claiming = False
        self._take(claimed, damaged)
        if len(claimed) == _CLAIM_LIMIT or self._must_claim_again:
            self.wake()
            return
        if self._is_stopped:
            return
        due = await self._queue.earliest_due()
        if due is not None:
            self._wake_at(due)

    def _claim_failed(self, failure: Failure) -> None:
        self._log.failure("The queue cannot be read", failure)
        self._is_claiming = False
        self._sleep(_TROUBLE_PAUSE_SECONDS)

    def _take(self, claimed: list[Claimed], damaged: list[SetAside]) -> None:
        for bad in damaged:
            queue_id = format_queue_id(bad.number)
            self._mail_log.set_aside(queue_id, bad.reason)
            self._log.error("{queue_id} was set aside: {reason}", queue_id=queue_id, reason=bad.reason)
        for item in claimed:
            under_way = self._attempts.get(item.entry.number)
            if under_way is None:
                self._begin(item.entry, item.content)
            else:
                under_way.entry = attrs.evolve(under_way.entry, fence=item.entry.fence)
                self._queue.let_go(item.content)

    def _wake_at(self, due: datetime) -> None:
        wait = (due - self._clock.now()).total_seconds()
        self._sleep(min(max(wait, 0.0), _LONGEST_SLEEP_SECONDS))

    def _sleep(self, seconds: float) -> None:
        """Wake after so many seconds, or sooner where that was planned already."""
        at = self._clock.monotonic() + seconds
        if self._is_stopped or (self._timer is not None and self._timer.active() and self._wakes_at <= at):
            return
        self._cancel_timer()
        self._wakes_at = at
        self._timer = self._clock.call_later(seconds, self.wake)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # One attempt

    def _begin(self, entry: QueueEntry, content: Content) -> None:
        if self._is_stopped:
            self._queue.let_go(content)
            return
        attempt = self._attempts[entry.number] = Attempt(entry, content)
        local, abroad = self._part(attempt)
        attempt.groups_left = len(local) + len(abroad)
        if not attempt.groups_left:
            self._finish(attempt)
        for recipient in local:
            self._local.deliver(LocalRecipient(entry, recipient, content, self._local_done))
        for destination, recipients in abroad.items():
            self._send(attempt, destination, tuple(recipients))

    def _part(self, attempt: Attempt) -> tuple[list[Recipient], dict[str, list[Recipient]]]:
        """Part the recipients: those with a mailbox here, and the others by destination; some are not tried."""
        entry, directory = attempt.entry, self._directory.current
        local: list[Recipient] = []
        abroad: dict[str, list[Recipient]] = {}
        for recipient in entry.envelope.recipients:
            domain = recipient.forward_path.domain
            if entry.is_given_up:
                attempt.outcomes[recipient.recipient_id] = (recipient, _RETURNED)
            elif self._has_mailbox_here(directory, domain):
                local.append(recipient)
            elif (why := self.withholding.hold_back(entry, domain)) is not None:
                attempt.withheld.append(why)
            else:
                destination = entry.next_hop or self._outbound.destination_of(domain, entry.reverse_path)
                abroad.setdefault(destination, []).append(recipient)
        return local, abroad

    def _has_mailbox_here(self, directory: Directory, domain: str) -> bool:
        is_local = classify_domain(directory, domain) is DomainKind.LOCAL
        return is_local and not self._outbound.takes_over(domain)

    def _local_done(self, item: LocalRecipient, outcome: Outcome) -> None:
        attempt = self._attempts[item.entry.number]
        attempt.outcomes[item.recipient.recipient_id] = (item.recipient, outcome)
        self._group_done(attempt, (item.recipient.recipient_id,))

    def _send(self, attempt: Attempt, destination: str, recipients: tuple[Recipient, ...]) -> None:
        def done(outcomes: dict[int, Outcome], through_smarthost: bool) -> None:
            for recipient in recipients:
                number = recipient.recipient_id
                missing = DeferredOutcome(reply.TROUBLE, "none")
                attempt.outcomes[number] = (recipient, outcomes.get(number, missing))
                if through_smarthost:
                    attempt.through_smarthost.add(number)
            attempt.destinations.append(destination)
            self._group_done(attempt, tuple(recipient.recipient_id for recipient in recipients))

        def withdrawn() -> None:
            attempt.withheld.append("")
            self._group_done(attempt, ())

        transmission = Transmission(attempt.entry, recipients, attempt.content, done, withdrawn)
        self._outbound.submit(destination, transmission)

    def _group_done(self, attempt: Attempt, ids: tuple[int, ...]) -> None:
        attempt.groups_left -= 1
        if not attempt.groups_left:
            self._finish(attempt)
            return
        finished = attempt.finished_among(ids)
        if finished:
            entry = attempt.entry
            self._queue.finish_part(FinishedPart(entry.number, entry.fence, finished)).addErrback(
                lambda failure: self._log.failure("A part of an outcome could not be recorded", failure)
            )

    # What came of it

    def _finish(self, attempt: Attempt) -> None:
        self._settling += 1
        if not attempt.outcomes:
            self._put_back(attempt)
            return
        self._log_outcomes(attempt)
        entry = attempt.entry
        if not attempt.withheld and len(attempt.finished_among(attempt.outcomes)) == len(attempt.outcomes):
            self._settle(attempt, Settlement(entry.number, entry.fence, finished=tuple(attempt.outcomes)))
        else:
            self._decide_later(attempt)

    def _put_back(self, attempt: Attempt) -> None:
        """Nothing was tried: the entry waits as it did, or for what withholds it."""
        entry, parked = attempt.entry, attempt.why_withheld
        put_back = self._queue.put_back(PutBack(entry.number, entry.fence, parked, attempt.not_before))
        put_back.addCallbacks(
            lambda _: self._was_parked(attempt, parked),
            lambda failure: self._again(failure, lambda: self._put_back(attempt)),
        )

    def _was_parked(self, attempt: Attempt, parked: str) -> None:
        self._let_go(attempt)
        if not parked:  # whoever took it back comes first
            self._clock.call_later(0, self.wake)
        elif parked not in self.withholding.standing():  # released while it was being parked
            freed = self._queue.unpark_ended(self.withholding.standing)
            freed.addCallbacks(
                lambda _: self.wake(), lambda failure: self._log.failure("Mail stays parked", failure)
            )

    def _log_outcomes(self, attempt: Attempt) -> None:
        entry = attempt.entry
        delay = (self._clock.now() - entry.arrived_at).total_seconds()
        for recipient, outcome in attempt.outcomes.values():
            self._mail_log.attempted(entry, recipient.forward_path, recipient.original, outcome, delay)

    def _decide_later(self, attempt: Attempt) -> None:
        now = self._clock.now()
        decided = Deferred.fromCoroutine(decide(attempt, self.rules, self._bounces, now))
        decided.addCallbacks(
            lambda settlement: self._settle(attempt, settlement),
            lambda failure: self._again(failure, lambda: self._decide_later(attempt)),
        )

    def _settle(self, attempt: Attempt, settlement: Settlement) -> None:
        if self._queue.keeps_stories:
            settlement.story = tell_attempt(attempt.outcomes.values(), settlement)
        self._queue.settle(settlement).addCallbacks(
            lambda settled: self._settled(settled, attempt, settlement),
            lambda failure: self._again(failure, lambda: self._settle(attempt, settlement)),
        )

    def _again(self, failure: Failure, call: Callable[[], object]) -> None:
        """The outcome could not be recorded: hold on to it, so that nothing is sent twice, and try again."""
        self._log.failure("An outcome could not be recorded; it will be tried again", failure)
        self._clock.call_later(_TROUBLE_PAUSE_SECONDS, call)

    def _settled(self, settled: Settled, attempt: Attempt, settlement: Settlement) -> None:
        self._let_go(attempt)
        if not settled.was_taken:
            self._log.warn(
                "{queue_id}: the lease was lost, outcome not taken", queue_id=attempt.entry.queue_id
            )
        elif settlement.due_at is None:
            self._mail_log.removed(attempt.entry.queue_id)
        else:
            self._wake_at(settlement.due_at)
        if settled.unused_body is not None:
            self.remove_body(settled.unused_body)
        if settlement.reports and settled.was_taken:
            for report in settlement.reports:
                self._mail_log.queued(report.entry)
            self.wake()

    def _let_go(self, attempt: Attempt) -> None:
        self._settling -= 1
        self._tell_idle()
        del self._attempts[attempt.entry.number]
        self._queue.let_go(attempt.content)
        for destination in attempt.destinations:
            self._outbound.committed(destination)
        if self._must_claim_again and self._queue.has_room:
            self.wake()
