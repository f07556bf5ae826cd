"""What becomes of an entry after an attempt: who is finished, and who waits. Who is told: policy/notification.

Pure: outcomes, rules and the instant in, a plan out. The queue runner carries the plan out in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import assert_never

import attrs

from kms.domain import reply
from kms.domain.envelope import Recipient
from kms.domain.outcome import Deferred, Delivered, Failed, Outcome
from kms.domain.queue_entry import QueueEntry
from kms.domain.reply import Reply
from kms.policy.retry import Expire, RetryAt, RetryRules, decide_retry


@attrs.frozen
class TriedRecipient:
    """A recipient with what came of it in this attempt."""

    recipient: Recipient
    outcome: Outcome
    through_smarthost: bool


@attrs.frozen
class Undelivered:
    """A recipient that was not delivered to, as the report and the queue list tell it.

    Attributes:
        reply: what says why; for an expired one, that it expired.
        last_reply: the last words of the hop, which differ from `reply` for an expired one.
        where: the hop that said so; "none" when none was reached.
    """

    recipient: Recipient
    reply: Reply
    last_reply: Reply
    where: str

    @property
    def status_text(self) -> str:
        """One line for the queue list."""
        return str(self.last_reply) if self.where == "none" else f"{self.where}: {self.last_reply}"


@attrs.frozen
class SettlementPlan:
    """The plan for one entry.

    Attributes:
        failed: recipients that are given up.
        deferred: recipients that stay.
        due_at: the next attempt; None when nobody stays.
        warn: it is time to tell the sender of the delay.
        until: when the attempts end; None where they do not, through a smarthost.
        finished: ids of the recipients that leave the queue: served, or given up.
    """

    failed: tuple[Undelivered, ...]
    deferred: tuple[Undelivered, ...]
    due_at: datetime | None
    warn: bool
    until: datetime | None = None
    finished: tuple[int, ...] = ()


def plan_settlement(
    tried: Sequence[TriedRecipient], entry: QueueEntry, rules: RetryRules, now: datetime
) -> SettlementPlan:
    """Plan what follows an attempt.

    A warning that falls together with a failure waits for the next attempt, so that one attempt makes one report.
    """
    failed: list[Undelivered] = []
    deferred: list[Undelivered] = []
    times: list[RetryAt] = []
    may_end = False
    for item in tried:
        outcome = item.outcome
        match outcome:
            case Delivered():
                continue
            case Failed():
                failed.append(Undelivered(item.recipient, outcome.reply, outcome.reply, outcome.where))
            case Deferred():
                decision = decide_retry(
                    rules,
                    entry.arrived_at,
                    entry.attempts + 1,
                    entry.warned_at is not None,
                    item.through_smarthost,
                    now,
                )
                if isinstance(decision, Expire):
                    expired = Undelivered(
                        item.recipient, reply.DELIVERY_EXPIRED, outcome.reply, outcome.where
                    )
                    failed.append(expired)
                else:
                    times.append(decision)
                    may_end = may_end or not item.through_smarthost or rules.limits_apply_to_smarthost
                    deferred.append(Undelivered(item.recipient, outcome.reply, outcome.reply, outcome.where))
            case _:
                assert_never(outcome)
    due_at = min((time.at for time in times), default=None)
    warn = any(time.warn for time in times) and not failed
    until = entry.arrived_at + rules.bounce_after if may_end else None
    staying = {item.recipient.recipient_id for item in deferred}
    ids = (item.recipient.recipient_id for item in tried)
    finished = tuple(number for number in ids if number not in staying)
    return SettlementPlan(tuple(failed), tuple(deferred), due_at, warn, until, finished)
