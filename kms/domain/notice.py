"""Composes a notice: a mail of the server itself about an account or a client, not about a message.

A notice is plain text, 7-bit, and says that a machine wrote it (RFC 3834 5).

Flow: service/notices makes a `QuotaNotice` or an `AlarmNotice`, a function here makes the message; it goes
into the queue with the null reverse-path, so that nobody is ever told of a notice that could not be delivered.
"""

from __future__ import annotations

from datetime import datetime

import attrs

from kms.domain.account import Account
from kms.domain.address import Mailbox
from kms.domain.alarm_sentence import Alarm, AlarmSentences
from kms.domain.mail_text import (
    MailHead,
    clean_line,
    compose_head,
    compose_text,
    fold_text,
)
from kms.domain.report_text import ReportKind, ReportText

NO_LIMIT = "-"

_UNITS = ("KB", "MB", "GB", "TB")
_MOST_CHARACTERS = 320


@attrs.frozen
class QuotaNotice:
    """The facts of a notice that a mailbox is full.

    Attributes:
        hostname: ours.
        account: whose mailbox it is, with its quotas.
        readers: whom the notice names in To; at least one.
        usage_octets: how large the mailbox is.
        usage_messages: how many messages it has.
        at: now.
        queue_id: of the notice.
        text: the template of the words.
    """

    hostname: str
    account: Account
    readers: tuple[Mailbox, ...]
    usage_octets: int
    usage_messages: int
    at: datetime
    queue_id: str
    text: ReportText


@attrs.frozen
class AlarmNotice:
    """The facts of a notice to the postmaster that something goes on.

    Attributes:
        hostname: ours.
        readers: whom the notice names in To; at least one.
        alarm: what happened.
        at: now.
        queue_id: of the notice.
        text: the template of the words.
        sentences: what the alarm is called, and what to do.
    """

    hostname: str
    readers: tuple[Mailbox, ...]
    alarm: Alarm
    at: datetime
    queue_id: str
    text: ReportText
    sentences: AlarmSentences


def compose_quota_notice(notice: QuotaNotice) -> bytes:
    """Make the message, header and body, every line ending in CRLF, all octets ASCII."""
    return _compose(notice, ReportKind.QUOTA, _make_values(notice))


def compose_alarm_notice(notice: AlarmNotice) -> bytes:
    """Make the message, as `compose_quota_notice`."""
    alarm = notice.alarm
    values = {
        "hostname": notice.hostname,
        "what": clean_line(notice.sentences.describe(alarm), _MOST_CHARACTERS),
        "advice": notice.sentences.advise(alarm),
        "limit": alarm.limit,
        "client": clean_line(alarm.who, _MOST_CHARACTERS),
        "time": f"{notice.at:%Y-%m-%d %H:%M:%S} UTC",
        "postmaster": str(notice.readers[0]),
    }
    return _compose(notice, ReportKind.ALARM, values)


def _compose(notice: QuotaNotice | AlarmNotice, kind: ReportKind, values: dict[str, str]) -> bytes:
    text = notice.text.fill(values)
    head = MailHead(
        hostname=notice.hostname,
        readers=notice.readers,
        subject=text.subject,
        at=notice.at,
        token=f"{notice.at:%Y%m%d%H%M%S.%f}.{notice.queue_id}.{kind.value}",
        auto_submitted="auto-generated",
    )
    return compose_head(head) + compose_text(fold_text(text.body))


def _make_values(notice: QuotaNotice) -> dict[str, str]:
    account = notice.account
    return {
        "hostname": notice.hostname,
        "account": clean_line(str(account.mailbox), _MOST_CHARACTERS),
        "usage": format_size(notice.usage_octets),
        "quota": format_size(account.quota_octets) if account.quota_octets else NO_LIMIT,
        "messages": str(notice.usage_messages),
        "quota_messages": str(account.quota_messages) if account.quota_messages else NO_LIMIT,
        "postmaster": f"postmaster@{account.domain}",
    }


def format_size(octets: int) -> str:
    """Print a size for people: "812 B", "5.0 MB"; KB = 1024, as in the configuration."""
    if octets < 1024:
        return f"{octets} B"
    size, unit = octets / 1024, 0
    while size >= 1023.95 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {_UNITS[unit]}"
