from __future__ import annotations

import base64
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from kms.domain.account import Account
from kms.domain.address_group import ClientAddress
from kms.domain.content import CHUNK_OCTETS, InlineContent
from kms.domain.login import ScramProof
from kms.domain.scram import ScramVerifier, make_scram_verifier
from kms.protocol.pop3_events import Pop3ServerSettings
from kms.service.clock import ClockOf
from kms.service.hashing_queue import LoginsBusy
from kms.service.login_checker import Login
from kms.service.login_delay import LoginTooSoon
from kms.service.login_guard import LoginRefused
from kms.service.mailboxes import Mailboxes
from kms.service.pop3_connection import Pop3Connection
from kms.service.pop3_listener import Pop3Factory
from kms.service.portal import IMailboxAvatar, LoginPortal
from kms.store.maildir import MailboxDelivery
from tests.support.scram_client import ScramClient, encode

JOE = Account("joe", "example.test")
CLIENT = "192.0.2.7"


class Wire(StringTransport):
    """The client's end: what was sent, and whether the connection stands."""

    TLS = True  # everything goes through `write`

    def __init__(self) -> None:
        base: Any = super()
        base.__init__(peerAddress=IPv4Address("TCP", CLIENT, 40000))
        alsoProvides(self, ITCPTransport)
        self.has_no_delay = False
        self.tls_started_by: object = None
        self.is_aborted = False
        self.writes = 0
        self.when_written: Callable[[], object] = lambda: None

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.has_no_delay = enabled

    def startTLS(self, creator: object) -> None:
        self.tls_started_by = creator

    def abortConnection(self) -> None:
        self.is_aborted = True

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.when_written()
        base: Any = super()
        base.write(data)

    def sent(self) -> bytes:
        buffer: Any = self
        data: bytes = buffer.value()
        buffer.clear()
        return data


class ClearBelow(Wire):
    """A TLS transport that shows the state of the TCP transport below it, as Twisted's wrapper does."""

    TLS = False
    dataBuffer = _tempDataBuffer = b""

    def writeSomeData(self, data: bytes) -> int:
        raise AssertionError("sent in clear")


@implementer(IOpenSSLServerConnectionCreator)
class FakeTls:
    def serverConnectionForTLS(self, tlsProtocol: object) -> Any:
        raise NotImplementedError


class SlowMailboxes(Mailboxes):
    """Mailboxes whose thread works when it is told to."""

    is_slow = False

    def __init__(self, root: Path, clock: ClockOf) -> None:
        super().__init__(root, clock, None)
        self.waiting: list[Callable[[], object]] = []

    def run(self, operation: Callable[[], Any]) -> Deferred[Any]:
        if not self.is_slow:
            return super().run(operation)
        result: Deferred[Any] = Deferred()
        self.waiting.append(lambda: super(SlowMailboxes, self).run(operation).chainDeferred(result))
        return result

    def work(self) -> None:
        waiting, self.waiting = self.waiting, []
        for operation in waiting:
            operation()


class FakePortal(LoginPortal):
    """Knows one password, and trouble."""

    def __init__(self, mailboxes: Mailboxes) -> None:
        self._mailboxes = mailboxes
        self.minds: list[object] = []
        self.pending: Deferred[Any] | None = None

    def login(self, credentials: Any, mind: object, *interfaces: Any) -> Deferred[Any]:
        assert isinstance(credentials, Login)
        assert interfaces == (IMailboxAvatar,)
        self.minds.append(mind)
        if credentials.user == "slow":
            self.pending = Deferred()
            return self.pending.addCallback(lambda _: self._open())
        if credentials.user == "guessed":
            return fail(LoginRefused())
        if credentials.user == "trouble":
            return fail(OSError("the store is down"))
        if credentials.user == "busy":
            return fail(LoginsBusy())
        if credentials.user == "hasty":
            return fail(LoginTooSoon())
        if isinstance(credentials.proof, ScramProof):
            return self._open()
        if credentials.proof != "secret" or credentials.authorization:
            return fail(UnauthorizedLogin())
        return self._open()

    async def fetch_verifier(self, user: str) -> ScramVerifier:
        if user == "trouble":
            raise OSError("the store is down")
        return make_scram_verifier("secret", b"salt" * 4, 4096)

    def _open(self) -> Deferred[Any]:
        opened: Deferred[Any] = self._mailboxes.open(JOE)
        return opened.addCallback(lambda mailbox: (IMailboxAvatar, mailbox, mailbox.close))


