"""What is to be recorded of an attempt: the plan of policy/settlement.py, with the report that it asks for.

Flow: the queue runner asks once all recipients have their outcome; the settlement is one transaction.
"""

from __future__ import annotations

from datetime import datetime

from kms.domain.outcome import Delivered
from kms.policy.retry import RetryRules
from kms.policy.settlement import plan_settlement
from kms.service.attempt import Attempt
from kms.service.bounces import Bounces
from kms.store.queue_store import Settlement


async def decide(attempt: Attempt, rules: RetryRules, bounces: Bounces, now: datetime) -> Settlement:
    """Say what becomes of an entry with recipients that were not delivered to.

    Recipients that are withheld stay, and wait with those that were deferred; where there are none of these, the
    entry is parked.
    """
    entry = attempt.entry
    plan = plan_settlement(attempt.tried(), entry, rules, now)
    report = None
    warned_at = None
    if plan.failed:
        report = await bounces.failed(entry, attempt.content, plan.failed)
    elif plan.warn:
        report = await bounces.delayed(entry, attempt.content, plan.deferred, plan.until)
        warned_at = now
    delivered = (
        number for number, (_, outcome) in attempt.outcomes.items() if isinstance(outcome, Delivered)
    )
    return Settlement(
        number=entry.number,
        fence=entry.fence,
        finished=(*delivered, *(item.recipient.recipient_id for item in plan.failed)),
        last_status={item.recipient.recipient_id: item.status_text for item in plan.deferred},
        due_at=plan.due_at or (now if attempt.withheld else None),
        warned_at=warned_at,
        report=report,
        parked=attempt.why_withheld if plan.due_at is None else "",
    )
