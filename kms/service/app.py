"""Puts the server together: the only place where concrete parts meet.

Nothing here owns a thread or a descriptor yet; `mail_server.py` starts and stops what `build` made.
"""

from __future__ import annotations

import os
import socket
from random import SystemRandom
from typing import Any

from twisted.python.threadpool import ThreadPool

from kms.config.settings import Settings
from kms.domain.address_group import ClientAddress
from kms.domain.decision import Rule
from kms.protocol.pop3_events import Pop3ServerSettings
from kms.protocol.smtp_content import BareNewlines
from kms.protocol.smtp_settings import SmtpServerSettings
from kms.service.account_check import AccountCounts, follow_accounts
from kms.service.alarms import Alarms, follow_trips
from kms.service.bounces import Bounces
from kms.service.checks import LiveState, build_checks
from kms.service.client_ledger import ClientLedger
from kms.service.clock import Clock
from kms.service.connection_pool import PoolRules
from kms.service.database import Database
from kms.service.decisions import Decisions
from kms.service.directory import DirectoryCache
from kms.service.dns import DnsResolver
from kms.service.entrances import Entrances
from kms.service.explanation import Explainer
from kms.service.free_space import FreeSpace
from kms.service.gateway_watch import GatewayWatch
from kms.service.guarded_portal import GuardedPortal
from kms.service.hashing_queue import HashingPool, HashingQueue
from kms.service.https_fetch import HttpsFetch
from kms.service.incoming import BodyFiles
from kms.service.limit_effects import LimitEffects
from kms.service.local_delivery import LocalDelivery
from kms.service.login_checker import LoginChecker
from kms.service.login_delay import LoginDelay
from kms.service.login_guard import LoginGuard
from kms.service.mail_log import MailLog
from kms.service.mailbox_janitor import MailboxJanitor
from kms.service.mailboxes import Mailboxes
from kms.service.notices import Notices
from kms.service.operations_log import OperationsLog
from kms.service.outbound import Outbound
from kms.service.own_address import OwnAddresses
from kms.service.pop3_gate import Pop3Gate
from kms.service.pop3_listener import Pop3Factory
from kms.service.pop3_log import Pop3Logs
from kms.service.portal import Realm, WindowChecker
from kms.service.queue import Queue
from kms.service.queue_control import QueueControl
from kms.service.queue_runner import QueueRunner
from kms.service.quota import Quota, follow_quota
from kms.service.reception import Reception
from kms.service.relay_windows import RelayWindows
from kms.service.remote_delivery import RemoteDelivery, RemoteDeliverySettings, tcp_connector
from kms.service.route_finder import RouteFinder
from kms.service.security_log import SecurityLog
from kms.service.served_certificate import ServedCertificate
from kms.service.settings_rules import log_path, may_send_plain_passwords, outbound_rules, routing_rules
from kms.service.smtp_listener import SmtpFactory
from kms.service.smtp_service_rules import SmtpServiceRules
from kms.service.sts_policies import StsPolicies
from kms.service.submissions import Submissions
from kms.service.tls import ClientTls
from kms.service.trace_fields import TraceFields
from kms.service.withholding import Withholding
from kms.store.bodies import BodyWriter, read_head, remove_body
from kms.store.queue_store import QueueStore
from kms.store.report_texts import ReportTexts

_HASHING_THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))  # the other half serves whoever is let in
SMTP_SERVICES = ("smtp", "submission", "submissions", "lmtp")
POP3_SERVICES = ("pop3", "pop3s")
_NOT_FOR_POP3 = ("LOGIN", "CRAM-MD5")