@attrs.define
class FakeLog:
    lines: list[tuple[object, ...]] = attrs.field(factory=list)

    def logged_in(self, login: str, client: ClientAddress, tls: str | None) -> None:
        self.lines.append(("in", login, str(client), tls))

    def login_failed(self, login: str, client: ClientAddress, mechanism: str) -> None:
        self.lines.append(("failed", login, str(client), mechanism))

    def ended(self, login: str, client: ClientAddress, deleted: int) -> None:
        self.lines.append(("ended", login, str(client), deleted))


class World:
    """A listener and what stands behind it."""

    def __init__(self, root: Path, is_tls_at_once: bool = False, may_send: bool = True) -> None:
        self.clock = Clock()
        self.mailboxes = SlowMailboxes(root, ClockOf(self.clock))
        self.portal = FakePortal(self.mailboxes)
        self.log = FakeLog()
        self.tls = FakeTls()
        self.factory = Pop3Factory(
            portal=self.portal,
            tls=self.tls,
            is_tls_at_once=is_tls_at_once,
            settings=Pop3ServerSettings(
                "mx.test", offers_stls=not is_tls_at_once, mechanisms=("SCRAM-SHA-256", "PLAIN")
            ),
            may_send_plain_passwords=lambda address: may_send and str(address) == CLIENT,
            log=self.log,
            clock=ClockOf(self.clock),
        )

    def fill(self, *contents: bytes) -> None:
        folder = self.mailboxes.folder(JOE)
        self.mailboxes.deliver(
            [
                MailboxDelivery(folder, f"{number}.AR1.h", b"", InlineContent(content))
                for number, content in enumerate(contents, 1)
            ]
        )

    def connect(self) -> tuple[Pop3Connection, Wire]:
        connection = self.factory.buildProtocol(None)
        assert isinstance(connection, Pop3Connection)
        wire = Wire()
        attach(connection, wire)
        return connection, wire

    def log_in(self) -> tuple[Pop3Connection, Wire]:
        connection, wire = self.connect()
        connection.dataReceived(b"USER joe\r\nPASS secret\r\n")
        assert wire.sent().endswith(b"+OK Logged in\r\n")
        return connection, wire

    def is_locked(self) -> bool:
        return bool(self.mailboxes._locked)


def attach(connection: Any, wire: Wire) -> None:
    connection.makeConnection(wire)


def lose(connection: Pop3Connection) -> None:
    connection.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def logged_failures() -> Any:
    failures: list[Any] = []

    @implementer(ILogObserver)
    def observe(event: Any) -> None:
        if "log_failure" in event:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    yield failures
    globalLogPublisher.removeObserver(observe)


def test_a_client_is_greeted_without_nagle(world: World) -> None:
    _, wire = world.connect()
    assert wire.sent() == b"+OK mx.test POP3 ready\r\n"
    assert wire.has_no_delay


def test_a_login_from_its_address_opens_the_mailbox_and_is_logged(world: World) -> None:
    world.fill(b"a\r\n", b"bc\r\n")
    connection, wire = world.log_in()
    connection.dataReceived(b"STAT\r\n")
    assert wire.sent() == b"+OK 2 7\r\n"
    assert [str(mind) for mind in world.portal.minds] == [CLIENT]
    assert world.log.lines == [("in", "joe@example.test", CLIENT, None)]


