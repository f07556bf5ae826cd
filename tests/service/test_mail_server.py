import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from twisted._threads import AlreadyQuit
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from kms.config.loader import load_settings
from kms.domain.account import Account
from kms.domain.content import InlineContent
from kms.domain.next_hop import NextHop
from kms.policy.relay import RelayMode
from kms.policy.routing import Route
from kms.service.listening import CannotOpen
from kms.service.mail_server import EX_UNAVAILABLE, MailServer
from kms.service.tls import TlsFilesError, make_self_signed
from kms.store.accounts import add_account
from kms.store.queue_store import NewEntry, QueueStore
from kms.store.schema import open_database
from tests.support.memory_reactor import ClientTransport, ThreadedMemoryReactor
from tests.support.queue_entries import CONTENT, make_entry
from tests.support.senders import HeldSender

CONFIGURATION = """
[server]
hostname = mail.example.test
data_dir = var
[listen]
smtp = 25
submission = 587
submissions =
pop3 = 110
pop3s =
console =
[domains]
local = example.test
[limits]
sender_domain_must_exist = no
"""
MESSAGE = b"EHLO client.test\r\nMAIL FROM:<far@far.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"

Make = Callable[..., MailServer]


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """A server changes the umask and the SIGHUP handler of its process."""
    mask = os.umask(0o022)
    handler = signal.getsignal(signal.SIGHUP)
    yield
    os.umask(mask)
    signal.signal(signal.SIGHUP, handler)


@pytest.fixture
def reactor() -> ThreadedMemoryReactor:
    return ThreadedMemoryReactor()


class Ground:
    """A folder with a configuration, and the servers that were made on it."""

    def __init__(self, folder: Path, reactor: ThreadedMemoryReactor) -> None:
        self.folder = folder
        self.reactor = reactor
        self.path = folder / "kms.ini"
        self.configure("")
        self.servers: list[MailServer] = []
        self.made: list[MailServer] = []

    def configure(self, more: str) -> None:
        self.path.write_text(CONFIGURATION + more)

    def make(self, reactor: ThreadedMemoryReactor | None = None, is_foreground: bool = True) -> MailServer:
        server = MailServer(load_settings(self.path), self.path, reactor or self.reactor, is_foreground)
        self.servers.append(server)
        self.made.append(server)
        return server

    def start(self) -> MailServer:
        server = self.make()
        server.privilegedStartService()
        server.startService()
        return server

    def stop(self, server: MailServer) -> None:
        self.servers.remove(server)
        self.reactor.wait_for(stopping(server))

    def end_threads(self) -> None:
        """Whatever a test has left: no thread may keep the test process."""
        for server in self.made:
            app = server.app
            app.database.stop()
            app.mailboxes.stop()
            for pool in (app.hashing, app.bodies):
                with suppress(AlreadyQuit):
                    pool.stop()

    def add_accounts(self, *names: str, domain: str = "example.test") -> None:
        (self.folder / "var").mkdir(exist_ok=True)
        connection = open_database(self.database)
        for name in names:
            add_account(connection, Account(name, domain), None, [domain])
        connection.close()

    @property
    def database(self) -> Path:
        return load_settings(self.path).database_path

    def mailbox(self, name: str) -> list[bytes]:
        folder = self.folder / "var" / "mailboxes" / "example.test" / name / "Maildir" / "new"
        return [path.read_bytes() for path in folder.iterdir()] if folder.exists() else []

    def say(self, port: int, data: bytes) -> tuple[Any, ClientTransport]:
        protocol, transport = self.reactor.connect(port)
        protocol.dataReceived(data)
        return protocol, transport


class Believing:
    """A resolver, as far as its word is concerned."""

    def __init__(self, may_have_proof: bool) -> None:
        self.may_have_proof = may_have_proof


def stopping(server: MailServer) -> Deferred[None]:
    return server.stopService()


@pytest.fixture
def ground(tmp_path: Path, reactor: ThreadedMemoryReactor) -> Iterator[Ground]:
    place = Ground(tmp_path, reactor)
    yield place
    try:
        for server in list(place.servers):
            place.stop(server)
    finally:
        place.end_threads()


