"""What is to be recorded of an attempt: the plan of policy/settlement.py, with the reports that it asks for.

Flow: the queue runner asks once all recipients have their outcome; the settlement is one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import attrs

from kms.domain.envelope import Recipient
from kms.policy.notification import choose_reports
from kms.policy.retry import RetryRules
from kms.policy.settlement import plan_settlement
from kms.service.attempt import Attempt
from kms.service.bounces import Bounces
from kms.store.queue_store import Settlement


async def decide(attempt: Attempt, rules: RetryRules, bounces: Bounces, now: datetime) -> Settlement:
    """Say what becomes of an entry where not all is well, or the sender asked to be told.

    Recipients that are withheld stay, and wait with those that were deferred; where there are none of these, the
    entry is parked. A recipient that is an alias now gives its place to those behind it, who are tried at once.
    """
    entry, tried = attempt.entry, attempt.tried()
    plan = plan_settlement(tried, entry, rules, now)
    replaced = [item.recipient for item in plan.deferred if item.recipient.recipient_id in attempt.expanded]
    added = _expand(attempt, replaced)
    due_at = plan.due_at if len(plan.deferred) > len(replaced) else None
    times = [time for time in (due_at, attempt.not_before) if time is not None]
    return Settlement(
        number=entry.number,
        fence=entry.fence,
        finished=(*plan.finished, *(recipient.recipient_id for recipient in replaced)),
        last_status={item.recipient.recipient_id: item.status_text for item in plan.deferred},
        due_at=now if added else min(times, default=now if attempt.withheld else None),
        warned_at=now if plan.warn else None,
        reports=await bounces.make(entry, attempt.content, choose_reports(tried, plan, entry.attempts)),
        parked=attempt.why_withheld if due_at is None and not added else "",
        added=attrs.evolve(entry, envelope=attrs.evolve(entry.envelope, recipients=added)) if added else None,
    )


def _expand(attempt: Attempt, aliases: Sequence[Recipient]) -> tuple[Recipient, ...]:
    """Give those who stand behind these recipients; who has a place already gets no second one."""
    recipients = attempt.entry.envelope.recipients
    present = {recipient.forward_path for recipient in recipients}
    number = max(recipient.recipient_id for recipient in recipients)
    added = []
    for alias in aliases:
        targets = attempt.expanded[alias.recipient_id]
        request = alias.request.expand() if alias.request is not None and len(targets) > 1 else alias.request
        for target in targets:
            if target not in present:
                present.add(target)
                number += 1
                added.append(Recipient(number, target, alias.original, request))
    return tuple(added)