def test_a_wrong_login_is_logged_and_opens_nothing(world: World) -> None:
    connection, wire = world.connect()
    connection.dataReceived(b"USER joe\r\nPASS wrong\r\n")
    assert wire.sent().endswith(b"-ERR [AUTH] Login failed\r\n")
    assert world.log.lines == [("failed", "joe", CLIENT, "PLAIN")]
    assert not world.is_locked()


def test_acting_for_another_is_a_wrong_login(world: World) -> None:
    connection, wire = world.connect()
    connection.dataReceived(b"AUTH PLAIN Ym9zcwBqb2UAc2VjcmV0\r\n")
    assert wire.sent().endswith(b"-ERR [AUTH] Login failed\r\n")
    assert world.log.lines == [("failed", "joe", CLIENT, "PLAIN")]


def test_trouble_is_temporary_and_no_failed_login(world: World, logged_failures: list[Any]) -> None:
    connection, wire = world.connect()
    connection.dataReceived(b"USER trouble\r\nPASS x\r\n")
    assert b"-ERR [SYS/TEMP]" in wire.sent()
    assert world.log.lines == []
    assert len(logged_failures) == 1


def test_a_login_that_is_not_checked_alarms_no_user_and_is_no_failed_login(
    world: World, logged_failures: list[Any]
) -> None:
    connection, wire = world.connect()
    connection.dataReceived(b"USER guessed\r\nPASS x\r\n" * 12)
    assert wire.sent().endswith(b"-ERR [SYS/TEMP] Too many failed logins, try again later\r\n")
    assert not wire.disconnecting
    assert world.log.lines == []
    assert logged_failures == []


def test_too_many_logins_at_once_are_no_trouble_to_log(world: World, logged_failures: list[Any]) -> None:
    connection, wire = world.connect()
    connection.dataReceived(b"USER busy\r\nPASS x\r\n")
    assert b"-ERR [SYS/TEMP]" in wire.sent()
    assert world.log.lines == []
    assert logged_failures == []


def test_a_second_session_is_told_in_use(world: World) -> None:
    world.log_in()
    connection, wire = world.connect()
    connection.dataReceived(b"USER joe\r\nPASS secret\r\n")
    assert b"-ERR [IN-USE]" in wire.sent()


def test_a_mailbox_is_given_back_before_the_last_reply(world: World) -> None:
    connection, wire = world.log_in()
    locked: list[bool] = []
    wire.when_written = lambda: locked.append(world.is_locked())
    connection.dataReceived(b"QUIT\r\n")
    assert wire.sent() == b"+OK Bye\r\n"
    assert locked == [False]
    assert wire.disconnecting
    assert wire.producer is None
    assert world.log.lines[-1] == ("ended", "joe@example.test", CLIENT, 0)


def test_deletions_take_effect_at_quit(world: World) -> None:
    world.fill(b"a\r\n", b"b\r\n")
    connection, wire = world.log_in()
    connection.dataReceived(b"DELE 1\r\nQUIT\r\n")
    assert wire.sent().endswith(b"+OK Bye\r\n")
    assert len(os.listdir(f"{world.mailboxes.folder(JOE)}/new")) == 1
    assert world.log.lines[-1] == ("ended", "joe@example.test", CLIENT, 1)


def test_a_cut_line_deletes_nothing_and_gives_the_mailbox_back(world: World) -> None:
    world.fill(b"a\r\n", b"b\r\n")
    connection, _ = world.log_in()
    connection.dataReceived(b"DELE 1\r\nDELE 2\r\nQUI")
    lose(connection)
    assert len(os.listdir(f"{world.mailboxes.folder(JOE)}/new")) == 2
    assert not world.is_locked()
    assert world.factory.live == set()