class App:
    """All parts of a server, made from its settings.

    Args:
        settings: of the file; `use` takes changed ones.
        reactor: of the process.
        clock: of the process.
    """

    def __init__(self, settings: Settings, reactor: Any, clock: Clock) -> None:
        self.settings = settings
        self.reactor = reactor
        self.clock = clock
        self.hostname = settings.server.hostname or socket.getfqdn()
        self._build_foundation(settings)
        self._build_delivery(settings)
        self._build_guards(settings)
        self._build_reception(settings)
        self._build_listeners(settings)

    def _build_foundation(self, settings: Settings) -> None:
        reactor, clock = self.reactor, self.clock
        self.mail_log = MailLog(log_path(settings.log.mail), clock, self.hostname)
        self.security_log = SecurityLog(log_path(settings.log.security), clock)
        self.operations_log = OperationsLog(log_path(settings.log.operations), clock)
        self.database = Database(settings.database_path, reactor)
        self.directory = DirectoryCache(self.database, settings)
        self.mailboxes = Mailboxes(settings.mailboxes_dir, clock, reactor)
        self.janitor = MailboxJanitor(self.mailboxes, clock)
        self.windows = RelayWindows(self.database, clock, self.security_log, settings.relay.pop_window)
        self.windows.max_users = settings.relay.pop_window_max_users
        self.ledger = ClientLedger(self.database, clock, self.security_log)
        self.hashing: ThreadPool = HashingPool(_HASHING_THREADS)
        self.bodies = ThreadPool(0, 1, "bodies")
        self.files = BodyFiles(reactor, self.bodies, lambda number: BodyWriter(settings.spool_dir, number))
        self.texts = ReportTexts(settings.server.reports_dir)
        self.space = FreeSpace(settings.server.data_dir, clock)
        nameservers = tuple(map(str, settings.dns.nameservers))
        self.resolver = DnsResolver(reactor, nameservers, settings.dns.timeout.total_seconds())
        self.resolver.insist_on_proof(settings.delivery.dane)
        self.certificate = ServedCertificate(self.hostname, settings.tls_dir)
        hashing = HashingQueue(self.hashing, reactor, _HASHING_THREADS)
        self.logins = LoginChecker(self.directory, self.database, hashing, clock, settings.auth.has_scram)
        self.login_delay = LoginDelay(clock, settings.pop3.login_delay)
        self.own = OwnAddresses(clock)
        self.guard = LoginGuard(
            settings.login_rules, self.directory, self.ledger, self.security_log, clock, self.own.has
        )
        realm = Realm(self.directory, self.mailboxes, self.windows, self.login_delay)
        self.portal = GuardedPortal(realm, self.logins, WindowChecker(self.windows), self.guard)

    def _build_delivery(self, settings: Settings) -> None:
        self.queue = Queue(self.database, QueueStore(settings.spool_dir), self.clock)
        self.routes = RouteFinder(self.resolver, routing_rules(settings, self.hostname), SystemRandom())
        connector, client_tls = tcp_connector(self.reactor), ClientTls(settings.tls.ca_file)
        fetch = HttpsFetch(connector, client_tls, self.resolver, self.routes.may_be_private, self.clock)
        self.routes.sts = self.sts = StsPolicies(self.database, self.resolver, fetch, self.clock)
        pool = PoolRules(messages_per_connection=settings.delivery.messages_per_connection)
        delivery = RemoteDeliverySettings(self.hostname, pool)
        self.remote = RemoteDelivery(
            delivery, self.clock, connector, client_tls, self.resolver, self.files.run
        )
        self.outbound = Outbound(outbound_rules(settings), self.routes, self.remote)
        adds_envelope_to = settings.domains.add_envelope_to
        self.local = LocalDelivery(
            self.mailboxes, self.directory, self.clock, self.hostname, adds_envelope_to
        )
        self.bounces = Bounces(
            self.hostname,
            settings.queue.language,
            self.texts,
            self.directory,
            self.queue.next_number,
            lambda content, octets: self.files.run(read_head, content, octets),
            self.mail_log,
        )
        self.runner = QueueRunner(
            self.queue,
            settings.retry_rules,
            self.directory,
            self.local,
            self.outbound,
            self.bounces,
            lambda path: self.files.run(remove_body, path),
            self.mail_log,
            self.clock,
            Withholding(settings.queue.offline, settings.delivery.rate_per_destination, self.clock),
        )
        self.queue_control = QueueControl(self)
        self.submissions = Submissions(self)

    def _build_guards(self, settings: Settings) -> None:
        self.notices = Notices(
            self.hostname,
            settings.queue.language,
            self.texts,
            self.directory,
            self.mailboxes,
            self.queue,
            self.mail_log,
        )
        self.alarms = Alarms(
            settings.limits.alarm_after, self.notices.tell_alarm, self.security_log, self.clock
        )
        self.guard.on_tripped = self.alarms.tripped
        self.gateways = GatewayWatch(
            settings.gateway_rules, self.alarms.found_gateway, self.clock, self.own.has, self.directory
        )
        self.account_counts = AccountCounts(self.database, self.clock)

    def _build_reception(self, settings: Settings) -> None:
        logs = (self.mail_log, self.security_log)
        quota = Quota(self.mailboxes, self.notices.tell_full)
        self.state = LiveState(
            self.portal,
            quota,
            self.resolver,
            self.space.octets,
            self.ledger,
            self.gateways,
            self.account_counts,
        )
        self.checks = build_checks(settings, self.directory, self.state)
        self.files.has_room = self.checks.senders.has_room
        self.decisions = Decisions(self.database, self.clock, logs, settings.log.decisions_keep)
        self._keep_decisions(settings)
        LimitEffects(self.checks.clients, self.ledger, self.security_log).follow(self.decisions)
        follow_quota(self.decisions, quota, self.directory)
        self.decisions.consequences[Rule.SENDER_FINE] = self.gateways.note_sender
        follow_trips(self.decisions, self.alarms)
        follow_accounts(self.decisions, self.account_counts, self.alarms.braked)
        self.explainer = Explainer(
            self.database,
            self.state,
            lambda: (self.checks, self.directory),
            self.service_rules,
            lambda: self.settings,
        )
        self.trace = TraceFields(
            self.hostname,
            lambda: self.checks.relay.rules,
            settings.relay.hide_local_ip,
            settings.server.disclose_login,
        )
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

    def _keep_decisions(self, settings: Settings) -> None:
        self.decisions.keep = settings.log.decisions_keep
        self.queue.keeps_stories = bool(settings.log.decisions_keep)

    def _build_listeners(self, settings: Settings) -> None:
        self.smtp = {
            name: SmtpFactory(
                self.service_rules(settings, name), self.reception, self.certificate, self.clock
            )
            for name in SMTP_SERVICES
        }
        self.pop3_gate = Pop3Gate(
            settings.pop3.connections_per_client,
            lambda client: self.checks.clients.limits.is_exempt(client),
            self.ledger,
            self.security_log,
        )
        self.pop3 = {
            name: Pop3Factory(
                portal=self.portal,
                tls=self.certificate,
                is_tls_at_once=name == "pop3s",
                settings=self.pop3_settings(settings, name),
                idle_timeout=settings.pop3.idle_timeout,
                may_send_plain_passwords=self.may_send_plain_passwords,
                log=Pop3Logs(self.mail_log, self.security_log),
                clock=self.clock,
                gate=self.pop3_gate,
            )
            for name in POP3_SERVICES
        }
        self.entrances = Entrances(
            settings,
            {**self.smtp, **self.pop3},
            self.certificate,
            self.mail_log,
            self.security_log,
            self.clock,
        )

    def service_rules(self, settings: Settings, name: str) -> SmtpServiceRules:
        """How one SMTP port behaves."""
        limits = settings.limits
        is_submission = name in ("submission", "submissions")
        mechanisms = () if name == "lmtp" else settings.auth.mechanisms
        session = SmtpServerSettings(
            hostname=self.hostname,
            max_message_octets=limits.enforced("max_message_size"),
            max_failed_commands=limits.max_failed_commands,
            bare_newlines=BareNewlines(limits.bare_newlines.value),
            mechanisms=tuple(mechanism.value for mechanism in mechanisms),
            needs_authentication=is_submission,
            is_lmtp=name == "lmtp",
            offers_dsn=True,
            offers_starttls=True,
            max_recipients=limits.enforced("max_recipients"),
            observes_failed_commands="max_failed_commands" in limits.observe,
        )
        return SmtpServiceRules(
            session=session,
            is_submission=is_submission,
            is_tls_at_once=name == "submissions",
            command_timeout=limits.command_timeout,
            session_timeout=limits.session_timeout,
            may_send_plain_passwords=self.may_send_plain_passwords,
            minimum_data_rate=limits.minimum_data_rate,
            observes_data_rate="minimum_data_rate" in limits.observe,
        )

    def pop3_settings(self, settings: Settings, name: str) -> Pop3ServerSettings:
        """What the sessions of one POP3 port say."""
        names = (mechanism.value for mechanism in settings.auth.mechanisms)
        return Pop3ServerSettings(
            hostname=self.hostname,
            offers_stls=name != "pop3s",
            mechanisms=tuple(name for name in names if name not in _NOT_FOR_POP3),
            offers_apop=settings.pop3.apop,
            login_delay=settings.pop3.login_delay,
        )

    def may_send_plain_passwords(self, client: ClientAddress) -> bool:
        """Say whether this client may send its password without TLS (`plaintext_auth`)."""
        return may_send_plain_passwords(self.settings, client)

    def use(self, settings: Settings) -> None:
        """Take changed settings, where a reload is enough; nothing is dropped."""
        self.settings = settings
        self.checks.use(settings)
        self._keep_decisions(settings)
        self.pop3_gate.limit = settings.pop3.connections_per_client
        self.trace.hides_local_ip = settings.relay.hide_local_ip
        self.trace.discloses_login = settings.server.disclose_login
        self.runner.rules = settings.retry_rules
        self.queue_control.use(settings)
        self.outbound.rules = outbound_rules(settings)
        self.routes.rules = routing_rules(settings, self.hostname)
        self.resolver.insist_on_proof(settings.delivery.dane)
        self.bounces.language = self.notices.language = settings.queue.language
        self.local.adds_envelope_to = settings.domains.add_envelope_to
        self.windows.set_length(settings.relay.pop_window)
        self.windows.max_users = settings.relay.pop_window_max_users
        self.guard.rules = settings.login_rules
        self.alarms.after = settings.limits.alarm_after
        self.gateways.rules = settings.gateway_rules
        self.logins.with_scram = settings.auth.has_scram
        self.login_delay.length = settings.pop3.login_delay
        for name, factory in self.smtp.items():
            factory.use(self.service_rules(settings, name))
        self.entrances.use(settings)
        for name, pop3 in self.pop3.items():
            pop3.service.settings = self.pop3_settings(settings, name)
