from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from kms.protocol.pop3_events import Pop3ServerSettings
from kms.service.client_ledger import ClientLedger
from kms.service.clock import ClockOf
from kms.service.pop3_connection import Pop3Connection
from kms.service.pop3_gate import Pop3Gate, TurnedAway
from kms.service.pop3_listener import Pop3Factory
from kms.service.security_log import SecurityLog
from tests.support.synchronous_database import SynchronousDatabase

HOME, AWAY, OFFICE = "203.0.113.9", "198.51.100.7", "192.0.2.7"


class Wire(StringTransportWithDisconnection):
    """One client's connection."""

    def __init__(self, protocol: Any, client: str) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", client, 4711))  # type: ignore[no-untyped-call]
        self.protocol = protocol
        protocol.makeConnection(self)

    @property
    def heard(self) -> bytes:
        return bytes(self.value())  # type: ignore[no-untyped-call]


class Rig:
    def __init__(self, folder: Path) -> None:
        self.reactor = Clock()
        clock = ClockOf(self.reactor)
        self.path = folder / "security.log"
        self.log = SecurityLog(str(self.path), clock)
        self.log.lines.open()
        self.ledger = ClientLedger(SynchronousDatabase(), clock, self.log)
        self.gate = Pop3Gate(2, lambda client: client == ip_address(OFFICE), self.ledger, self.log)
        unused: Any = None
        self.ports = [
            Pop3Factory(
                portal=unused,
                tls=None,
                settings=Pop3ServerSettings("mail.example.org"),
                may_send_plain_passwords=lambda client: True,
                log=unused,
                clock=clock,
                gate=self.gate,
            )
            for _ in range(2)
        ]

    def connect(self, client: str = HOME, port: int = 0) -> Wire:
        protocol = self.ports[port].buildProtocol(IPv4Address("TCP", client, 4711))
        assert isinstance(protocol, Pop3Connection | TurnedAway)
        return Wire(protocol, client)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_one_too_many_is_told_so_and_closed_and_others_are_untouched(rig: Rig) -> None:
    first, second = rig.connect(port=0), rig.connect(port=1)
    third = rig.connect()
    assert third.heard == b"-ERR [SYS/TEMP] Too many connections from your address, try again later\r\n"
    assert not third.connected
    assert first.connected
    assert second.connected
    assert rig.connect(AWAY).heard.startswith(b"+OK")
    rig.log.lines.flush()
    assert rig.path.read_text().endswith(
        "POP3 connection from 203.0.113.9 rejected: more than 2 connections at one time\n"
    )


def test_a_connection_that_ends_makes_room(rig: Rig) -> None:
    first, _ = rig.connect(), rig.connect()
    first.loseConnection()  # type: ignore[no-untyped-call]
    assert rig.connect().heard.startswith(b"+OK")
    assert rig.ledger.pop3_connections.count(HOME) == 2


def test_smtp_connections_do_not_count(rig: Rig) -> None:
    for _ in range(5):
        rig.ledger.connections.add(HOME)
    assert rig.connect().heard.startswith(b"+OK")


def test_the_exempt_group_and_a_limit_of_0_are_no_limit(rig: Rig) -> None:
    assert all(rig.connect(OFFICE).heard.startswith(b"+OK") for _ in range(5))
    rig.gate.limit = 0
    assert all(rig.connect().heard.startswith(b"+OK") for _ in range(5))


def test_who_does_not_go_is_cut(rig: Rig) -> None:
    class Stubborn(Wire):
        is_cut = False

        def loseConnection(self) -> None:
            pass

        def abortConnection(self) -> None:
            self.is_cut = True

    rig.gate.limit = 1
    rig.connect()
    protocol = rig.ports[0].buildProtocol(IPv4Address("TCP", HOME, 4711))
    wire = Stubborn(protocol, HOME)
    rig.reactor.advance(10)
    assert wire.is_cut
    connection: Any = protocol
    connection.connectionLost()