def test_a_deletion_that_fails_is_told(world: World, logged_failures: list[Any]) -> None:
    world.fill(b"a\r\n")
    connection, wire = world.log_in()
    connection.dataReceived(b"DELE 1\r\n")
    wire.sent()
    world.mailboxes.run = lambda operation: fail(OSError("no disk"))  # type: ignore[method-assign]
    connection.dataReceived(b"QUIT\r\n")
    assert wire.sent() == b"-ERR [SYS/TEMP] some deleted messages not removed\r\n"
    assert len(logged_failures) == 1


def test_a_client_that_leaves_during_its_login_leaves_no_lock(world: World) -> None:
    connection, _ = world.connect()
    connection.dataReceived(b"USER slow\r\nPASS x\r\n")
    lose(connection)
    assert world.portal.pending is not None
    world.portal.pending.callback(None)
    assert not world.is_locked()
    assert world.log.lines[-1][0] == "ended"


def test_commands_pipelined_behind_a_slow_login_wait(world: World) -> None:
    connection, wire = world.connect()
    wire.sent()
    connection.dataReceived(b"USER slow\r\nPASS x\r\nSTAT\r\nQUIT\r\n")
    assert wire.sent() == b"+OK Now the password\r\n"
    assert world.portal.pending is not None
    world.portal.pending.callback(None)
    assert wire.sent() == b"+OK Logged in\r\n+OK 0 0\r\n+OK Bye\r\n"


def test_a_small_message_leaves_in_one_write(world: World) -> None:
    world.fill(b"A: b\r\n\r\ntext\r\n")
    connection, wire = world.log_in()
    before = wire.writes
    connection.dataReceived(b"RETR 1\r\n")
    assert wire.sent() == b"+OK 14 octets\r\nA: b\r\n\r\ntext\r\n.\r\n"
    assert wire.writes == before + 1


