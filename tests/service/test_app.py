import ipaddress
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred

from kms.config.delivery_settings import DeliveryMode, DeliverySettings, QueueSettings
from kms.config.loader import read_settings
from kms.config.network_kinds import HostPort, LogStream, LogTarget
from kms.config.relay_settings import LimitsSettings
from kms.config.server_settings import PlaintextAuth, TlsSettings
from kms.config.settings import Settings
from kms.domain.address import Mailbox
from kms.domain.content import InlineContent
from kms.domain.dsn import RecipientReport
from kms.domain.next_hop import TlsPolicy
from kms.domain.report_text import ReportKind
from kms.service.app import App
from kms.service.clock import ClockOf
from kms.service.pop3_log import Pop3Logs
from kms.service.settings_rules import log_path, outbound_rules, routing_rules
from kms.store.bodies import BodyWriter
from tests.support.memory_reactor import ThreadedMemoryReactor
from tests.support.queue_entries import make_entry
from tests.support.senders import REFUSED

CLIENT = ipaddress.ip_address("192.0.2.1")


def settings_in(folder: Path, more: str = "") -> Settings:
    text = (
        f"[server]\nhostname = mail.example.test\ndata_dir = {folder}\nreports_dir = {folder}\n"
        f"[domains]\nlocal = example.test\n{more}"
    )
    return read_settings(text, folder / "kms.ini")


@pytest.fixture
def app(tmp_path: Path) -> App:
    reactor = ThreadedMemoryReactor()
    return App(settings_in(tmp_path), reactor, ClockOf(reactor))


class TestAServerThatWasPutTogether:
    def test_has_started_nothing(self, app: App, tmp_path: Path) -> None:
        assert list(tmp_path.iterdir()) == []
        assert not app.reactor.getDelayedCalls()

    def test_is_named_by_its_machine_where_the_file_says_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("socket.getfqdn", lambda: "machine.example.test")
        settings = settings_in(tmp_path)
        settings = attrs.evolve(settings, server=attrs.evolve(settings.server, hostname=""))
        reactor = ThreadedMemoryReactor()
        assert App(settings, reactor, ClockOf(reactor)).hostname == "machine.example.test"

    def test_asks_for_a_login_on_submission_only(self, app: App) -> None:
        needs = {name: factory.rules.session.needs_authentication for name, factory in app.smtp.items()}
        assert needs == {"smtp": False, "submission": True, "submissions": True, "lmtp": False}

    def test_speaks_tls_at_once_on_submissions_only(self, app: App) -> None:
        at_once = {name: factory.rules.is_tls_at_once for name, factory in app.smtp.items()}
        assert at_once == {"smtp": False, "submission": False, "submissions": True, "lmtp": False}

    def test_speaks_lmtp_without_logins_where_it_should(self, app: App) -> None:
        sessions = {name: factory.rules.session for name, factory in app.smtp.items()}
        assert [name for name, session in sessions.items() if session.is_lmtp] == ["lmtp"]
        assert [name for name, session in sessions.items() if not session.mechanisms] == ["lmtp"]

    def test_announces_the_limit_of_recipients(self, app: App) -> None:
        announced = {factory.rules.session.max_recipients for factory in app.smtp.values()}
        assert announced == {app.settings.limits.max_recipients}

    def test_reads_the_header_of_a_report_and_removes_bodies_in_the_thread_of_body_files(
        self, app: App, tmp_path: Path
    ) -> None:
        body = tmp_path / "body"
        body.write_bytes(b"x")
        app.bodies.start()
        try:
            app.reactor.wait_for(app.runner.remove_body(str(body)))
        finally:
            app.bodies.stop()
        assert not body.exists()


class TestPlainPasswords:
    def app_with(self, tmp_path: Path, value: PlaintextAuth) -> App:
        reactor = ThreadedMemoryReactor()
        settings = attrs.evolve(settings_in(tmp_path), tls=TlsSettings(plaintext_auth=value))
        return App(settings, reactor, ClockOf(reactor))

    def test_may_always_be_sent_where_the_file_says_so(self, tmp_path: Path) -> None:
        assert self.app_with(tmp_path, PlaintextAuth.ALWAYS).may_send_plain_passwords(CLIENT)

    def test_may_never_be_sent_where_the_file_says_so(self, tmp_path: Path) -> None:
        app = self.app_with(tmp_path, PlaintextAuth.NEVER)
        assert not app.may_send_plain_passwords(ipaddress.ip_address("127.0.0.1"))

    def test_may_be_sent_from_loopback_and_the_relay_group(self, tmp_path: Path) -> None:
        more = "[address_groups]\nOffice = 10.0.0.0/8\n[relay]\naddress_group = Office\n"
        reactor = ThreadedMemoryReactor()
        app = App(settings_in(tmp_path, more), reactor, ClockOf(reactor))
        assert app.may_send_plain_passwords(ipaddress.ip_address("127.0.0.1"))
        assert app.may_send_plain_passwords(ipaddress.ip_address("10.1.2.3"))
        assert not app.may_send_plain_passwords(CLIENT)

    def test_may_be_sent_from_loopback_only_where_there_is_no_group(self, tmp_path: Path) -> None:
        reactor = ThreadedMemoryReactor()
        app = App(settings_in(tmp_path, "[relay]\naddress_group =\n"), reactor, ClockOf(reactor))
        assert app.may_send_plain_passwords(ipaddress.ip_address("::1"))
        assert not app.may_send_plain_passwords(CLIENT)