class TestAStart:
    def test_opens_all_ports_before_anything_else(self, ground: Ground) -> None:
        server = ground.make()
        server.privilegedStartService()
        assert ground.reactor.open_ports == {25, 587, 110}
        assert not (ground.folder / "var").exists()

    def test_makes_data_folder_store_certificate_and_logs(self, ground: Ground) -> None:
        ground.start()
        var = ground.folder / "var"
        for name in ("lock", "tls/self-signed.crt", "log/mail.log", ground.database.name):
            assert (var / name).is_file()
        assert var.stat().st_mode & 0o077 == 0

    def test_opens_the_ports_itself_where_nobody_was_root(self, ground: Ground) -> None:
        ground.make().startService()
        assert ground.reactor.open_ports == {25, 587, 110}

    def test_hears_sighup_as_soon_as_a_port_is_open(self, ground: Ground) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        ground.make().privilegedStartService()
        assert callable(signal.getsignal(signal.SIGHUP))

    def test_opens_the_ports_once(self, ground: Ground) -> None:
        ground.start()
        assert len(ground.reactor.tcpServers) == 3

    def test_opens_the_lmtp_socket_in_the_data_folder_once_that_is_locked(self, ground: Ground) -> None:
        ground.path.write_text(CONFIGURATION.replace("console =", "console =\nlmtp = unix:lmtp.sock"))
        server = ground.make()
        server.privilegedStartService()
        assert ground.reactor.unixServers == []
        server.startService()
        opened = [path for path, *_ in ground.reactor.unixServers]
        assert str(ground.folder / "var" / "lmtp.sock") in opened

    def test_puts_tls_under_the_ports_that_want_it_at_once(self, ground: Ground) -> None:
        ground.path.write_text(CONFIGURATION.replace("submissions =", "submissions = 465"))
        ground.start()
        entrance: Any = next(factory for port, factory, *_ in ground.reactor.tcpServers if port == 465)
        assert type(entrance.factory).__name__ == "TLSMemoryBIOFactory"

    def test_warns_of_what_waits_for_a_restart_until_it_stands_as_at_the_start(self, ground: Ground) -> None:
        server = ground.start()
        ground.configure("[dns]\nnameservers = 192.0.2.53\n")
        for _ in range(2):
            assert server.reload() == ()
            assert "[dns] nameservers has changed and needs a restart" in server.app.settings.warnings
        ground.configure("")
        assert server.reload() == ()
        assert server.app.settings.warnings == ()

    def test_by_sighup_logs_each_of_its_warnings_once(self, ground: Ground) -> None:
        ground.start()
        (ground.folder / "aliases").write_text("staff: :include:/nowhere/staff\n")
        aliases_file = f"[domains]\naliases_file = {ground.folder}/aliases\n"
        configuration = CONFIGURATION.replace("[domains]\n", aliases_file)
        ground.path.write_text(f"{configuration}[dns]\nnameservers = 192.0.2.53\n")
        with capturedLogs() as events:
            signal.raise_signal(signal.SIGHUP)
            ground.reactor.until(lambda: any("reloaded" in str(event.get("log_format")) for event in events))
        for what in ("nameservers", "staff"):
            assert sum(what in str(event.get("warning") or event.get("trouble")) for event in events) == 1

    def test_warns_loudly_of_an_open_relay(self, ground: Ground) -> None:
        ground.configure("[relay]\nmode = open\ni_know_this_is_an_open_relay = yes\n")
        with capturedLogs() as events:
            server = ground.start()
        assert server.app.settings.relay.mode is RelayMode.OPEN
        assert any("OPEN RELAY" in str(event.get("log_format")) for event in events)

    def test_warns_where_no_resolvers_word_can_be_believed_and_dane_is_wanted(self, ground: Ground) -> None:
        ground.configure("[delivery]\ndane = yes\n")
        for may_have_proof in (False, True):
            server = ground.make(ThreadedMemoryReactor())
            server.app.resolver = Believing(may_have_proof)  # type: ignore[assignment]
            with capturedLogs() as events:
                server._tell_of_useless_dane()
            warned = any("dane has no effect" in str(event.get("log_format")) for event in events)
            assert warned is not may_have_proof

    def test_takes_the_administrators_certificate(self, ground: Ground) -> None:
        now = datetime(2026, 11, 24, tzinfo=UTC)
        certificate, key = ground.folder / "own.crt", ground.folder / "own.key"
        make_self_signed("mail.example.test", certificate, key, now)
        ground.configure(f"[tls]\ncertificate = {certificate}\nprivate_key = {key}\n")
        ground.start()
        assert not (ground.folder / "var" / "tls" / "self-signed.crt").exists()

    def test_tells_a_certificate_that_cannot_be_used_before_the_fork(self, ground: Ground) -> None:
        (ground.folder / "own.crt").write_text("nothing")
        ground.configure(
            f"[tls]\ncertificate = {ground.folder}/own.crt\nprivate_key = {ground.folder}/own.crt\n"
        )
        with pytest.raises(TlsFilesError, match=r"own\.crt"):
            ground.make()


