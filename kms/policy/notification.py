"""Which reports an attempt causes: what the sender asked (RFC 3461 NOTIFY) against what came of each recipient.

Pure. Promises: one report of a kind for a message and an attempt, and in it one row for each address that RCPT
named, so that no private target behind an alias is told; nobody is told of what he did not ask, and of nothing
by NOTIFY=NEVER; of a success only where nobody else will tell (RFC 3461 5.2).

Flow: `policy/settlement` has judged the attempt; the queue runner has service/bounces make these reports, and
stores them in the transaction that removes the recipients.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import attrs

from kms.domain import reply
from kms.domain.dsn import RecipientReport
from kms.domain.dsn_request import DEFAULT_NOTIFY, Notify
from kms.domain.envelope import Recipient
from kms.domain.outcome import Delivered, Handover
from kms.domain.reply import Reply
from kms.domain.report_text import ReportKind
from kms.policy.settlement import SettlementPlan, TriedRecipient, Undelivered

WantedReports = Mapping[ReportKind, tuple[RecipientReport, ...]]
"""The rows of each report; a kind without rows is not there."""

_ABOUT_SUCCESS = Notify.SUCCESS | Notify.EXPANSION


def may_ask_of_success(recipient: Recipient) -> bool:
    """Tell whether the sender may have to hear that the recipient has the message."""
    request = recipient.request
    return request is not None and request.notify is not None and bool(request.notify & _ABOUT_SUCCESS)


def choose_reports(tried: Sequence[TriedRecipient], plan: SettlementPlan, attempts: int) -> WantedReports:
    """Say who is to be told of what, after an attempt.

    Args:
        tried: all that were tried.
        plan: what becomes of them.
        attempts: how many there were before. Only the first tells that an address stands for several: its
            targets begin together, and the store counts the attempt in the transaction that takes the report.
    """
    late = plan.deferred if plan.warn else ()
    rows = {
        ReportKind.FAILED: _tell_undelivered(plan.failed, Notify.FAILURE, None),
        ReportKind.DELAYED: _tell_undelivered(late, Notify.DELAY, plan.until),
        ReportKind.DELIVERED: _tell_delivered(tried, Handover.FINAL),
        ReportKind.RELAYED: [
            *(_tell_expansions(tried) if not attempts else ()),
            *_tell_delivered(tried, Handover.SILENT),
        ],
    }
    return {kind: once for kind, found in rows.items() if (once := _once_each(found))}


def _wants(recipient: Recipient, outcome: Notify) -> bool:
    request = recipient.request
    notify = DEFAULT_NOTIFY if request is None or request.notify is None else request.notify
    return outcome in notify


def _tell_undelivered(
    items: Iterable[Undelivered], outcome: Notify, until: datetime | None
) -> list[RecipientReport]:
    return [
        _make_row(
            item.recipient,
            item.reply,
            item.where,
            last_status="" if item.last_reply == item.reply else str(item.last_reply),
            will_retry_until=until,
        )
        for item in items
        if _wants(item.recipient, outcome)
    ]


def _tell_delivered(tried: Iterable[TriedRecipient], handover: Handover) -> list[RecipientReport]:
    return [
        _make_row(item.recipient, item.outcome.reply, item.outcome.where)
        for item in tried
        if isinstance(item.outcome, Delivered)
        and item.outcome.handover is handover
        and _wants(item.recipient, Notify.SUCCESS)
    ]


def _tell_expansions(tried: Iterable[TriedRecipient]) -> list[RecipientReport]:
    return [
        _make_row(item.recipient, reply.ADDRESS_EXPANDED, "none", is_expanded=True)
        for item in tried
        if _wants(item.recipient, Notify.EXPANSION)
    ]


def _make_row(
    recipient: Recipient,
    answer: Reply,
    where: str,
    *,
    last_status: str = "",
    will_retry_until: datetime | None = None,
    is_expanded: bool = False,
) -> RecipientReport:
    return RecipientReport(
        original=recipient.original,
        reply=attrs.evolve(answer, text=_hide_target(recipient, answer.text)),
        where=where,
        last_status=_hide_target(recipient, last_status),
        will_retry_until=will_retry_until,
        original_recipient="" if recipient.request is None else recipient.request.original_recipient,
        is_expanded=is_expanded,
    )


def _hide_target(recipient: Recipient, words: str) -> str:
    """Put the address that the sender knows in the place of the one an alias leads to: servers like to repeat it."""
    if recipient.forward_path == recipient.original:
        return words
    target = re.compile(re.escape(str(recipient.forward_path)), re.IGNORECASE)
    return target.sub(lambda _: str(recipient.original), words)


def _once_each(rows: Iterable[RecipientReport]) -> tuple[RecipientReport, ...]:
    found: dict[object, RecipientReport] = {}
    for row in rows:
        found.setdefault(row.original, row)
    return tuple(found.values())