def test_a_large_message_waits_while_the_client_does_not_read(world: World) -> None:
    large = b"\r\n" + (b"x" * 98 + b"\r\n") * (3 * CHUNK_OCTETS // 100)
    world.fill(large)
    connection, wire = world.log_in()
    connection.pauseProducing()
    connection.dataReceived(b"RETR 1\r\nNOOP\r\n")
    assert wire.sent() == b""
    connection.resumeProducing()
    sent = wire.sent()
    assert sent == b"+OK %d octets\r\n" % len(large) + large + b".\r\n+OK Nothing done\r\n"


def test_a_client_that_stops_reading_in_a_message_stops_it(world: World) -> None:
    world.fill(b"\r\n" + (b"x" * 98 + b"\r\n") * (3 * CHUNK_OCTETS // 100))
    connection, wire = world.log_in()
    world.mailboxes.is_slow = True
    connection.dataReceived(b"RETR 1\r\n")
    world.mailboxes.work()
    first = len(wire.sent())
    assert 0 < first <= 2 * CHUNK_OCTETS
    connection.pauseProducing()
    world.mailboxes.work()
    assert world.mailboxes.waiting == []
    connection.resumeProducing()
    while world.mailboxes.waiting:
        world.mailboxes.work()
    assert wire.sent().endswith(b"x\r\n.\r\n")


def test_a_client_that_leaves_in_a_message_closes_its_file(world: World) -> None:
    world.fill((b"x" * 98 + b"\r\n") * (3 * CHUNK_OCTETS // 100))
    before = len(os.listdir("/proc/self/fd"))
    connection, _ = world.log_in()
    world.mailboxes.is_slow = True
    connection.dataReceived(b"RETR 1\r\n")
    world.mailboxes.work()
    lose(connection)
    while world.mailboxes.waiting:
        world.mailboxes.work()
    assert len(os.listdir("/proc/self/fd")) == before
    assert not world.is_locked()


def test_an_error_in_the_middle_of_a_message_cuts_the_connection(
    world: World, logged_failures: list[Any]
) -> None:
    world.fill((b"x" * 98 + b"\r\n") * (3 * CHUNK_OCTETS // 100))
    connection, wire = world.log_in()
    run = world.mailboxes.run
    calls: list[object] = []

    def fail_second(operation: Callable[[], Any]) -> Deferred[Any]:
        calls.append(operation)
        return fail(OSError("bad sector")) if len(calls) == 2 else run(operation)

    world.mailboxes.run = fail_second  # type: ignore[method-assign]
    connection.dataReceived(b"RETR 1\r\n")
    assert wire.is_aborted
    assert not wire.sent().endswith(b"\r\n.\r\n")
    assert len(logged_failures) == 1
    lose(connection)
    assert not world.is_locked()


def test_a_message_that_is_gone_or_cannot_be_read_is_refused(
    world: World, logged_failures: list[Any]
) -> None:
    world.fill(b"a\r\n", b"b\r\n")
    connection, wire = world.log_in()
    folder = world.mailboxes.folder(JOE)
    first, second = sorted(os.listdir(f"{folder}/new"))
    os.unlink(f"{folder}/new/{first}")
    os.unlink(f"{folder}/new/{second}")
    os.symlink("/etc/passwd", f"{folder}/new/{second}")
    connection.dataReceived(b"RETR 1\r\nRETR 2\r\nNOOP\r\n")
    assert wire.sent() == (
        b"-ERR Message was removed by another program\r\n"
        b"-ERR [SYS/TEMP] Message cannot be read now\r\n"
        b"+OK Nothing done\r\n"
    )
    assert len(logged_failures) == 1


def test_stls_starts_tls_after_its_reply(world: World) -> None:
    connection, wire = world.connect()
    wire.sent()
    connection.dataReceived(b"STLS\r\n")
    assert wire.sent() == b"+OK Begin TLS\r\n"
    assert wire.tls_started_by is world.tls
    connection.dataReceived(b"STLS\r\n")
    assert wire.sent() == b"-ERR TLS is on already\r\n"


def test_with_tls_at_once_passwords_may_be_sent_and_stls_is_not_offered(tmp_path: Path) -> None:
    world = World(tmp_path, is_tls_at_once=True, may_send=False)
    connection, wire = world.connect()
    connection.dataReceived(b"CAPA\r\n")
    sent = wire.sent()
    assert b"SASL SCRAM-SHA-256 PLAIN" in sent
    assert b"STLS" not in sent


def test_with_tls_at_once_nothing_goes_past_the_transport(tmp_path: Path) -> None:
    world = World(tmp_path, is_tls_at_once=True)
    connection = world.factory.buildProtocol(None)
    assert connection is not None
    wire = ClearBelow()
    attach(connection, wire)
    assert wire.sent() == b"+OK mx.test POP3 ready\r\n"


def test_without_tls_the_address_decides_whether_passwords_may_be_sent(tmp_path: Path) -> None:
    connection, wire = World(tmp_path, may_send=False).connect()
    connection.dataReceived(b"CAPA\r\n")
    assert b"PLAIN" not in wire.sent()


def test_a_flood_behind_a_slow_login_is_not_read_without_end(world: World) -> None:
    connection, wire = world.connect()
    connection.dataReceived(b"USER slow\r\nPASS x\r\n")
    for _ in range(3):
        connection.dataReceived(b"NOOP\r\n" * 6000)
    assert wire.producerState == "paused"
    assert world.portal.pending is not None
    world.portal.pending.callback(None)
    assert wire.producerState == "paused"
    world.clock.pump([0.005] * 1000)
    assert wire.producerState == "producing"
    assert wire.sent().count(b"+OK Nothing done\r\n") == 18000


def test_commands_in_a_row_let_other_sessions_go_first(world: World) -> None:
    connection, wire = world.connect()
    other, others_wire = world.connect()
    connection.dataReceived(b"CAPA\r\n" * 1000)
    assert wire.sent().count(b"+OK Capabilities follow\r\n") == 20
    others_wire.sent()
    other.dataReceived(b"CAPA\r\n")
    assert b"PIPELINING" in others_wire.sent()
    world.clock.advance(0)
    assert wire.sent().count(b"+OK Capabilities follow\r\n") == 200, "from then on there are pauses"
    world.clock.pump([0.005] * 39)
    assert wire.sent().count(b"+OK Capabilities follow\r\n") == 780


def test_a_client_that_leaves_between_two_turns_leaves_nothing(world: World) -> None:
    connection, _ = world.log_in()
    connection.dataReceived(b"NOOP\r\n" * 100)
    lose(connection)
    world.clock.advance(0)
    assert not world.is_locked()
    assert world.factory.live == set()


def test_an_idle_session_is_closed_without_a_word_and_deletes_nothing(world: World) -> None:
    world.fill(b"a\r\n")
    connection, wire = world.log_in()
    connection.dataReceived(b"DELE 1\r\n")
    wire.sent()
    world.clock.pump([5] * 119)
    assert not wire.disconnecting
    connection.dataReceived(b"NOOP\r\n")
    wire.sent()
    world.clock.pump([5] * 121)
    assert wire.disconnecting
    assert wire.sent() == b""
    assert not world.is_locked()
    assert len(os.listdir(f"{world.mailboxes.folder(JOE)}/new")) == 1
    connection.dataReceived(b"QUIT\r\n")
    assert wire.sent() == b""
    world.clock.pump([5] * 3)
    assert wire.is_aborted


def test_a_client_that_never_reads_is_cut_in_the_end(world: World) -> None:
    connection, wire = world.log_in()
    connection.pauseProducing()
    world.clock.pump([5] * 121)
    assert wire.is_aborted
    lose(connection)


def test_octets_that_complete_no_command_win_no_time(world: World) -> None:
    connection, wire = world.log_in()
    for _ in range(121):
        connection.dataReceived(b"N")
        world.clock.advance(5)
    assert wire.disconnecting


def test_who_does_not_log_in_holds_no_slot_for_ever(world: World) -> None:
    connection, wire = world.connect()
    for _ in range(719):
        connection.dataReceived(b"CAPA\r\n")
        world.clock.advance(5)
    assert not wire.is_aborted
    world.clock.advance(5)
    assert wire.is_aborted


def test_who_has_logged_in_may_stay(world: World) -> None:
    connection, wire = world.log_in()
    for _ in range(1000):
        connection.dataReceived(b"NOOP\r\n")
        world.clock.advance(5)
    assert not wire.is_aborted
    assert not wire.disconnecting


def test_a_session_that_waits_for_us_is_not_idle(world: World) -> None:
    connection, wire = world.connect()
    connection.dataReceived(b"USER slow\r\nPASS x\r\n")
    world.clock.pump([5] * 200)
    assert not wire.disconnecting
    assert not wire.is_aborted


def test_there_is_one_timer_for_all_sessions_and_none_without_any(world: World) -> None:
    connections = [world.connect()[0] for _ in range(5)]
    assert len(world.clock.getDelayedCalls()) == 1
    for connection in connections:
        lose(connection)
    assert world.clock.getDelayedCalls() == []


def test_draining_ends_idle_sessions_at_once(world: World) -> None:
    world.fill(b"a\r\n")
    connection, wire = world.log_in()
    connection.dataReceived(b"DELE 1\r\n")
    wire.sent()
    drained: list[None] = []
    world.factory.drain().addCallback(drained.append)
    assert wire.sent() == b"-ERR [SYS/TEMP] Server is shutting down\r\n"
    assert wire.disconnecting
    assert drained == []
    lose(connection)
    assert drained == [None]
    assert world.factory.buildProtocol(None) is None
    assert len(os.listdir(f"{world.mailboxes.folder(JOE)}/new")) == 1


def test_an_idle_client_that_does_not_close_cannot_hold_up_the_shutdown(world: World) -> None:
    connection, wire = world.connect()
    world.factory.drain()
    assert wire.disconnecting
    assert not wire.is_aborted
    world.clock.advance(0.5)
    assert wire.is_aborted
    lose(connection)


def test_draining_lets_a_running_reply_end(world: World) -> None:
    world.fill(b"a\r\n")
    connection, wire = world.log_in()
    world.mailboxes.is_slow = True
    connection.dataReceived(b"RETR 1\r\nNOOP\r\n")
    world.factory.drain()
    assert wire.sent() == b""
    world.mailboxes.work()
    assert wire.sent() == b"+OK 3 octets\r\na\r\n.\r\n-ERR [SYS/TEMP] Server is shutting down\r\n"
    assert wire.disconnecting


def test_draining_without_sessions_is_done_at_once(world: World) -> None:
    drained: list[None] = []
    world.factory.drain().addCallback(drained.append)
    assert drained == [None]


def test_the_rest_is_cut(world: World) -> None:
    connection, wire = world.connect()
    connection.dataReceived(b"USER slow\r\nPASS x\r\n")
    world.factory.drain()
    world.factory.cut()
    assert wire.is_aborted


def test_a_lost_client_is_not_written_to(world: World) -> None:
    connection, wire = world.connect()
    connection.dataReceived(b"USER slow\r\nPASS x\r\nSTAT\r\n")
    wire.sent()
    connection.stopProducing()
    lose(connection)
    assert world.portal.pending is not None
    world.portal.pending.errback(UnauthorizedLogin())
    assert wire.sent() == b""


def test_the_idle_timeout_can_be_chosen(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.factory.service.idle_timeout = timedelta(minutes=20)
    _, wire = world.connect()
    world.clock.pump([5] * 180)
    assert not wire.disconnecting


def test_a_blocked_client_that_leaves_gives_its_mailbox_back(world: World) -> None:
    connection, _ = world.log_in()
    connection.pauseProducing()
    connection.dataReceived(b"NOOP\r\n")
    lose(connection)
    assert not world.is_locked()


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        ("busy", b"-ERR [SYS/TEMP] Temporary trouble here, try again later\r\n"),
        ("hasty", b"-ERR [LOGIN-DELAY] Too soon after the last login, try again later\r\n"),
    ],
)
def test_what_is_no_failed_login_is_not_logged_as_one(world: World, user: str, answer: bytes) -> None:
    connection, wire = world.connect()
    connection.dataReceived(f"USER {user}\r\nPASS x\r\n".encode())
    assert wire.sent().endswith(answer)
    assert world.log.lines == []
    assert not world.is_locked()


def test_a_scram_login_opens_the_mailbox_and_who_gives_it_up_leaves_it_free(world: World) -> None:
    client = ScramClient("joe", "secret")
    connection, wire = world.connect()
    wire.sent()
    connection.dataReceived(f"AUTH SCRAM-SHA-256 {encode(client.first)}\r\n".encode())
    first = base64.b64decode(wire.sent()[2:]).decode()
    connection.dataReceived(f"{encode(client.answer(first))}\r\n".encode())
    assert client.believes(base64.b64decode(wire.sent()[2:]).decode())
    assert world.is_locked()
    connection.dataReceived(b"*\r\n")
    assert wire.sent() == b"-ERR Authentication cancelled\r\n"
    assert not world.is_locked()
    assert wire.disconnecting


def test_a_verifier_that_cannot_be_read_is_trouble(world: World, logged_failures: list[Any]) -> None:
    connection, wire = world.connect()
    connection.dataReceived(f"AUTH SCRAM-SHA-256 {encode('n,,n=trouble,r=abc')}\r\n".encode())
    assert wire.sent().endswith(b"-ERR [SYS/TEMP] Temporary trouble here, try again later\r\n")
    assert len(logged_failures) == 1
