"""The listener: greeting, order, back-pressure, TLS; deadlines and shutdown: test_smtp_listener_time.py."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import ssl
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import FakeTransport
from zope.interface.verify import verifyObject

from kms.domain import reply
from kms.domain.address_group import ClientAddress
from kms.service.mailboxes import MailboxUsage
from tests.support.certificates import server_tls
from tests.support.smtp_parts import Client, ClientWire
from tests.support.smtp_rig import HOSTNAME, MEMBER, STRANGER, SmtpRig

GREETING = f"220 {HOSTNAME} ESMTP ready"
MESSAGE = b"Subject: hello\r\n\r\nHello\r\n.\r\n"
SLOW_MAIL = b"MAIL FROM:<x@slow.example>\r\n"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SmtpRig]:
    rig = SmtpRig(tmp_path)
    rig.factory.doStart()
    yield rig
    rig.factory.stop_watching()
    assert not [
        call for call in rig.reactor.getDelayedCalls() if call.getTime() > rig.reactor.seconds() + 0.1
    ]


# Greeting


def test_the_client_of_a_unix_socket_is_on_this_machine(rig: SmtpRig) -> None:
    connection = rig.factory.buildProtocol(None)
    wire = ClientWire(STRANGER)
    wire.peerAddr = wire.hostAddr = UNIXAddress("lmtp.sock")
    connection.makeConnection(wire)  # type: ignore[no-untyped-call]

    assert connection.visit.client == ip_address("127.0.0.1")
    assert connection.visit.server_address() is None


def test_a_client_is_greeted_at_once(rig: SmtpRig) -> None:
    client = rig.connect()
    assert client.hear() == [GREETING]
    assert client.wire.producer is client.connection
    assert client.wire.streaming
    assert verifyObject(IPushProducer, client.connection)


@pytest.mark.parametrize(
    ("client", "known"), [("203.0.113.9",) * 2, ("2001:db8::1",) * 2, ("::ffff:192.0.2.7", "192.0.2.7")]
)
def test_the_client_is_known_by_its_address(rig: SmtpRig, client: str, known: str) -> None:
    assert rig.connect(client).connection.visit.client == ip_address(known)
    assert f"connect from unknown[{known}]" in rig.mail_lines()[-1]


@pytest.mark.parametrize("may", [True, False])
def test_where_passwords_may_be_sent_in_clear_is_asked_of_the_address(tmp_path: Path, may: bool) -> None:
    asked: list[str] = []

    def ask(client: ClientAddress) -> bool:
        asked.append(str(client))
        return may

    rig = SmtpRig(tmp_path, service={"may_send_plain_passwords": ask})
    said = rig.connect(MEMBER).say("EHLO client.example")
    assert ("250-AUTH PLAIN LOGIN" in said) is may
    assert asked == [MEMBER]


def test_quit_closes_the_connection(rig: SmtpRig) -> None:
    client = rig.greeted()
    assert client.say("QUIT") == ["221 2.0.0 Bye"]
    assert client.is_lost
    assert client.wire.producer is None
    assert rig.factory.live == set()


def test_after_quit_nothing_is_answered(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.keeps_line = True
    assert client.say("QUIT", "NOOP") == ["221 2.0.0 Bye"]
    assert client.say("NOOP") == []


# Order (RFC 2920 3.2)


def pipeline(count: int) -> list[str]:
    """MAIL, many RCPTs of all kinds, DATA."""
    names = ["fritz", "anna", "nobody", "fritz", "team", "dora", "fritz", "far@elsewhere.example"]
    recipients = itertools.islice(itertools.cycle(names), count)
    return [
        "MAIL FROM:<x@slow.example>",
        *[f"RCPT TO:<{name if '@' in name else name + '@example.org'}>" for name in recipients],
        "DATA",
    ]


def answer_all(rig: SmtpRig, client: Client) -> list[str]:
    """Answer what is waited for, one after the other, until nothing is."""
    said = client.hear()
    while True:
        if rig.resolver.waiting:
            rig.resolver.waiting.pop(0).callback(None)
        elif rig.mailboxes.waiting:
            rig.mailboxes.answer_one()
        elif rig.database.pending:
            rig.database.release(1)
        else:
            return said
        said += client.hear()


def test_thousands_of_commands_in_a_row_let_other_sessions_go_first(rig: SmtpRig) -> None:
    client, other = rig.greeted(), rig.greeted()
    client.send(b"NOOP\r\n" * 3000)
    first = client.wire.read()
    assert first == b"250 2.0.0 Ok\r\n" * 20
    assert other.say("NOOP") == ["250 2.0.0 Ok"]
    assert client.say("QUIT") == ["250 2.0.0 Ok"] * 2980 + ["221 2.0.0 Bye"]


def test_a_client_that_leaves_between_two_turns_leaves_nothing(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.send(b"NOOP\r\n" * 300)
    client.lose()
    assert client.hear() == ["250 2.0.0 Ok"] * 20
    assert rig.factory.live == set()


def slow_everywhere(folder: Path) -> SmtpRig:
    folder.mkdir()
    rig = SmtpRig(folder, session={"max_failed_commands": 0})
    rig.slow_down_dns()
    rig.mailboxes.is_slow = True
    rig.mailboxes.usages["fritz@example.org"] = MailboxUsage(1, 1)
    return rig


def test_a_pipeline_with_slow_checks_is_answered_as_in_lock_step(tmp_path: Path) -> None:
    lock_step = slow_everywhere(tmp_path / "lock-step")
    client = lock_step.greeted()
    expected = []
    for line in pipeline(100):
        client.send(line.encode() + b"\r\n")
        expected += answer_all(lock_step, client)
    rig = slow_everywhere(tmp_path / "pipeline")
    client = rig.greeted()
    client.send("".join(f"{line}\r\n" for line in pipeline(100)).encode())
    assert client.hear() == []
    assert len(rig.resolver.waiting) == 1
    assert answer_all(rig, client) == expected
    assert len(expected) == 102
    assert expected[-1].startswith("354")


@pytest.mark.parametrize("seed", range(10))
def test_any_split_of_a_pipeline_and_any_delay_gives_the_same_answers(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    rig = slow_everywhere(tmp_path / "rig")
    client = rig.greeted()
    data = "".join(f"{line}\r\n" for line in pipeline(16)).encode()
    said = []
    while data:
        size = chance.randrange(1, 60)
        client.send(data[:size])
        data = data[size:]
        if chance.random() < 0.3:
            said += answer_all(rig, client)
    said += answer_all(rig, client)
    codes = [line[:3] for line in said]
    assert codes == ["250", *["250", "250", "550", "250", "250", "550", "250", "550"] * 2, "354"]
    rig.database.is_held = True
    client.send(MESSAGE + b"NOOP\r\nQUIT\r\n")
    assert client.hear() == []
    assert [line[:9] for line in answer_all(rig, client)] == ["250 2.0.0", "250 2.0.0", "221 2.0.0"]
    assert rig.envelopes() == ["x@slow.example -> fritz@example.org, anna@example.org, bert@example.org"]


def test_what_a_client_sent_ahead_is_not_carried_out_once_it_has_gone(rig: SmtpRig) -> None:
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.send(SLOW_MAIL + b"RCPT TO:<anna@example.org>\r\nDATA\r\n" + MESSAGE)
    client.lose()
    resolver.waiting.pop().callback(None)
    assert rig.stored == []
    assert rig.rows() == 0
    assert client.connection.visit.transaction is None or client.connection.visit.transaction.content is None


# Back-pressure


def test_a_flood_while_a_check_is_pending_stops_the_reading(rig: SmtpRig) -> None:
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.send(SLOW_MAIL)
    sent = 0
    while client.wire.producerState == "producing":
        client.send(b"NOOP\r\n" * 1000)
        sent += 1000
        assert sent < 100_000
    assert client.connection.session.buffered_octets <= 64 * 1024 + 6000
    assert client.hear() == []
    resolver.waiting.pop().callback(None)
    said = client.hear()
    assert client.wire.producerState == "producing"
    assert said == ["250 2.1.0 Sender ok"] + ["250 2.0.0 Ok"] * sent


def test_a_client_that_does_not_read_is_not_answered_and_soon_not_read_from(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.wire.high_water_octets = 64 * 1024
    sent = 0
    while client.wire.producerState == "producing":
        client.send(b"HELP\r\n" * 1000)
        sent += 1000
        assert sent < 100_000
    unread = len(client.wire.value())  # type: ignore[no-untyped-call]
    assert unread < 300_000
    assert client.connection.session.buffered_octets <= 64 * 1024 + 6000
    said: list[str] = []
    while more := client.hear():
        said += more
    assert said == [str(reply.HELP)] * sent
    assert client.wire.producerState == "producing"


def test_an_answer_that_comes_while_the_client_does_not_read_waits_with_the_rest(rig: SmtpRig) -> None:
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.connection.pauseProducing()
    client.send(SLOW_MAIL)
    assert resolver.waiting == []
    client.connection.resumeProducing()
    client.connection.pauseProducing()
    resolver.waiting.pop().callback(None)
    client.send(b"RSET\r\nNOOP\r\n")
    assert client.hear() == ["250 2.1.0 Sender ok"]
    client.connection.resumeProducing()
    assert client.hear() == ["250 2.0.0 Reset", "250 2.0.0 Ok"]


def test_a_client_that_reads_again_while_a_check_is_pending_hears_nothing_early(rig: SmtpRig) -> None:
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.send(SLOW_MAIL + b"NOOP\r\n")
    client.connection.pauseProducing()
    client.connection.resumeProducing()
    assert client.hear() == []
    resolver.waiting.pop().callback(None)
    assert client.hear() == ["250 2.1.0 Sender ok", "250 2.0.0 Ok"]


def test_the_transport_may_stop_the_producer_when_it_is_gone(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.connection.stopProducing()
    client.lose()
    assert rig.factory.live == set()


# TLS


def test_starttls_starts_tls_behind_its_answer_and_drops_what_came_with_it(tmp_path: Path) -> None:
    rig = SmtpRig(
        tmp_path,
        session={"offers_starttls": True},
        service={"may_send_plain_passwords": lambda client: False},
    )
    client = rig.greeted()
    client.send(b"STARTTLS\r\nMAIL FROM:<injected@stranger.example>\r\n")
    assert client.hear() == ["220 2.0.0 Ready to start TLS"]
    assert client.wire.tls_context is rig.tls
    assert client.say("MAIL FROM:<>") == ["503 5.5.1 Say EHLO or HELO first"]
    said = client.say("EHLO client.example")
    assert "250-STARTTLS" not in said
    assert "250-AUTH PLAIN LOGIN" in said


def test_starttls_forgets_who_logged_in(tmp_path: Path) -> None:
    rig = SmtpRig(tmp_path, session={"offers_starttls": True})
    client = rig.greeted()
    client.say("AUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAc2VjcmV0")
    assert client.connection.visit.account is not None
    client.say("STARTTLS")
    assert client.connection.visit.account is None
    assert client.connection.session.login_name is None


class TlsClient(Protocol):
    """Keeps what it hears; says its lines, one at each answer."""

    transport: Any

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.heard = b""
        self.is_lost = False

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if self.lines:
            self.transport.write(self.lines.pop(0).encode() + b"\r\n")

    def connectionLost(self, reason: object = None) -> None:
        self.is_lost = True


class TcpLike(FakeTransport):
    """A server's connection in memory, with what the listener asks of TCP."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass


