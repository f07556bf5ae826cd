"""Tells an account what is the matter with its mailbox, and the postmaster of that and of alarms.

Promises: a notice is one message with the null reverse-path, so that nothing is ever sent about it; nobody
gets it twice; it reaches the mailbox although that is full, because only RCPT asks for the quota.
Flow: quota.py notices that a mailbox has become full, alarms.py that a limit trips; `Notices` puts the mail
into the queue.
"""

from __future__ import annotations

from datetime import datetime

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kms.domain.account import Account
from kms.domain.address import Mailbox
from kms.domain.alarm_sentence import BUILT_IN_ALARM_SENTENCES, Alarm
from kms.domain.content import InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.notice import AlarmNotice, QuotaNotice, compose_alarm_notice, compose_quota_notice
from kms.domain.queue_entry import QueueEntry, format_queue_id
from kms.domain.report_text import ReportKind
from kms.policy.recipient import Resolved
from kms.service.directory import DirectoryCache
from kms.service.mail_log import MailLog
from kms.service.mailboxes import Mailboxes
from kms.service.queue import Queue
from kms.store.report_texts import ReportTexts

_ENGLISH = BUILT_IN_ALARM_SENTENCES  # of the logs


class Notices:
    """Writes notices.

    Args:
        hostname: ours.
        language: for accounts without a language of their own; a reload replaces the attribute.
        texts: the templates.
        directory: knows who the postmaster is.
        mailboxes: measures the mailbox.
        queue: takes the mail.
        log: the mail log.
    """

    def __init__(
        self,
        hostname: str,
        language: str,
        texts: ReportTexts,
        directory: DirectoryCache,
        mailboxes: Mailboxes,
        queue: Queue,
        log: MailLog,
    ) -> None:
        self._hostname = hostname
        self.language = language
        self._texts = texts
        self._directory = directory
        self._mailboxes = mailboxes
        self._queue = queue
        self._mail_log = log
        self._log = Logger(namespace="kms.notices")

    def tell_full(self, account: Account) -> Deferred[None]:
        """Tell the account and its domain's postmaster that the mailbox is full.

        Returns:
            Fires when the notice stands in the queue; fails, logged, where it could not be put there.
        """
        return Deferred.fromCoroutine(self._tell_full(account)).addErrback(self._trouble, account)

    async def _tell_full(self, account: Account) -> None:
        usage = await self._mailboxes.usage(account)
        recipients = self._recipients_of(account)
        number, now = self._queue.next_number()
        data = compose_quota_notice(
            QuotaNotice(
                hostname=self._hostname,
                account=account,
                readers=tuple(dict.fromkeys(recipient.original for recipient in recipients)),
                usage_octets=usage.octets,
                usage_messages=usage.messages,
                at=now,
                queue_id=format_queue_id(number),
                text=self._texts.text(account.language or self.language, ReportKind.QUOTA),
            )
        )
        notice = await self._send(number, now, recipients, data)
        self._log.warn(
            "The mailbox of {login} is full ({octets} octets, {messages} messages): it takes no mail; notice {id}",
            login=account.login,
            octets=usage.octets,
            messages=usage.messages,
            id=notice.queue_id,
        )

    async def _send(
        self, number: int, now: datetime, recipients: tuple[Recipient, ...], data: bytes
    ) -> QueueEntry:
        notice = QueueEntry(number, Envelope(None, recipients), now, len(data), due_at=now)
        await self._queue.accept(notice, InlineContent(data))
        self._mail_log.queued(notice)
        return notice

    def tell_alarm(self, alarm: Alarm) -> Deferred[None]:
        """Tell the postmaster of the first local domain; returns as `tell_full`."""
        return Deferred.fromCoroutine(self._tell_alarm(alarm)).addErrback(self._alarm_trouble, alarm)

    async def _tell_alarm(self, alarm: Alarm) -> None:
        postmaster = Mailbox("postmaster", self._directory.current.local_domains[0])
        resolution = self._directory.resolve(postmaster)
        targets = resolution.targets if isinstance(resolution, Resolved) else ()
        recipients = tuple(Recipient(place, target, postmaster) for place, target in enumerate(targets, 1))
        if not recipients:
            self._log.warn("{what}. {advice}", what=_what(alarm), advice=_ENGLISH.advise(alarm))
            return
        number, now = self._queue.next_number()
        data = compose_alarm_notice(
            AlarmNotice(
                hostname=self._hostname,
                readers=(postmaster,),
                alarm=alarm,
                at=now,
                queue_id=format_queue_id(number),
                text=self._texts.text(self.language, ReportKind.ALARM),
                sentences=self._texts.alarm_sentences(self.language),
            )
        )
        notice = await self._send(number, now, recipients, data)
        self._log.warn("{what}; notice {id}", what=_what(alarm), id=notice.queue_id)

    def _alarm_trouble(self, failure: Failure, alarm: Alarm) -> Failure:
        self._log.failure("The postmaster could not be told: {what}", failure, what=_what(alarm))
        return failure

    def _recipients_of(self, account: Account) -> tuple[Recipient, ...]:
        """List the account's own mailbox, whatever it forwards, and the postmaster's targets."""
        postmaster = Mailbox("postmaster", account.domain)
        resolution = self._directory.resolve(postmaster)
        targets = resolution.targets if isinstance(resolution, Resolved) else ()
        originals = {account.mailbox: account.mailbox}
        for target in targets:
            originals.setdefault(target, postmaster)
        return tuple(
            Recipient(place, target, original)
            for place, (target, original) in enumerate(originals.items(), 1)
        )

    def _trouble(self, failure: Failure, account: Account) -> Failure:
        self._log.failure(
            "Nobody could be told that the mailbox of {login} is full", failure, login=account.login
        )
        return failure


def _what(alarm: Alarm) -> str:
    return _ENGLISH.describe(alarm)