class TestChangedSettings:
    def test_are_taken_by_every_part_that_needs_no_restart(self, app: App, tmp_path: Path) -> None:
        settings = settings_in(
            tmp_path,
            "add_envelope_to = yes\n"
            "[relay]\npop_before_smtp = no\npop_window = 7 minutes\nhide_local_ip = yes\n"
            "[limits]\nmax_recipients = 123\ncommand_timeout = 77 s\n"
            "[delivery]\nconnections_per_destination = 3\n"
            "[queue]\ndelivery_tasks = 11\nretry_interval = 9 minutes\nlanguage = de\n"
            "[tls]\nplaintext_auth = always\n",
        )
        app.use(settings)
        checks = app.checks
        assert not checks.relay.rules.pop_before_smtp
        assert {
            part.rules.max_recipients for part in (checks.senders, checks.recipients, checks.contents)
        } == {123}
        assert app.trace.hides_local_ip
        assert app.runner.rules.intervals == (timedelta(minutes=9),)
        assert (app.outbound.rules.delivery_tasks, app.outbound.rules.per_destination) == (11, 3)
        assert app.bounces.language == "de"
        assert app.local.adds_envelope_to
        assert all(factory.rules.command_timeout == timedelta(seconds=77) for factory in app.smtp.values())
        assert app.may_send_plain_passwords(CLIENT)

    def test_of_the_way_out_are_taken(self, app: App, tmp_path: Path) -> None:
        delivery = DeliverySettings(mode=DeliveryMode.SMARTHOST, smarthost=(HostPort("192.0.2.9", 2525),))
        app.use(attrs.evolve(app.settings, delivery=delivery))
        (hop,) = app.routes.rules.smarthosts
        assert (hop.host, hop.port) == ("192.0.2.9", 2525)
        assert app.outbound.destination_of("far.test") == ""


class TestRules:
    def test_of_outgoing_transactions_are_those_of_the_file(self) -> None:
        settings = Settings(
            queue=QueueSettings(delivery_tasks=4), delivery=DeliverySettings(connections_per_destination=2)
        )
        rules = outbound_rules(settings)
        assert (rules.delivery_tasks, rules.per_destination) == (4, 2)

    def test_of_routing_know_where_we_listen_ourselves(self, tmp_path: Path) -> None:
        settings = settings_in(tmp_path, "[listen]\nsmtp = 25\n    tcp:2525:interface=192.0.2.7\n")
        rules = routing_rules(settings, "Mail.Example.Test")
        assert rules.own_names == {"mail.example.test"}
        assert rules.own_wildcard_ports == {25}
        assert rules.own_endpoints == {("192.0.2.7", 2525)}
        assert rules.tls is TlsPolicy.OPPORTUNISTIC

    @pytest.mark.parametrize(("tls", "wanted"), [("verify", True), ("off", False)])
    def test_of_routing_ask_for_what_others_publish_unless_there_is_no_tls(
        self, tmp_path: Path, tls: str, wanted: bool
    ) -> None:
        settings = settings_in(tmp_path, f"[delivery]\ntls = {tls}\n")
        settings = attrs.evolve(settings, delivery=attrs.evolve(settings.delivery, dane=True))
        rules = routing_rules(settings, "mail.example.test")
        assert (rules.mta_sts, rules.dane) == (wanted, wanted)
        assert not routing_rules(settings_in(tmp_path), "mail.example.test").dane

    def test_of_a_session_are_those_of_the_file(self, app: App) -> None:
        limits = LimitsSettings(max_message_size=77, max_failed_commands=3)
        session = app.service_rules(attrs.evolve(app.settings, limits=limits), "smtp").session
        assert (session.max_message_octets, session.max_failed_commands) == (77, 3)


class TestLogs:
    def test_are_files_or_streams(self, tmp_path: Path) -> None:
        assert log_path(LogTarget(path=tmp_path / "mail.log")) == str(tmp_path / "mail.log")
        assert log_path(LogTarget(tmp_path, LogStream.STDOUT)) == "stdout"

    def test_of_pop3_are_the_mail_log_and_for_failures_the_security_log(self, app: App) -> None:
        for log in (app.mail_log, app.security_log):
            log.lines.open()
        logs = Pop3Logs(app.mail_log, app.security_log)
        logs.logged_in("alice@example.test", CLIENT, "TLSv1.3")
        logs.ended("alice@example.test", CLIENT, 2)
        logs.login_failed("alice@example.test", CLIENT, "USER")
        for log in (app.mail_log, app.security_log):
            log.lines.close()
        folder = app.settings.server.data_dir / "log"
        mail, security = ((folder / f"{name}.log").read_text() for name in ("mail", "security"))
        assert "login: user=<alice@example.test>" in mail
        assert "logout: user=<alice@example.test>" in mail
        assert "192.0.2.1" in security


def test_a_report_is_made_with_the_header_that_the_body_thread_reads(app: App) -> None:
    folder = app.settings.spool_dir
    folder.mkdir()
    writer = BodyWriter(folder, 5)
    writer.write(b"Subject: a large one\r\n\r\nbody\r\n")
    content = writer.finish()
    sender = Mailbox("joe", "far.test")
    entry = make_entry(5, content=content, reverse_path=sender)
    wanted = {ReportKind.FAILED: (RecipientReport(sender, REFUSED.reply, "mx.test"),)}
    app.bodies.start()
    app.mail_log.lines.open()
    try:
        [report] = app.reactor.wait_for(Deferred.fromCoroutine(app.bounces.make(entry, content, wanted)))
    finally:
        app.bodies.stop()
        app.mail_log.lines.close()
    assert isinstance(report.content, InlineContent)
    assert b"Subject: a large one" in report.content.data
