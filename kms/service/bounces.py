"""Failed, expired and late recipients become reports to the sender.

Promises: a bounce never bounces (nothing is ever sent about a null reverse-path, RFC 5321 6.1); one report for
an entry and an attempt; the report is given back as a new entry, and the queue runner stores it in the very
transaction that removes the recipients it is about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from twisted.logger import Logger

from kms.domain.address import Mailbox
from kms.domain.content import Content, InlineContent
from kms.domain.dsn import MAX_HEADER_OCTETS, DeliveryReport, RecipientReport, compose
from kms.domain.envelope import Envelope, Recipient
from kms.domain.message import split_header
from kms.domain.queue_entry import QueueEntry
from kms.domain.report_text import ReportKind
from kms.policy.recipient import DomainKind, Resolved, classify_domain
from kms.policy.settlement import Undelivered
from kms.service.directory import DirectoryCache
from kms.service.mail_log import MailLog
from kms.service.message_story import tell_report
from kms.store.queue_store import NewEntry
from kms.store.report_texts import ReportTexts

ReadHead = Callable[[Content, int], Awaitable[bytes]]


class Bounces:
    """Makes reports.

    Args:
        hostname: ours.
        language: of reports to senders without a language of their own; a reload replaces the attribute.
        texts: the templates.
        directory: resolves a local sender, and knows his language.
        next_number: makes the number of the report's entry.
        read_head: reads the beginning of a content, elsewhere than on the reactor.
        log: the mail log.
    """

    def __init__(
        self,
        hostname: str,
        language: str,
        texts: ReportTexts,
        directory: DirectoryCache,
        next_number: Callable[[], tuple[int, datetime]],
        read_head: ReadHead,
        log: MailLog,
    ) -> None:
        self._hostname = hostname
        self.language = language
        self._texts = texts
        self._directory = directory
        self._next_number = next_number
        self._read_head = read_head
        self._log = log
        self._operator_log = Logger(namespace="kms.bounces")

    async def failed(
        self, entry: QueueEntry, content: Content, undelivered: Sequence[Undelivered]
    ) -> NewEntry | None:
        """Make the report that recipients were given up; None where nobody is to be told."""
        return await self._report(ReportKind.FAILED, entry, content, _once_each(undelivered, None))

    async def delayed(
        self, entry: QueueEntry, content: Content, undelivered: Sequence[Undelivered], until: datetime | None
    ) -> NewEntry | None:
        """Make the warning that recipients are late; None where nobody is to be told.

        Args:
            until: when the attempts end; None where they do not.
        """
        return await self._report(ReportKind.DELAYED, entry, content, _once_each(undelivered, until))

    async def _report(
        self, kind: ReportKind, entry: QueueEntry, content: Content, items: tuple[RecipientReport, ...]
    ) -> NewEntry | None:
        sender = entry.reverse_path
        if sender is None:
            self._log.report_dropped(entry, "the reverse-path is null")
            return None
        targets = self._resolve(sender)
        if not targets:
            self._log.report_dropped(entry, f"the sender {sender} does not exist")
            return None
        language = self._language_of(targets)
        number, now = self._next_number()
        data = compose(
            DeliveryReport(
                kind=kind,
                hostname=self._hostname,
                recipient=sender,
                queue_id=entry.queue_id,
                arrived_at=entry.arrived_at,
                at=now,
                recipients=items,
                original_header=await self._header(content),
                text=self._texts.text(language, kind),
                postmaster=self._postmaster_for(sender),
                sentences=self._texts.sentences(language),
            )
        )
        recipients = tuple(Recipient(place, target, sender) for place, target in enumerate(targets, 1))
        report = QueueEntry(number, Envelope(None, recipients), now, len(data), due_at=now)
        self._log.reported(entry, report, "non-delivery" if kind is ReportKind.FAILED else "delay")
        return NewEntry(report, InlineContent(data), is_leased=False, story=tell_report(entry.queue_id))

    def _resolve(self, sender: Mailbox) -> tuple[Mailbox, ...]:
        if classify_domain(self._directory.current, sender.domain) is not DomainKind.LOCAL:
            return (sender,)
        resolution = self._directory.resolve(sender)
        return resolution.targets if isinstance(resolution, Resolved) else ()

    def _postmaster_for(self, sender: Mailbox) -> Mailbox:
        """Name the postmaster of the sender's own domain; for a stranger that of our first domain."""
        directory = self._directory.current
        is_ours = classify_domain(directory, sender.domain) is DomainKind.LOCAL
        return Mailbox("postmaster", sender.domain if is_ours else directory.local_domains[0])

    def _language_of(self, targets: Sequence[Mailbox]) -> str:
        account = self._directory.current.accounts.get(str(targets[0]))
        return account.language if account is not None and account.language else self.language

    async def _header(self, content: Content) -> bytes:
        try:
            return split_header(await self._read_head(content, MAX_HEADER_OCTETS))[0]
        except OSError as error:
            self._operator_log.error("A report goes without the original header: {error}", error=error)
            return b""


def _once_each(undelivered: Sequence[Undelivered], until: datetime | None) -> tuple[RecipientReport, ...]:
    """One row for each address that RCPT named: the private targets behind an alias are not told."""
    rows: dict[Mailbox, RecipientReport] = {}
    for item in undelivered:
        original = item.recipient.original
        last_words = "" if item.last_reply == item.reply else str(item.last_reply)
        rows.setdefault(original, RecipientReport(original, item.reply, item.where, last_words, until))
    return tuple(rows.values())
