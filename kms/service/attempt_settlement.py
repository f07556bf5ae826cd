"""What is to be recorded of an attempt: the plan of policy/settlement.py, with the reports that it asks for.

Flow: the queue runner asks once all recipients have their outcome; the settlement is one transaction.
"""

from __future__ import annotations

from datetime import datetime

from kms.policy.notification import choose_reports
from kms.policy.retry import RetryRules
from kms.policy.settlement import plan_settlement
from kms.service.attempt import Attempt
from kms.service.bounces import Bounces
from kms.store.queue_store import Settlement


async def decide(attempt: Attempt, rules: RetryRules, bounces: Bounces, now: datetime) -> Settlement:
    """Say what becomes of an entry where not all is well, or the sender asked to be told.

    Recipients that are withheld stay, and wait with those that were deferred; where there are none of these, the
    entry is parked.
    """
    entry, tried = attempt.entry, attempt.tried()
    plan = plan_settlement(tried, entry, rules, now)
    wanted = choose_reports(tried, plan, entry.attempts)
    times = [time for time in (plan.due_at, attempt.not_before) if time is not None]
    return Settlement(
        number=entry.number,
        fence=entry.fence,
        finished=plan.finished,
        last_status={item.recipient.recipient_id: item.status_text for item in plan.deferred},
        due_at=min(times, default=now if attempt.withheld else None),
        warned_at=now if plan.warn else None,
        reports=await bounces.make(entry, attempt.content, wanted),
        parked=attempt.why_withheld if plan.due_at is None else "",
    )