class TestAStartThatFails:
    def test_for_a_busy_port_names_it_and_ends_with_status_69(
        self, ground: Ground, capfd: pytest.CaptureFixture[str]
    ) -> None:
        ground.reactor.busy = {587}
        with pytest.raises(SystemExit) as error:
            ground.make().privilegedStartService()
        assert error.value.code == EX_UNAVAILABLE == 69
        assert capfd.readouterr().err == "kms: submission cannot listen at 587: Address already in use\n"

    def test_in_the_background_raises_the_same_line(self, ground: Ground) -> None:
        ground.reactor.busy = {110}
        with pytest.raises(CannotOpen, match="pop3 cannot listen at 110: Address already in use"):
            ground.make(is_foreground=False).privilegedStartService()

    def test_for_a_second_server_on_the_data_folder_says_who_has_it(
        self, ground: Ground, capfd: pytest.CaptureFixture[str]
    ) -> None:
        ground.start()
        second = ground.make(ThreadedMemoryReactor())
        with pytest.raises(SystemExit) as error:
            second.startService()
        assert error.value.code == EX_UNAVAILABLE
        err = capfd.readouterr().err
        assert err.startswith("kms: Another server runs on the data folder")
        assert f"(process {os.getpid()})" in err
        assert err.count("\n") == 1

    def test_for_a_store_that_is_none_leaves_no_thread_behind(
        self, ground: Ground, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (ground.folder / "var").mkdir()
        ground.database.write_bytes(b"no database at all, but long enough to look at it" * 50)
        server = ground.make()
        with pytest.raises(SystemExit):
            server.startService()
        assert ground.database.name in capfd.readouterr().err
        assert not server.app.mailboxes._pool
        assert not server.app.hashing.started

    def test_for_a_control_socket_that_cannot_be_made_is_one_line(
        self, ground: Ground, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (ground.folder / "var").mkdir()
        (ground.folder / "var" / "control.sock").mkdir()
        server = ground.make()
        with pytest.raises(SystemExit):
            server.startService()
        assert capfd.readouterr().err.count("\n") == 1
        assert not server.app.mailboxes._pool


class TestAServer:
    def test_takes_a_message_and_delivers_it(self, ground: Ground) -> None:
        ground.add_accounts("alice")
        ground.start()
        protocol, transport = ground.say(25, MESSAGE)
        assert b"\r\n354 " in transport.said
        protocol.dataReceived(b"Subject: hello\r\n\r\nworld\r\n.\r\n")
        ground.reactor.until(lambda: b"queued as" in transport.said)
        ground.reactor.until(lambda: ground.mailbox("alice"))
        assert b"Subject: hello\n\nworld\n" in ground.mailbox("alice")[0]
        protocol.connectionLost(Failure(ConnectionDone()))

    def test_takes_up_the_queue_of_before(self, ground: Ground) -> None:
        ground.add_accounts("m1", domain="target.test")
        connection = open_database(ground.database)
        QueueStore(ground.folder).add(connection, [NewEntry(make_entry(7), CONTENT, is_leased=True)])
        connection.close()
        ground.path.write_text(
            CONFIGURATION.replace("local = example.test", "local = example.test, target.test")
        )
        with capturedLogs() as events:
            server = ground.start()
        assert any("were under way when the server ended" in str(event.get("log_format")) for event in events)
        ground.reactor.until(lambda: "7: removed" in log_of(server))

    def test_sweeps_windows_that_are_over_from_time_to_time(self, ground: Ground) -> None:
        server = ground.start()
        calls = []

        async def sweep() -> None:
            calls.append(1)
            raise RuntimeError("no sweep today")

        server.app.windows.sweep = sweep  # type: ignore[method-assign]
        with capturedLogs() as events:
            ground.reactor.advance(601)
        assert calls
        assert any("no sweep today" in str(event.get("log_failure")) for event in events)


def log_of(server: MailServer) -> str:
    server.app.mail_log.lines.flush()
    return (server.app.settings.server.data_dir / "log" / "mail.log").read_text()


class TestAReload:
    def test_takes_a_changed_configuration(self, ground: Ground) -> None:
        server = ground.start()
        ground.configure("[queue]\nretry_interval = 7 minutes\n")
        assert server.reload() == ()
        assert server.app.runner.rules.intervals[0].total_seconds() == 420

    def test_warns_loudly_of_an_open_relay(self, ground: Ground) -> None:
        server = ground.start()
        ground.configure("[relay]\nmode = open\ni_know_this_is_an_open_relay = yes\n")
        with capturedLogs() as events:
            assert server.reload() == ()
        server.app.security_log.lines.flush()
        assert "OPEN RELAY" in (ground.folder / "var/log/security.log").read_text()
        assert any("OPEN RELAY" in str(event.get("log_format")) for event in events)

    def test_that_has_faults_names_them_all_and_keeps_the_old_configuration(self, ground: Ground) -> None:
        server = ground.start()
        before = server.app.settings
        ground.configure("[queue]\nretry_interval = soon\nbounce_after = never\n")
        problems = server.reload()
        assert len(problems) == 2
        assert "retry_interval" in problems[0]
        assert server.app.settings is before

    def test_whose_certificate_cannot_be_used_keeps_the_old_configuration(self, ground: Ground) -> None:
        server = ground.start()
        before = server.app.settings
        (ground.folder / "own.crt").write_text("nothing")
        ground.configure(
            f"[tls]\ncertificate = {ground.folder}/own.crt\nprivate_key = {ground.folder}/own.crt\n"
            "[queue]\nretry_interval = 7 minutes\n"
        )
        (problem,) = server.reload()
        assert "own.crt" in problem
        assert server.app.settings is before

    def test_whose_logs_cannot_be_opened_says_so(self, ground: Ground) -> None:
        server = ground.start()
        log = server.app.settings.server.data_dir / "log"
        log.rename(log.with_name("rotated"))
        log.write_text("a file where a folder should be")
        (problem,) = server.reload()
        assert "log" in problem
        log.unlink()
        assert server.reload() == ()

    def test_by_sighup_is_logged(self, ground: Ground) -> None:
        ground.start()
        with capturedLogs() as events:
            signal.raise_signal(signal.SIGHUP)
            ground.reactor.until(lambda: events)
        assert any("reloaded" in str(event.get("log_format")) for event in events)

    def test_by_sighup_with_faults_logs_them(self, ground: Ground) -> None:
        ground.start()
        ground.configure("[queue]\nretry_interval = soon\n")
        with capturedLogs() as events:
            signal.raise_signal(signal.SIGHUP)
            ground.reactor.until(lambda: events)
        assert any("retry_interval" in str(event.get("problem")) for event in events)

    def test_reads_the_accounts_anew(self, ground: Ground) -> None:
        server = ground.start()
        ground.add_accounts("bob")
        server.reload()
        ground.reactor.until(lambda: server.app.directory.current.accounts)
        assert "bob@example.test" in server.app.directory.current.accounts

    def test_goes_on_where_the_accounts_cannot_be_read(self, ground: Ground) -> None:
        server = ground.start()

        async def load(settings: object = None) -> None:
            raise RuntimeError("no disk")

        server.app.directory.load = load  # type: ignore[method-assign]
        with capturedLogs() as events:
            assert server.reload() == ()
        assert any("no disk" in str(event.get("log_failure")) for event in events)


class TestAStop:
    def test_of_an_idle_server_needs_no_time(self, ground: Ground) -> None:
        server = ground.start()
        before = ground.reactor.seconds()
        ground.stop(server)
        assert ground.reactor.seconds() - before < 1
        assert not ground.reactor.open_ports

    def test_leaves_nothing_that_would_call_later(self, ground: Ground) -> None:
        server = ground.start()
        ground.stop(server)
        assert not ground.reactor.getDelayedCalls()

    def test_gives_the_data_folder_free(self, ground: Ground) -> None:
        ground.stop(ground.start())
        ground.stop(ground.start())

    def test_ends_idle_sessions_with_421_at_once(self, ground: Ground) -> None:
        server = ground.start()
        protocol, transport = ground.say(25, b"EHLO client.test\r\n")
        stopped = stopping(server)
        ground.servers.remove(server)
        assert b"\r\n421 " in transport.said
        assert transport.disconnecting
        protocol.connectionLost(Failure(ConnectionDone()))
        ground.reactor.wait_for(stopped)

    def test_lets_a_transaction_end_and_says_its_250_before_421(self, ground: Ground) -> None:
        ground.add_accounts("alice")
        server = ground.start()
        protocol, transport = ground.say(25, MESSAGE)
        stopped = stopping(server)
        ground.servers.remove(server)
        assert b"421" not in transport.said
        protocol.dataReceived(b"Subject: hello\r\n\r\nworld\r\n.\r\n")
        ground.reactor.until(lambda: b"421" in transport.said)
        said = transport.said
        assert said.index(b"queued as") < said.index(b"\r\n421 ")
        protocol.connectionLost(Failure(ConnectionDone()))
        ground.reactor.wait_for(stopped)
        connection = open_database(ground.database)
        (count,) = connection.execute("SELECT count(*) FROM message").fetchone()
        connection.close()
        assert count + len(ground.mailbox("alice")) == 1

    def test_cuts_with_421_who_is_not_done_within_the_grace_and_still_closes_the_store(
        self, ground: Ground
    ) -> None:
        ground.configure("[relay]\nmode = restricted\n")
        server = ground.start()
        _, transport = ground.say(25, b"EHLO client.test\r\nMAIL FROM:<far@far.test>\r\n")
        stopped = stopping(server)
        ground.servers.remove(server)
        ground.reactor.turn(9)
        assert b"\r\n421 " not in transport.said
        assert not stopped.called
        ground.reactor.turn(2)
        assert b"\r\n421 " in transport.said
        ground.reactor.wait_for(stopped)
        ground.stop(ground.start())

    def test_lets_deliveries_that_run_end_and_records_them(self, ground: Ground) -> None:
        server = ground.start()
        sender = HeldSender()
        server.app.outbound._sender = sender
        server.app.routes.find = _somewhere  # type: ignore[method-assign]
        entry = make_entry(9)
        ground.reactor.wait_for(server.app.queue.accept(entry, InlineContent(CONTENT.data)))
        assert len(sender.sendings) == 1
        stopped = stopping(server)
        ground.servers.remove(server)
        ground.reactor.turn(3)
        assert not stopped.called
        sender.finish()
        ground.reactor.wait_for(stopped)
        connection = open_database(ground.database)
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (0,)
        connection.close()

    def test_lets_the_batch_that_is_written_to_mailboxes_end_and_records_it(
        self, ground: Ground, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ground.add_accounts("m1", domain="target.test")
        ground.path.write_text(CONFIGURATION.replace("local = example.test", "local = target.test"))
        server = ground.start()
        written: Deferred[list[OSError | None]] = Deferred()
        monkeypatch.setattr(server.app.mailboxes, "deliver", lambda items: written)
        ground.reactor.wait_for(server.app.queue.accept(make_entry(9), CONTENT))
        ground.reactor.turn()
        stopped = stopping(server)
        ground.servers.remove(server)
        ground.reactor.turn(3)
        assert not stopped.called
        written.callback([None])
        ground.reactor.wait_for(stopped)
        assert "9: removed" in (ground.folder / "var" / "log" / "mail.log").read_text()

    def test_of_a_server_whose_start_failed_does_no_harm(self, ground: Ground) -> None:
        ground.reactor.busy = {110}
        server = ground.make()
        with pytest.raises(SystemExit):
            server.startService()


async def _somewhere(domain: str, sender: object = None) -> Route:
    return Route((NextHop("mx.test", ("192.0.2.1",), 25),))
