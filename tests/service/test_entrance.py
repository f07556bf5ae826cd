"""Who gets in at a port, with the real SMTP side behind it, and whom it takes the client for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from kms.domain.address_group import ClientAddress, build_groups
from kms.policy.limits import ClientLimits
from kms.service.entrance import Entrance, EntranceRules
from tests.support.smtp_rig import MEMBER, STRANGER, SmtpRig

PROXY = "10.0.0.5"
OTHER = "198.51.100.9"
GROUPS = build_groups({"proxies": [PROXY], "customers": ["203.0.113.0/24", "2001:db8::/32"]})
PROXIES, CUSTOMERS = GROUPS["proxies"], GROUPS["customers"]
GREETING = b"220 mail.example.org ESMTP ready\r\n"
HEADER = b"PROXY TCP4 203.0.113.9 192.168.1.1 40000 25\r\n"


@attrs.define
class Log:
    lines: list[str] = attrs.field(factory=list)

    def access_denied(self, client: ClientAddress) -> None:
        self.lines.append(f"denied {client}")

    def proxy_refused(self, proxy: ClientAddress, reason: str) -> None:
        self.lines.append(f"{proxy}: {reason}")


class Wire(StringTransport):
    """A TCP connection: what comes goes to whoever is its protocol at that moment, as with the real one."""

    def __init__(self, peer: Any) -> None:
        super().__init__(peerAddress=peer)  # type: ignore[no-untyped-call]
        self.protocol: Any = None

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def said(self) -> bytes:
        return bytes(self.value())  # type: ignore[no-untyped-call]

    def abortConnection(self) -> None:
        self.loseConnection()  # type: ignore[no-untyped-call]

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Door:
    """An entrance with an SMTP side behind it."""

    def __init__(self, rig: SmtpRig, **rules: Any) -> None:
        self.rig = rig
        self.log = Log()
        self.entrance = Entrance(rig.factory, EntranceRules(**rules), self.log, rig.clock)

    def connect(self, client: str = PROXY) -> Wire | None:
        """Connect; None where the port closes at once."""
        kind = IPv6Address if ":" in client else IPv4Address
        peer = kind("TCP", client, 40_000)
        protocol = self.entrance.buildProtocol(peer)
        if protocol is None:
            return None
        wire = Wire(peer)
        wire.protocol = protocol
        protocol.makeConnection(wire)
        return wire

    def knock(self) -> Wire:
        wire = self.connect()
        assert wire is not None
        return wire


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SmtpRig]:
    rig = SmtpRig(tmp_path)
    yield rig
    rig.advance(1)
    assert rig.reactor.getDelayedCalls() == []


@pytest.fixture
def door(rig: SmtpRig) -> Door:
    return Door(rig, proxies=PROXIES)


# The access group


def test_without_rules_everyone_comes_in(rig: SmtpRig) -> None:
    wire = Door(rig).connect(STRANGER)
    assert wire is not None
    assert wire.said() == GREETING


@pytest.mark.parametrize("client", ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8::1"])
def test_a_member_of_the_access_group_comes_in(rig: SmtpRig, client: str) -> None:
    door = Door(rig, access=CUSTOMERS)
    assert door.connect(client) is not None
    assert door.log.lines == []


def test_anyone_else_is_closed_without_a_word_and_logged(rig: SmtpRig) -> None:
    door = Door(rig, access=CUSTOMERS)
    assert door.connect(MEMBER) is None
    assert door.log.lines == [f"denied {MEMBER}"]
    assert rig.mail_lines() == []


def test_changed_rules_count_from_the_next_connection_on(rig: SmtpRig) -> None:
    door = Door(rig)
    wire = door.connect(MEMBER)
    assert wire is not None
    door.entrance.use(EntranceRules(access=CUSTOMERS))
    assert door.connect(MEMBER) is None
    wire.send(b"NOOP\r\n")
    assert wire.said().endswith(b"250 2.0.0 Ok\r\n")


def test_a_unix_socket_has_no_address_to_be_judged(rig: SmtpRig) -> None:
    door = Door(rig, access=CUSTOMERS, proxies=PROXIES)
    assert door.entrance.buildProtocol(UNIXAddress(b"lmtp.sock")) is not None


# The proxy's header


def test_nothing_is_said_before_the_header(door: Door) -> None:
    wire = door.knock()
    assert wire.said() == b""
    wire.send(HEADER)
    assert wire.said() == GREETING


def test_a_header_may_come_in_single_octets_and_the_rest_with_its_end(door: Door) -> None:
    wire = door.knock()
    for octet in HEADER[:-1]:
        wire.send(bytes([octet]))
    assert wire.said() == b""
    wire.send(HEADER[-1:] + b"NOOP\r\nQUIT\r\n")
    assert wire.said() == GREETING + b"250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n"


def test_the_client_of_everything_that_follows_is_the_headers(door: Door) -> None:
    wire = door.knock()
    wire.send(HEADER)
    assert str(wire.protocol.visit.client) == "203.0.113.9"
    assert "connect from unknown[203.0.113.9]" in door.rig.mail_lines()[0]


@pytest.mark.parametrize(
    ("client", "reply"), [(MEMBER, b"250 2.1.5"), (STRANGER, b"550 5.7.1")], ids=["member", "stranger"]
)
def test_the_relay_group_is_asked_about_the_headers_address(rig: SmtpRig, client: str, reply: bytes) -> None:
    groups = build_groups({"proxies": [PROXY, "192.0.2.0/24"]})
    door = Door(rig, proxies=groups["proxies"])
    wire = door.connect("192.0.2.200")  # the proxy itself is in the relay group
    assert wire is not None
    wire.send(f"PROXY TCP4 {client} 192.168.1.1 40000 25\r\n".encode())
    wire.send(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<x@elsewhere.example>\r\n")
    assert wire.said().split(b"\r\n")[-2].startswith(reply)


def test_a_local_or_unknown_header_means_the_connections_own_address(door: Door) -> None:
    wire = door.knock()
    wire.send(b"PROXY UNKNOWN\r\n")
    assert str(wire.protocol.visit.client) == PROXY


def test_an_ipv6_client_may_come_through_an_ipv4_proxy(door: Door) -> None:
    wire = door.knock()
    wire.send(b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n")
    assert str(wire.protocol.visit.client) == "2001:db8::7"


def test_who_is_no_proxy_gains_nothing_by_a_header(door: Door) -> None:
    wire = door.connect(STRANGER)
    assert wire is not None
    wire.send(b"PROXY TCP4 192.0.2.7 192.168.1.1 40000 25\r\n")
    assert wire.said().startswith(GREETING + b"500 5.5.")
    assert str(wire.protocol.visit.client) == STRANGER


def test_a_second_header_is_a_command_that_nobody_knows(door: Door) -> None:
    wire = door.knock()
    wire.send(HEADER + b"PROXY TCP4 192.0.2.7 192.168.1.1 40000 25\r\n")
    assert wire.said().startswith(GREETING + b"500 5.5.")
    assert str(wire.protocol.visit.client) == "203.0.113.9"


def test_the_access_group_is_asked_about_the_headers_address(rig: SmtpRig) -> None:
    door = Door(rig, access=CUSTOMERS, proxies=PROXIES)
    good, bad = door.knock(), door.knock()
    good.send(HEADER)
    assert good.said() == GREETING
    bad.send(b"PROXY TCP4 192.0.2.7 192.168.1.1 40000 25\r\n")
    assert bad.said() == b""
    assert bad.disconnecting
    assert door.log.lines == ["denied 192.0.2.7"]


# Proxies that do wrong


def test_a_proxy_without_a_header_is_closed_and_logged(door: Door) -> None:
    wire = door.knock()
    wire.send(b"EHLO client.example\r\n")
    assert wire.disconnecting
    assert wire.said() == b""
    assert door.log.lines == [f"{PROXY}: no PROXY header"]
    wire.send(HEADER)
    wire.lose()
    assert wire.said() == b""
    assert len(door.log.lines) == 1


def test_a_silent_proxy_is_closed_after_five_seconds(door: Door) -> None:
    wire = door.knock()
    wire.send(HEADER[:20])
    door.rig.advance(4)
    assert not wire.disconnecting
    door.rig.advance(1)
    assert wire.disconnecting
    assert door.log.lines == [f"{PROXY}: no whole header within 5 s"]
    wire.lose()
    assert not door.entrance.waiting


def test_a_header_in_time_ends_the_deadline(door: Door) -> None:
    wire = door.knock()
    wire.send(HEADER)
    door.rig.advance(60)
    assert not wire.disconnecting


def test_a_look_whether_we_are_there_costs_no_line(door: Door) -> None:
    door.knock().lose()
    assert door.log.lines == []
    assert not door.entrance.waiting


def test_a_header_that_is_cut_short_costs_one(door: Door) -> None:
    wire = door.knock()
    wire.send(b"PROXY TCP4")
    wire.lose()
    assert door.log.lines == [f"{PROXY}: the header is cut short"]


def test_a_port_that_closes_closes_those_that_wait(door: Door) -> None:
    door.entrance.doStart()
    waiting, served = door.knock(), door.knock()
    served.send(HEADER)
    door.entrance.doStop()
    assert waiting.disconnecting
    assert not served.disconnecting
    door.rig.factory.stop_watching()


# Who is not even connected


def test_a_client_with_too_many_connections_is_turned_away(rig: SmtpRig) -> None:
    rig.clients.limits = ClientLimits(0, 1, 0)
    rig.greeted(STRANGER)
    entrance = Door(rig).entrance
    assert entrance.is_suspect(STRANGER)
    assert entrance.turn_away(STRANGER).startswith(b"421 4.7.0 Too many connections")
    assert not entrance.is_suspect(MEMBER)


def test_neither_a_proxy_nor_who_has_no_access_is_turned_away(rig: SmtpRig) -> None:
    rig.clients.limits = ClientLimits(0, 1, 0)
    for client in (STRANGER, OTHER, PROXY):
        rig.greeted(client)
    for entrance, suspects in (
        (Door(rig).entrance, {STRANGER, OTHER, PROXY}),
        (Door(rig, access=CUSTOMERS).entrance, {STRANGER}),
        (Door(rig, proxies=PROXIES).entrance, {STRANGER, OTHER}),
    ):
        assert {client for client in (STRANGER, OTHER, PROXY) if entrance.is_suspect(client)} == suspects


def test_while_the_server_goes_down_nobody_is_a_suspect(rig: SmtpRig) -> None:
    rig.clients.limits = ClientLimits(0, 1, 0)
    rig.greeted(STRANGER)
    rig.factory.is_draining = True
    assert not Door(rig).entrance.is_suspect(STRANGER)


def test_a_suspect_whose_other_connection_has_ended_is_let_in(rig: SmtpRig) -> None:
    rig.clients.limits = ClientLimits(0, 1, 0)
    rig.greeted(STRANGER).lose()
    assert Door(rig).entrance.turn_away(STRANGER) == b""


def test_a_service_that_refuses_nobody_so_suspects_nobody(rig: SmtpRig) -> None:
    entrance = Entrance(Factory(), EntranceRules(), Log(), rig.clock)
    assert not entrance.is_suspect(STRANGER)
