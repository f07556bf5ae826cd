"""What came of recipients becomes reports to the sender: failed, late, delivered or passed on.

Promises: a bounce never bounces (nothing is ever sent about a null reverse-path, RFC 5321 6.1); one report
of a kind for an entry and an attempt; it is given back as a new entry, and the queue runner stores it in the very
transaction that removes the recipients it is about. RET=FULL brings a failed message back whole, up to
`MAX_RETURNED_OCTETS`; all else brings its header (RFC 3461 4.3).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from twisted.logger import Logger

from kms.domain.address import Mailbox
from kms.domain.content import Content, InlineContent
from kms.domain.dsn import (
    MAX_HEADER_OCTETS,
    MAX_RETURNED_OCTETS,
    DeliveryReport,
    RecipientReport,
    compose,
)
from kms.domain.dsn_request import MessageRequest, Returned
from kms.domain.envelope import Envelope, Recipient
from kms.domain.message import split_header
from kms.domain.queue_entry import QueueEntry
from kms.domain.report_text import ReportKind
from kms.policy.notification import WantedReports
from kms.policy.recipient import DomainKind, Resolved, UnusableAlias, classify_domain
from kms.service.directory import DirectoryCache
from kms.service.mail_log import MailLog
from kms.service.message_story import tell_report
from kms.store.queue_store import NewEntry
from kms.store.report_texts import ReportTexts

ReadHead = Callable[[Content, int], Awaitable[bytes]]

_LOG_WORDS = {ReportKind.FAILED: "non-delivery", ReportKind.DELAYED: "delay"}


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

    async def make(self, entry: QueueEntry, content: Content, wanted: WantedReports) -> tuple[NewEntry, ...]:
        """Make the reports about an entry, one of each kind; none where nobody is to be told."""
        sender = entry.reverse_path
        if not wanted:
            return ()
        if sender is None:
            self._log.report_dropped(entry, "the reverse-path is null")
            return ()
        targets = self._resolve(sender)
        if not targets:
            self._log.report_dropped(entry, f"the sender {sender} does not exist")
            return ()
        return tuple([await self._make(entry, content, sender, targets, *about) for about in wanted.items()])

    async def _make(
        self,
        entry: QueueEntry,
        content: Content,
        sender: Mailbox,
        targets: tuple[Mailbox, ...],
        kind: ReportKind,
        items: tuple[RecipientReport, ...],
    ) -> NewEntry:
        language = self._language_of(targets)
        number, now = self._next_number()
        request = entry.envelope.request or MessageRequest()
        is_whole = kind is ReportKind.FAILED and request.returned is Returned.FULL
        header, rest = await self._read(content, is_whole and content.octets <= MAX_RETURNED_OCTETS)
        data = compose(
            DeliveryReport(
                kind=kind,
                hostname=self._hostname,
                recipient=sender,
                queue_id=entry.queue_id,
                arrived_at=entry.arrived_at,
                at=now,
                recipients=items,
                original_header=header,
                text=self._texts.text(language, kind),
                postmaster=self._postmaster_for(sender),
                sentences=self._texts.sentences(language),
                original_rest=rest,
                envelope_id=request.envelope_id,
                takes_utf8=self._takes_utf8(sender, targets),
            )
        )
        recipients = tuple(Recipient(place, target, sender) for place, target in enumerate(targets, 1))
        envelope = Envelope(None, recipients, is_8bit=not data.isascii())
        report = QueueEntry(number, envelope, now, len(data), due_at=now)
        self._log.reported(entry, report, _LOG_WORDS.get(kind, "delivery status"))
        return NewEntry(report, InlineContent(data), is_leased=False, story=tell_report(entry.queue_id))

    def _takes_utf8(self, sender: Mailbox, targets: Sequence[Mailbox]) -> bool:
        """Tell whether the report may be 8-bit: a mailbox of ours, or a way that offers SMTPUTF8 in any case."""
        accounts = self._directory.current.accounts
        return not str(sender).isascii() or all(str(target) in accounts for target in targets)

    def _resolve(self, sender: Mailbox) -> tuple[Mailbox, ...]:
        if classify_domain(self._directory.current, sender.domain) is not DomainKind.LOCAL:
            return (sender,)
        match self._directory.resolve(sender):
            case Resolved(targets):
                return targets
            case UnusableAlias():  # the report waits in the queue until the alias can be expanded
                return (sender,)
            case _:
                return ()

    def _postmaster_for(self, sender: Mailbox) -> Mailbox:
        """Name the postmaster of the sender's own domain; for a stranger that of our first domain."""
        directory = self._directory.current
        is_ours = classify_domain(directory, sender.domain) is DomainKind.LOCAL
        return Mailbox("postmaster", sender.domain if is_ours else directory.local_domains[0])

    def _language_of(self, targets: Sequence[Mailbox]) -> str:
        account = self._directory.current.accounts.get(str(targets[0]))
        return account.language if account is not None and account.language else self.language

    async def _read(self, content: Content, is_whole: bool) -> tuple[bytes, bytes | None]:
        """Read the header of the original, and where it is to be returned whole, what follows."""
        try:
            header, rest = split_header(
                await self._read_head(content, content.octets if is_whole else MAX_HEADER_OCTETS)
            )
        except OSError as error:
            self._operator_log.error("A report goes without the original header: {error}", error=error)
            return b"", None
        return header, rest if is_whole else None
