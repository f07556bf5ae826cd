"""Tells the events of a message's life, as JSON for `store.message_life`.

The text is made on the reactor, for every message, and stored in the transaction of what it tells of: so it is put
together of quoted strings, which takes a third of the time of an encoder that looks at each value's type.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from json.encoder import encode_basestring as quote

from kms.domain.decision import Decision, Rule, Stage
from kms.domain.envelope import Recipient
from kms.domain.outcome import Deferred, Delivered, Outcome
from kms.service.visit import Transaction, Visit
from kms.store.queue_store import Settlement

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_RULES = {rule: quote(rule.value) for rule in Rule}


def tell_acceptance(visit: Visit, transaction: Transaction) -> str:
    """Tell why a client's message was taken: the decisions of its transaction."""
    login = quote(visit.account.login) if visit.account else "null"
    path = quote(str(transaction.reverse_path or ""))
    decisions = ",".join([_tell_decision(*one) for one in transaction.decisions])
    return (
        f'{{"client":"{visit.client}","helo":{quote(visit.session.client_name)},"login":{login},'
        f'"protocol":"{visit.protocol_word}","from":{path},'
        f'"decisions":[{decisions}]}}'
    )


def _tell_decision(stage: Stage, about: str, decision: Decision) -> str:
    facts = f",{_encode(decision.facts)[1:-1]}" if decision.facts else ""
    told = f'{{"stage":"{stage.value}","about":{quote(about)},"rule":{_RULES[decision.rule]}{facts}}}'
    if decision.observed:
        return ",".join([told, *(_tell_observed(stage, about, one) for one in decision.observed)])
    return told


def _tell_observed(stage: Stage, about: str, decision: Decision) -> str:
    """Tell what a limit that only observes would have answered."""
    names = {"stage": stage.value, "about": about, "rule": decision.rule.value}
    return _encode({**names, "would_have_been": str(decision.reply)})


def tell_report(about: str) -> str:
    """Tell that a message is a report of ours about another, whose queue id is given."""
    return _encode({"report_about": about})


def tell_attempt(outcomes: Iterable[tuple[Recipient, Outcome]], settlement: Settlement) -> str:
    """Tell what came of an attempt, and what is to come."""
    due_at = settlement.due_at
    told = ",".join([_tell_outcome(*one) for one in outcomes])
    next_try = "null" if due_at is None else quote(due_at.isoformat(timespec="seconds"))
    reports = ",".join([quote(report.entry.queue_id) for report in settlement.reports])
    return f'{{"outcomes":[{told}],"next_try":{next_try},"reports":[{reports}]}}'


def _tell_outcome(recipient: Recipient, outcome: Outcome) -> str:
    return (
        f'{{"to":{quote(str(recipient.forward_path))},"status":"{_status_of(outcome)}",'
        f'"where":{quote(outcome.where)},"reply":{quote(str(outcome.reply))}}}'
    )


def _status_of(outcome: Outcome) -> str:
    if isinstance(outcome, Delivered):
        return "delivered"
    if not isinstance(outcome, Deferred):
        return "failed"
    return "deferred, perhaps taken all the same" if outcome.is_ambiguous else "deferred"
