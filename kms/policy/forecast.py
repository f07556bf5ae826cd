"""What will become of an entry of the queue, if nobody takes it: when it is tried, warned of and given up.

The very functions that plan what follows an attempt (settlement.py, retry.py) are asked again and again, as if each
attempt deferred all recipients. So a forecast is what the queue runner does.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import attrs

from kms.domain import reply
from kms.domain.envelope import Recipient
from kms.domain.outcome import Deferred
from kms.domain.queue_entry import QueueEntry
from kms.policy.retry import RetryRules
from kms.policy.settlement import TriedRecipient, plan_settlement

_SHORTEST = timedelta(seconds=1)  # retry_interval has no floor


class ForecastKind(enum.Enum):
    """TRY: it is tried. WARN: its sender is told of the delay. BOUNCE: recipients are given up."""

    TRY = "try"
    WARN = "warn"
    BOUNCE = "bounce"


@attrs.frozen
class Foreseen:
    """One event to come."""

    at: datetime
    queue_id: str
    kind: ForecastKind


def forecast(
    entry: QueueEntry,
    rules: RetryRules,
    is_through_smarthost: Callable[[Recipient], bool],
    now: datetime,
    until: datetime,
) -> Iterator[Foreseen]:
    """Foresee what happens to an entry before `until`, in order.

    Args:
        is_through_smarthost: says whether a recipient's way is a smarthost.
        now: an entry that is due already is tried now.
    """
    tried = [
        TriedRecipient(recipient, Deferred(reply.NO_HOST_ANSWERED, "none"), is_through_smarthost(recipient))
        for recipient in entry.envelope.recipients
    ]
    at = max(entry.due_at, now)
    while at < until:
        yield Foreseen(at, entry.queue_id, ForecastKind.TRY)
        plan = plan_settlement(tried, entry, rules, at)
        if plan.failed:
            yield Foreseen(at, entry.queue_id, ForecastKind.BOUNCE)
        elif plan.warn:
            yield Foreseen(at, entry.queue_id, ForecastKind.WARN)
        if plan.due_at is None:
            return
        left = {item.recipient.recipient_id for item in plan.deferred}
        tried = [item for item in tried if item.recipient.recipient_id in left]
        entry = attrs.evolve(
            entry,
            attempts=entry.attempts + 1,
            due_at=plan.due_at,
            warned_at=at if plan.warn else entry.warned_at,
        )
        at = max(plan.due_at, at + _SHORTEST)
