"""The SMTP side of a server in memory: real checks, queue, store and listener; no network, no threads, no waiting.

Who is there: the local domains `example.org` (also called `example.net`), `second.example` and bücher.example, the
relay domain `relay.example`; the accounts anna, bert, dora (disabled), fritz (has a quota) and otto (own domains
only), all of `example.org`, password "secret"; the aliases team (anna, bert), away (far@elsewhere.example) and a
circle, round; in bücher.example jürgen (anna).
The relay group, where it is on, is 192.0.2.0/24.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import attrs

from kms.config.relay_settings import DomainsSettings
from kms.config.settings import Settings
from kms.domain.account import Account, Alias
from kms.domain.address import Mailbox
from kms.domain.address_group import build_groups
from kms.domain.content import Content, FileContent, InlineContent
from kms.domain.decision import Rule, parse_decision_id
from kms.domain.queue_entry import QueueEntry
from kms.policy.account_limit import AccountRules
from kms.policy.gateway import GatewayRules
from kms.policy.limits import ClientLimits
from kms.policy.login_guard import LoginRules
from kms.policy.relay import RelayRules
from kms.policy.route_table import Refusal, RouteTable
from kms.policy.transaction import TransactionRules
from kms.protocol.smtp_server import SmtpServerSettings
from kms.service.account_check import AccountCheck, AccountCounts, follow_accounts
from kms.service.archive import Archive
from kms.service.checks import Checks, LiveState
from kms.service.client_check import ClientCheck
from kms.service.client_ledger import ClientLedger
from kms.service.clock import ClockOf
from kms.service.content_check import ContentCheck
from kms.service.decisions import Decisions
from kms.service.directory import DirectoryCache
from kms.service.gateway_watch import GatewayWatch
from kms.service.guarded_portal import GuardedPortal
from kms.service.hashing_queue import HashingQueue
from kms.service.incoming import BodyFiles
from kms.service.limit_effects import LimitEffects
from kms.service.login_checker import LoginChecker
from kms.service.login_delay import LoginDelay
from kms.service.login_guard import LoginGuard
from kms.service.mail_log import MailLog
from kms.service.portal import Realm, WindowChecker
from kms.service.queue import Queue
from kms.service.quota import Quota, follow_quota
from kms.service.reception import Reception
from kms.service.recipient_check import RecipientCheck
from kms.service.relay_check import RelayCheck
from kms.service.relay_windows import RelayWindows
from kms.service.security_log import SecurityLog
from kms.service.sender_check import SenderCheck
from kms.service.smtp_listener import SmtpFactory
from kms.service.smtp_service_rules import SmtpServiceRules
from kms.service.trace_fields import TraceFields
from kms.store import decisions
from kms.store.accounts import add_account, add_alias
from kms.store.bodies import BodyWriter
from kms.store.credentials import Verifiers, make_verifiers
from kms.store.queue_store import QueueStore
from tests.support.results import result_of
from tests.support.smtp_parts import (
    Client,
    ClientWire,
    FakeMailboxes,
    InlinePool,
    InlineReactor,
    SlowResolver,
)
from tests.support.synchronous_database import SynchronousDatabase

HOSTNAME = "mail.example.org"
STRANGER = "203.0.113.9"
MEMBER = "192.0.2.7"
GROUP = build_groups({"office": ["192.0.2.0/24"]})["office"]

DOMAINS = DomainsSettings(
    local=("example.org", "second.example", "xn--bcher-kva.example"), relay=("relay.example",)
)
SETTINGS = attrs.evolve(Settings(), domains=DOMAINS, domain_aliases={"example.net": "example.org"})
ACCOUNTS = (
    Account("anna", "example.org"),
    Account("bert", "example.org"),
    Account("dora", "example.org", is_enabled=False),
    Account("fritz", "example.org", quota_octets=1000, quota_messages=10),
    Account("otto", "example.org", own_domains_only=True),
)
ALIASES = (
    Alias("team", "example.org", (Mailbox("anna", "example.org"), Mailbox("bert", "example.org"))),
    Alias("away", "example.org", (Mailbox("far", "elsewhere.example"),)),
    Alias("round", "example.org", (Mailbox("about", "example.org"),)),
    Alias("jürgen", "xn--bcher-kva.example", (Mailbox("anna", "example.org"),)),
    Alias("about", "example.org", (Mailbox("round", "example.org"),)),
)


MADE: list[SmtpRig] = []
"""Those of the test that runs; tests/conftest.py looks at them when it is over."""

_DECISION_ID = re.compile(rb"([45]\d\d .*) \(([0-9A-Z]{6})\)$")


@lru_cache
def verifiers_of(password: str) -> Verifiers:
    """Hash a password once for all tests: it is slow on purpose."""
    return make_verifiers(password, with_scram=False)


class SmtpRig:
    """A server's SMTP side.

    Args:
        folder: for body files and logs.
        relay: who may relay.
        rules: what one transaction may contain; by default no sender's domain is looked up.
        resolver: the DNS.
        session: settings of the protocol session.
        service: fields of `SmtpServiceRules`.
        limits: how much one client may do; by default as much as it likes.

    Attributes:
        stored: entries and contents that were committed, in order.
        free_octets: what the disk has.
        notices: accounts that were told of their full mailbox.
        has_lost_records: the test has made the store fail or forget, so records may be missing.
    """

    def __init__(
        self,
        folder: Path,
        relay: RelayRules = RelayRules(address_group=GROUP),  # noqa: B008 - a frozen value
        rules: TransactionRules = TransactionRules(sender_domain_must_exist=False),  # noqa: B008
        resolver: SlowResolver | None = None,
        session: dict[str, Any] | None = None,
        service: dict[str, Any] | None = None,
        limits: ClientLimits = ClientLimits(0, 0, 0),  # noqa: B008
    ) -> None:
        self.reactor = InlineReactor()
        self.clock = ClockOf(self.reactor)
        self.database = SynchronousDatabase()
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.resolver = resolver or SlowResolver()
        self.free_octets = 1 << 40
        self.stored: list[tuple[QueueEntry, Content]] = []
        self.notices: list[str] = []
        self.has_lost_records = False
        self._folder = folder
        self._wires: list[ClientWire] = []
        MADE.append(self)
        self._build_foundation()
        self._build_reception(relay, rules, limits)
        self._build_listener(session or {}, service or {})
        self._fill()

    def _build_foundation(self) -> None:
        reactor: Any = self.reactor
        self.logs = (self._folder / "mail.log", self._folder / "security.log")
        self.mail_log = MailLog(str(self.logs[0]), self.clock, HOSTNAME)
        self.security_log = SecurityLog(str(self.logs[1]), self.clock)
        self.mail_log.lines.open()
        self.security_log.lines.open()
        self.directory = DirectoryCache(self.database, SETTINGS)
        self.mailboxes = FakeMailboxes()
        self.windows = RelayWindows(self.database, self.clock, self.security_log, timedelta(minutes=30))
        self.ledger = ClientLedger(self.database, self.clock, self.security_log)
        self.hashing = InlinePool()
        self.bodies = InlinePool()
        bodies: Any = self.bodies
        self.files = BodyFiles(reactor, bodies, lambda number: BodyWriter(self.spool, number))
        self.queue = Queue(self.database, QueueStore(self.spool), self.clock)
        self.queue.on_accepted = lambda entry, content: self.stored.append((entry, content))
        hashing: Any = self.hashing
        queue = HashingQueue(hashing, reactor, threads=2)
        self.logins = LoginChecker(self.directory, self.database, queue, self.clock)
        self.login_delay = LoginDelay(self.clock, timedelta(0))
        self.guard = LoginGuard(
            LoginRules(), self.directory, self.ledger, self.security_log, self.clock, lambda client: False
        )
        realm = Realm(self.directory, self.mailboxes, self.windows, self.login_delay)
        self.portal = GuardedPortal(realm, self.logins, WindowChecker(self.windows), self.guard)

    def _build_reception(self, relay: RelayRules, rules: TransactionRules, limits: ClientLimits) -> None:
        logs = (self.mail_log, self.security_log)
        self.alarms: list[str] = []
        self.gateways = GatewayWatch(
            GatewayRules(relay.address_group),
            lambda address, names, is_suspended: self.alarms.append(f"gateway {address} {names}"),
            self.clock,
            lambda client: False,
            self.directory,
        )
        self.relay = RelayCheck(relay, self.portal, self.gateways)
        self.quota = Quota(cast(Any, self.mailboxes), lambda account: self.notices.append(account.login))
        self.account_counts = AccountCounts(self.database, self.clock)
        self.accounts = AccountCheck(AccountRules(), self.account_counts)
        self.clients = ClientCheck(limits, self.ledger, self.resolver)
        self.senders = SenderCheck(
            rules,
            self.directory,
            self.relay,
            self.resolver,
            lambda: self.free_octets,
            self.clients,
            self.accounts,
        )
        self.files.has_room = self.senders.has_room
        self.recipients = RecipientCheck(
            rules, self.directory, self.relay, self.quota, self.clients, self.accounts
        )
        self.state = LiveState(
            self.portal,
            self.quota,
            self.resolver,
            lambda: self.free_octets,
            self.ledger,
            self.gateways,
            self.account_counts,
        )
        contents = ContentCheck(rules, self.directory)
        self.archive = Archive(self.directory)
        self.checks = Checks(
            self.clients, self.relay, self.senders, self.recipients, contents, self.accounts, self.archive
        )
        self.decisions = Decisions(cast(Any, self.database), self.clock, logs, timedelta(days=7))
        LimitEffects(self.clients, self.ledger, self.security_log).follow(self.decisions)
        follow_quota(self.decisions, self.quota, self.directory)
        self.decisions.consequences[Rule.SENDER_FINE] = self.gateways.note_sender
        follow_accounts(
            self.decisions,
            self.account_counts,
            lambda limit, login: self.alarms.append(f"{limit.value} {login}"),
        )
        self.trace = TraceFields(HOSTNAME, lambda: self.relay.rules)
        self.reception = Reception(
            self.checks,
            self.decisions,
            self.portal,
            self.ledger,
            self.queue,
            self.files,
            self.trace,
            logs,
            self.clock,
        )

    def _build_listener(self, session: dict[str, Any], service: dict[str, Any]) -> None:
        rules = SmtpServiceRules(
            session=SmtpServerSettings(HOSTNAME, **session),
            is_submission=False,
            is_tls_at_once=False,
            command_timeout=timedelta(minutes=5),
            session_timeout=timedelta(hours=1),
            may_send_plain_passwords=lambda client: True,
        )
        self.tls = object()
        self.factory = SmtpFactory(attrs.evolve(rules, **service), self.reception, self.tls, self.clock)

    def _fill(self) -> None:
        for account in ACCOUNTS:
            self.add(account)
        for alias in ALIASES:
            add_alias(self.database.connection, alias, SETTINGS.domains.local)
        result_of(self.directory.load())

    def add(self, account: Account, password: str = "secret") -> None:
        """Make an account; `directory.load` shows it to the server."""
        add_account(self.database.connection, account, verifiers_of(password), SETTINGS.domains.local)

    def connect(self, client: str = STRANGER) -> Client:
        """Connect; the greeting is there to be heard."""
        connection = self.factory.buildProtocol(None)
        wire = ClientWire(client)
        self._wires.append(wire)
        connection.makeConnection(wire)  # type: ignore[no-untyped-call]
        connected = Client(connection, wire, self.reactor)
        connected.close_with_server()
        return connected

    def greeted(self, client: str = STRANGER) -> Client:
        """Connect and say EHLO."""
        connected = self.connect(client)
        connected.say("EHLO client.example")
        return connected

    def slow_down_dns(self) -> SlowResolver:
        """From now on senders' domains are looked up, slow.example exists, and the DNS answers when told."""
        self.senders.rules = TransactionRules()
        self.resolver.mx["slow.example"] = [(10, "mx.slow.example")]
        self.resolver.is_slow = True
        return self.resolver

    def advance(self, seconds: float) -> None:
        """Let time pass, a second at a time."""
        self.reactor.pump([1.0] * int(seconds))

    # What came of it

    def check_records(self) -> None:
        """Every refusal by a rule that was said has exactly one record, which says the same."""
        said = [
            found.groups()
            for wire in self._wires
            for line in wire.heard
            if (found := _DECISION_ID.match(line))
        ]
        numbers = [parse_decision_id(text.decode()) for _, text in said]
        assert len(set(numbers)) == len(numbers)
        for (reply, text), number in zip(said, numbers, strict=True):
            assert number is not None
            record = decisions.find(self.database.connection, number)
            assert record is not None or self.has_lost_records, f"{text!r} has no record"
            assert record is None or record.reply.encode() == reply

    def contents(self) -> list[bytes]:
        """What was stored, whole, as it went into the queue."""
        return [read_content(content) for _, content in self.stored]

    def envelopes(self) -> list[str]:
        """What was stored, as "from -> to, to"."""
        return [describe_envelope(entry) for entry, _ in self.stored]

    def rows(self) -> int:
        """How many messages are in the store."""
        return int(self.database.connection.execute("SELECT count(*) FROM message").fetchone()[0])

    def body_files(self) -> list[Path]:
        """All files of the spool."""
        return [path for path in self.spool.rglob("*") if path.is_file()]

    def mail_lines(self) -> list[str]:
        """The mail log, without stamps and process ids."""
        self.mail_log.lines.flush()
        lines = (self._folder / "mail.log").read_text(encoding="ascii").splitlines()
        return [line.split("kms/", 1)[1] for line in lines]

    def security_lines(self) -> list[str]:
        """The security log, without stamps."""
        self.security_log.lines.flush()
        lines = (self._folder / "security.log").read_text(encoding="ascii").splitlines()
        return [line.split("] ", 1)[1] for line in lines]


def routes_giving_back(*keys: str) -> RouteTable:
    """Make lines of [routes] that refuse mail: "closed"."""
    return RouteTable(dict.fromkeys(keys, Refusal("closed")), frozenset(DOMAINS.local))


def read_content(content: Content) -> bytes:
    """Read a content whole."""
    match content:
        case InlineContent(data):
            return data
        case FileContent(path):
            return Path(path).read_bytes()


def describe_envelope(entry: QueueEntry) -> str:
    """Print an envelope as "from -> to, to"."""
    recipients = ", ".join(str(recipient.forward_path) for recipient in entry.envelope.recipients)
    return f"{entry.reverse_path or ''} -> {recipients}"
