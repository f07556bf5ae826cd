"""Tells the events of a message's life, as JSON for `store.message_life`.

The text is made on the reactor and stored in the transaction of what it tells of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from kms.domain.envelope import Recipient
from kms.domain.outcome import Deferred, Delivered, Outcome
from kms.service.visit import Transaction, Visit
from kms.store.queue_store import Settlement

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def tell_acceptance(visit: Visit, transaction: Transaction) -> str:
    """Tell why a client's message was taken: the decisions of its transaction."""
    return _encode(
        {
            "client": str(visit.client),
            "helo": visit.session.client_name,
            "login": visit.account.login if visit.account else None,
            "protocol": visit.protocol_word,
            "from": str(transaction.reverse_path or ""),
            "decisions": [
                {"stage": stage.value, "about": about, "rule": decision.rule.value, **decision.facts}
                for stage, about, decision in transaction.decisions
            ],
        }
    )


def tell_report(about: str) -> str:
    """Tell that a message is a report of ours about another, whose queue id is given."""
    return _encode({"report_about": about})


def tell_attempt(outcomes: Iterable[tuple[Recipient, Outcome]], settlement: Settlement) -> str:
    """Tell what came of an attempt, and what is to come."""
    due_at = settlement.due_at
    return _encode(
        {
            "outcomes": [
                {
                    "to": str(recipient.forward_path),
                    "status": _status_of(outcome),
                    "where": outcome.where,
                    "reply": str(outcome.reply),
                }
                for recipient, outcome in outcomes
            ],
            "next_try": None if due_at is None else due_at.isoformat(timespec="seconds"),
            "reports": [report.entry.queue_id for report in settlement.reports],
        }
    )


def _status_of(outcome: Outcome) -> str:
    if isinstance(outcome, Delivered):
        return "delivered"
    if not isinstance(outcome, Deferred):
        return "failed"
    return "deferred, perhaps taken all the same" if outcome.is_ambiguous else "deferred"
