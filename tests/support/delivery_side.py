"""The delivery side of a server, of real parts but for the network: store, queue, mailboxes, routes, reports."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from random import Random

from twisted.internet.task import Clock

from kms.config.relay_settings import DomainsSettings
from kms.config.settings import Settings
from kms.domain.account import Account, Alias
from kms.domain.address import Mailbox, parse_mailbox
from kms.domain.content import Content, FileContent, InlineContent
from kms.domain.dsn_request import MessageRequest, RecipientRequest
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import NextHop
from kms.domain.queue_entry import QueueEntry
from kms.policy.retry import RetryRules
from kms.policy.route_table import RouteTable
from kms.policy.routing import RoutingRules
from kms.ports import Sender
from kms.service.bounces import Bounces
from kms.service.clock import ClockOf
from kms.service.directory import DirectoryCache
from kms.service.local_delivery import LocalDelivery
from kms.service.mail_log import MailLog
from kms.service.mailboxes import Mailboxes
from kms.service.outbound import Outbound, OutboundRules
from kms.service.queue import Queue
from kms.service.queue_runner import QueueRunner
from kms.service.route_finder import RouteFinder
from kms.service.withholding import Withholding
from kms.store.bodies import BodyWriter, read_head, remove_body
from kms.store.queue_store import QueueStore, greatest_number, list_entries, release_leases
from kms.store.report_texts import ReportTexts
from tests.support.fakes import FakeResolver
from tests.support.results import result_of
from tests.support.synchronous_database import SynchronousDatabase

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOST = "mail.example.test"
DOMAIN = "example.test"
ALICE, BOB = Mailbox("alice", DOMAIN), Mailbox("bob", DOMAIN)
FAR = Mailbox("far", "far.test")
MESSAGE = b"From: <alice@example.test>\r\nSubject: hello\r\n\r\nworld\r\n"
SMARTHOST = NextHop("smart.test", ("192.0.2.25",), 25)


def accounts(*names: str) -> dict[str, Account]:
    """Accounts in `DOMAIN`, enabled."""
    return {f"{name}@{DOMAIN}": Account(name, DOMAIN) for name in names}


class AnyDomain(FakeResolver):
    """A world in which every domain has one mail server, but for those that are told to fail."""

    async def lookup_mx(self, domain: str):  # type: ignore[no-untyped-def]
        self.mx.setdefault(domain, [(10, f"mx.{domain}")])
        self.addresses.setdefault(f"mx.{domain}", ["192.0.2.1"])
        return await super().lookup_mx(domain)


class DeliverySide:
    """Queue, runner and what they deliver with, on a folder; made again on the same folder it is a restart.

    Time stands still until `advance`.
    """

    def __init__(
        self,
        folder: Path,
        sender: Sender,
        *,
        rules: RetryRules | None = None,
        smarthosts: tuple[NextHop, ...] = (),
        table: RouteTable | None = None,
        limits: OutboundRules | None = None,
        now: datetime = START,
    ) -> None:
        self.folder = folder
        self.reactor = Clock()
        self.reactor.advance(now.timestamp())
        self.clock = ClockOf(self.reactor)
        self.spool = folder / "spool"
        self.spool.mkdir(exist_ok=True)
        self.database = SynchronousDatabase(folder / "kms.db")
        self.queue = Queue(self.database, QueueStore(self.spool), self.clock)
        settings = Settings(domains=DomainsSettings(local=(DOMAIN,)))
        self.directory = DirectoryCache(self.database, settings)
        self.directory.take(accounts("alice", "bob"), {})
        self.log = MailLog(str(folder / "mail.log"), self.clock, HOST)
        self.log.lines.open()
        self.resolver = AnyDomain()
        routing = RoutingRules(smarthosts=smarthosts, table=table or RouteTable())
        self.routes = RouteFinder(self.resolver, routing, Random(1))
        self.outbound = Outbound(limits or OutboundRules(), self.routes, sender)
        self.mailboxes = Mailboxes(folder / "mailboxes", self.clock, None)
        self.local = LocalDelivery(self.mailboxes, self.directory, self.clock, HOST)
        self.bounces = Bounces(
            HOST,
            "en",
            ReportTexts(folder / "reports"),
            self.directory,
            self.queue.next_number,
            self.read_head,
            self.log,
        )
        self.removed_bodies: list[str] = []
        self.runner = QueueRunner(
            self.queue,
            rules or RetryRules(),
            self.directory,
            self.local,
            self.outbound,
            self.bounces,
            self.remove_body,
            self.log,
            self.clock,
            Withholding(clock=self.clock),
        )

    # A life

    def start(self) -> DeliverySide:
        """Free the leases of before, as a start does, and begin."""
        self.queue.start(greatest_number(self.database.connection))
        release_leases(self.database.connection)
        self.runner.start()
        return self

    def crash(self) -> None:
        """End without a word to anybody."""
        self.log.lines.close()
        self.reactor.calls.clear()
        self.database.connection.close()

    def advance(self, time: timedelta = timedelta(0)) -> None:
        """Let time pass, at once, and then a little more for what gathers."""
        self.reactor.advance(time.total_seconds())
        self.reactor.pump([0.02] * 4)

    def pass_time(self, time: timedelta, step: timedelta) -> None:
        """Let time pass step by step."""
        for _ in range(time // step):
            self.advance(step)

    # Mail

    def entry(
        self,
        *recipients: Mailbox,
        sender: Mailbox | None = ALICE,
        content: Content | None = None,
        originals: Sequence[Mailbox] = (),
        requests: Sequence[RecipientRequest | None] = (),
        request: MessageRequest | None = None,
    ) -> QueueEntry:
        """Make an entry that arrives now; `originals` are what RCPT named, `requests` what it asked of reports."""
        number, now = self.queue.next_number()
        named, asked = originals or recipients, requests or [None] * len(recipients)
        envelope = Envelope(
            sender,
            tuple(
                Recipient(place, target, original, wanted)
                for place, (target, original, wanted) in enumerate(
                    zip(recipients, named, asked, strict=True), 1
                )
            ),
            request=request,
        )
        return QueueEntry(number, envelope, now, (content or InlineContent(MESSAGE)).octets, now)

    def accept(
        self,
        *recipients: Mailbox,
        sender: Mailbox | None = ALICE,
        data: bytes = MESSAGE,
        originals: Sequence[Mailbox] = (),
        requests: Sequence[RecipientRequest | None] = (),
        request: MessageRequest | None = None,
    ) -> QueueEntry:
        """Put a message into the queue."""
        content = InlineContent(data)
        entry = self.entry(
            *recipients,
            sender=sender,
            content=content,
            originals=originals,
            requests=requests,
            request=request,
        )
        result_of(self.queue.accept(entry, content))
        return entry

    def accept_file(
        self, *recipients: Mailbox, data: bytes = MESSAGE, sender: Mailbox | None = ALICE
    ) -> tuple[QueueEntry, FileContent]:
        """Put a message into the queue whose content is a body file."""
        entry = self.entry(*recipients, sender=sender, content=InlineContent(data))
        writer = BodyWriter(self.spool, entry.number)
        writer.write(data)
        content = writer.finish()
        result_of(self.queue.accept(entry, content))
        return entry, content

    async def read_head(self, content: Content, octets: int) -> bytes:
        return read_head(content, octets)

    def remove_body(self, path: str) -> None:
        self.removed_bodies.append(path)
        remove_body(path)

    # What came of it

    def queued(self) -> list[QueueEntry]:
        """What stands in the store."""
        return list_entries(self.database.connection, 0, 10_000)[0]

    def waiting(self) -> list[tuple[str, ...]]:
        """The recipients of each entry in the store."""
        return [tuple(str(r.forward_path) for r in entry.envelope.recipients) for entry in self.queued()]

    def mailbox(self, mailbox: Mailbox) -> list[bytes]:
        """The messages in a mailbox, in the order of their files' names."""
        folder = Path(self.mailboxes.folder(Account(mailbox.local_part, mailbox.domain))) / "new"
        with suppress(FileNotFoundError):
            return [path.read_bytes() for path in sorted(folder.iterdir())]
        return []

    def reports(self, mailbox: Mailbox = ALICE) -> list[EmailMessage]:
        """The messages in a mailbox, read as MIME."""
        found = []
        for data in self.mailbox(mailbox):
            message = email.message_from_bytes(data, policy=email.policy.default)
            assert isinstance(message, EmailMessage)
            found.append(message)
        return found

    def log_text(self) -> str:
        """All of the mail log."""
        self.log.lines.flush()
        return (self.folder / "mail.log").read_text()

    def add_alias(self, name: str, *targets: str) -> None:
        """Make an alias in `DOMAIN`."""
        alias = Alias(name, DOMAIN, tuple(map(parse_mailbox, targets)))
        aliases = (*self.directory.current.aliases.get(DOMAIN, ()), alias)
        self.directory.take(self.directory.current.accounts, {DOMAIN: aliases})
