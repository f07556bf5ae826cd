"""The thin reactor runs a real server on the loopback interface, and survives what the stock one survives."""

from __future__ import annotations

import socket
import time
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kms.service.thin_reactor import ThinEPollReactor
from kms.service.wire import close_now, send_now


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        if data == b"fail":
            raise RuntimeError("a fault of ours")
        self.transport.write(data)


class Client(Protocol):
    def __init__(self, words: list[bytes], reactor: Any) -> None:
        self.words = words
        self.reactor = reactor
        self.heard = b""
        self.was_lost = False

    def connectionMade(self) -> None:
        self._say_next()

    def _say_next(self) -> None:
        assert self.transport is not None
        if self.words:
            self.transport.write(self.words.pop(0))
        else:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self._say_next()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.was_lost = True
        self.reactor.callLater(0, self.reactor.stop)


def talk(words: list[bytes]) -> Client:
    reactor: Any = ThinEPollReactor()  # type: ignore[no-untyped-call]
    client = Client(words, reactor)

    def connect(port: Any) -> None:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        endpoint.connect(Factory.forProtocol(lambda: client))

    TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory.forProtocol(Echo)).addCallback(
        connect
    )
    reactor.callLater(20, reactor.stop)
    reactor.run(installSignalHandlers=False)
    reactor.removeAll()
    return client


@implementer(IHalfCloseableProtocol)
class LateAnswer(Protocol):
    """Answers half a second after its client's last word."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.ends = 0
        self.cpu_seconds = 0.0
        self.was_lost = False

    def dataReceived(self, data: bytes) -> None:
        self.data = data

    def readConnectionLost(self) -> None:
        self.ends += 1
        self.reactor.callLater(0.5, self._answer, time.process_time())

    def writeConnectionLost(self) -> None:
        raise AssertionError("we have not closed our side")

    def _answer(self, begun: float) -> None:
        self.cpu_seconds = time.process_time() - begun
        send_now(self.transport, self.data)
        close_now(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.was_lost = True


def say_all_and_listen(is_gone: bool = False) -> tuple[LateAnswer, bytes]:
    """Talk to a late answerer from a plain socket: say a word and end the input; or close altogether."""
    reactor: Any = ThinEPollReactor()  # type: ignore[no-untyped-call]
    server = LateAnswer(reactor)
    port = reactor.listenTCP(0, Factory.forProtocol(lambda: server), interface="127.0.0.1")
    client = socket.create_connection(("127.0.0.1", port.getHost().port))
    client.sendall(b"word")
    client.shutdown(socket.SHUT_WR)
    if is_gone:
        client.close()
    reactor.callLater(1, reactor.stop)
    reactor.run(installSignalHandlers=False)
    reactor.removeAll()
    with client:
        return server, b"" if is_gone else client.recv(100) + client.recv(100)


class ThinReactorTests(SynchronousTestCase):
    def test_octets_come_back_and_the_close_is_seen(self) -> None:
        client = talk([b"one", b"two" * 50_000])
        assert client.heard.startswith(b"one")
        assert client.was_lost

    def test_an_exception_in_a_protocol_is_logged_and_ends_that_connection_only(self) -> None:
        client = talk([b"fail"])
        assert client.was_lost
        assert client.heard == b""
        assert len(self.flushLoggedErrors(RuntimeError)) == 1  # type: ignore[no-untyped-call]

    def test_a_client_that_has_ended_its_input_is_answered_and_costs_nothing_meanwhile(self) -> None:
        server, heard = say_all_and_listen()
        assert heard == b"word"
        assert server.ends == 1
        assert server.was_lost
        assert server.cpu_seconds < 0.1

    def test_a_client_that_has_closed_altogether_is_lost_when_it_is_answered(self) -> None:
        server, _ = say_all_and_listen(is_gone=True)
        assert server.ends == 1
        assert server.was_lost

    def test_timers_count_by_the_monotonic_clock(self) -> None:
        reactor = ThinEPollReactor()  # type: ignore[no-untyped-call]
        before = time.monotonic()  # noqa: TID251
        assert before <= reactor.seconds() <= before + 60
        assert reactor.callLater(5, int).getTime() < before + 65
        reactor.removeAll()  # type: ignore[no-untyped-call]