def test_with_tls_from_the_first_octet_everything_is_said_inside_it(tmp_path: Path) -> None:
    rig = SmtpRig(tmp_path, session={"offers_starttls": True}, service={"is_tls_at_once": True})
    serving = TLSMemoryBIOFactory(server_tls().creator, False, rig.factory, rig.reactor)
    client = TlsClient(["EHLO x", "MAIL FROM:<>", "RCPT TO:<anna@example.org>", "DATA", "Hello\r\n.", "QUIT"])
    hearing = TLSMemoryBIOFactory(
        ssl.CertificateOptions(verify=False), True, Factory.forProtocol(lambda: client), rig.reactor
    )
    serving.doStart()
    hearing.doStart()
    connect_in_memory(serving.buildProtocol(None), hearing.buildProtocol(None), rig)
    lines = client.heard.decode("ascii").splitlines()
    assert lines[0] == GREETING
    assert "250-STARTTLS" not in lines
    assert lines[-1] == "221 2.0.0 Bye"
    assert b"with ESMTPS (TLSv1.3 " in rig.contents()[0]
    rig.factory.stop_watching()


def connect_in_memory(server: Any, client: Any, rig: SmtpRig) -> None:
    """Carry octets between two protocols until both are still."""
    far = StringTransport()
    address = far.getPeer()
    here: Any = TcpLike(  # type: ignore[no-untyped-call]
        server, isServer=True, hostAddress=address, peerAddress=address
    )
    there: Any = TcpLike(  # type: ignore[no-untyped-call]
        client, isServer=False, hostAddress=address, peerAddress=address
    )
    server.makeConnection(here)
    client.makeConnection(there)
    for _ in range(50):
        rig.reactor.advance(0)  # Twisted gathers what goes into TLS until the reactor's next turn
        for near, other in ((here, client), (there, server)):
            data = near.getOutBuffer()
            if data:
                other.dataReceived(data)
