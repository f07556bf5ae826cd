"""A report about a made-up message, composed as the server composes real ones.

Flow: `kmsctl reports preview` shows it.
"""

from __future__ import annotations

import socket
from datetime import datetime, timedelta

from kms.config.settings import Settings
from kms.domain.account import Account
from kms.domain.address import Mailbox
from kms.domain.dsn import DeliveryReport, RecipientReport, compose
from kms.domain.notice import AlarmNotice, QuotaNotice, compose_alarm_notice, compose_quota_notice
from kms.domain.reply import Reply
from kms.domain.report_text import ReportKind
from kms.domain.status import EnhancedStatus
from kms.policy.alarm import make_trip_alarm
from kms.policy.limits import Limit
from kms.store.report_texts import ReportTexts

_QUEUE_ID = "7C2A91F3B0D46"
_SERVER = "mx.example.com[192.0.2.25]:25"
_ANSWERS = {
    ReportKind.FAILED: (
        Reply(550, EnhancedStatus(5, 1, 1), "No such user here"),
        Reply(552, EnhancedStatus(5, 2, 2), "Mailbox full"),
    ),
    ReportKind.DELAYED: (Reply(451, EnhancedStatus(4, 7, 1), "Greylisted, please try again later"),),
    ReportKind.DELIVERED: (Reply(250, EnhancedStatus(2, 1, 5), "Delivered"),),
    ReportKind.RELAYED: (Reply(250, EnhancedStatus(2, 0, 0), "Ok: queued as 4F1"),),
}
_HEADER = b"From: %s\r\nTo: bob@example.com\r\nSubject: Hello\r\n"
_DAYS = timedelta(days=4)


def compose_sample(
    settings: Settings, texts: ReportTexts, language: str, kind: ReportKind, now: datetime
) -> bytes:
    """Make the mail of one kind in one language."""
    domain = settings.domains.local[0]
    match kind:
        case ReportKind.QUOTA:
            return compose_quota_notice(
                QuotaNotice(
                    hostname=_hostname(settings),
                    account=Account("joe", domain, quota_octets=100 * 1024 * 1024),
                    readers=(Mailbox("joe", domain), Mailbox("postmaster", domain)),
                    usage_octets=100 * 1024 * 1024 + 4711,
                    usage_messages=1234,
                    at=now,
                    queue_id=_QUEUE_ID,
                    text=texts.text(language, kind),
                )
            )
        case ReportKind.ALARM:
            return _compose_alarm(settings, texts, language, now)
        case _:
            return _compose_report(settings, texts, language, kind, now)


def _hostname(settings: Settings) -> str:
    return settings.server.hostname or socket.getfqdn()


def _compose_alarm(settings: Settings, texts: ReportTexts, language: str, now: datetime) -> bytes:
    alarm = make_trip_alarm(Limit.FAILED_LOGINS_PER_ADDRESS, "192.0.2.77", 3)
    return compose_alarm_notice(
        AlarmNotice(
            hostname=_hostname(settings),
            readers=(Mailbox("postmaster", settings.domains.local[0]),),
            alarm=alarm,
            at=now,
            queue_id=_QUEUE_ID,
            text=texts.text(language, ReportKind.ALARM),
            sentences=texts.alarm_sentences(language),
        )
    )


def _compose_report(
    settings: Settings, texts: ReportTexts, language: str, kind: ReportKind, now: datetime
) -> bytes:
    domain = settings.domains.local[0]
    arrived_at = now - timedelta(hours=4)
    until = arrived_at + _DAYS if kind is ReportKind.DELAYED else None
    where = "local" if kind is ReportKind.DELIVERED else _SERVER
    recipients = zip(("bob", "ann"), _ANSWERS[kind], strict=False)
    return compose(
        DeliveryReport(
            kind=kind,
            hostname=_hostname(settings),
            recipient=Mailbox("joe", domain),
            queue_id=_QUEUE_ID,
            arrived_at=arrived_at,
            at=now,
            recipients=tuple(
                RecipientReport(Mailbox(name, "example.com"), answer, where, will_retry_until=until)
                for name, answer in recipients
            ),
            original_header=_HEADER % f"joe@{domain}".encode(),
            text=texts.text(language, kind),
            postmaster=Mailbox("postmaster", domain),
            sentences=texts.sentences(language),
        )
    )
