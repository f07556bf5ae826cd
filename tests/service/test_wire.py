"""Direct sending against `transport.write`, on real sockets: the client gets the same octets in the same order."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet import reactor as running_reactor  # noqa: TID251 - real sockets need a real one
from twisted.internet import ssl
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from kms.service.wire import close_now, send_now
from tests.support.certificates import server_tls

reactor: Any = running_reactor
Send = Callable[[Any, bytes], None]
Script = Iterator[tuple[Send, bytes] | None]


def write(transport: Any, data: bytes) -> None:
    transport.write(data)


class Speaker(Protocol):
    """The server: says a script, a part at each turn of the reactor, and closes."""

    transport: Any

    def __init__(self, script: Script, starts_tls: object) -> None:
        self.script = script
        self.starts_tls = starts_tls
        self.closed: Deferred[Any] = Deferred()
        self.handles: list[str] = []

    def connectionMade(self) -> None:
        if self.starts_tls is not None:
            send_now(self.transport, b"+")
            self.transport.startTLS(self.starts_tls)
        self.go_on()

    def go_on(self) -> None:
        for part in self.script:
            if part is None:
                reactor.callLater(0, self.go_on)
                return
            send, data = part
            send(self.transport, data)
        close_now(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)


class Listener(Protocol):
    """The client: keeps what it hears; a slow one waits before it reads, and reads in small bites."""

    transport: Any

    def __init__(self, is_slow: bool, tls: object) -> None:
        self.heard: list[bytes] = []
        self.done: Deferred[Any] = Deferred()
        self.is_slow = is_slow
        self.tls = tls

    def connectionMade(self) -> None:
        if self.is_slow:
            self.transport.bufferSize = 50_000
            self.rest()

    def rest(self) -> None:
        self.transport.pauseProducing()
        reactor.callLater(0.001, self.transport.resumeProducing)

    def dataReceived(self, data: bytes) -> None:
        if self.tls is not None:
            assert data == b"+"
            tls, self.tls = self.tls, None
            self.transport.startTLS(tls)
            return
        self.heard.append(data)
        if self.is_slow:
            self.rest()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(b"".join(self.heard))


class WireTests(TestCase):
    """Each test has its own port on the loopback address."""

    def run_script(
        self,
        script: list[tuple[Send, bytes] | None],
        is_slow: bool = False,
        starttls: bool = False,
        is_tls_at_once: bool = False,
    ) -> Deferred[Any]:
        """Let a client hear the script; fires with what it heard."""
        server_side: Any = server_tls().creator if starttls or is_tls_at_once else None
        client_side = ssl.CertificateOptions(verify=False)
        speaker = Speaker(iter(script), server_side if starttls else None)
        listener = Listener(is_slow, client_side if starttls else None)
        serving: Any = Factory.forProtocol(lambda: speaker)
        hearing: Any = Factory.forProtocol(lambda: listener)
        for factory in (serving, hearing):
            factory.noisy = False
            factory.doStart = factory.doStop = lambda: None
        if is_tls_at_once:
            serving = TLSMemoryBIOFactory(server_side, False, serving)
            hearing = TLSMemoryBIOFactory(client_side, True, hearing)
        hearing.startedConnecting = lambda connector: None
        hearing.clientConnectionLost = lambda connector, reason: None
        port = reactor.listenTCP(0, serving, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        reactor.connectTCP("127.0.0.1", port.getHost().port, hearing)
        both: Deferred[list[Any]] = gatherResults([listener.done, speaker.closed])
        return both.addCallback(lambda results: results[0])

    async def compare(self, parts: list[bytes | None], **how: Any) -> None:
        """Hear the same parts directly, written, and mixed."""
        expected = b"".join(part for part in parts if part is not None)
        mixed = itertools.cycle((send_now, write, send_now, send_now, write))
        for ways in (itertools.repeat(send_now), itertools.repeat(write), mixed):
            script: list[tuple[Send, bytes] | None] = [
                None if part is None else (next(ways), part) for part in parts
            ]
            heard = await self.run_script(script, **how)
            assert len(heard) == len(expected)
            assert (heard == expected) is True  # without printing megabytes where it fails

    def small_parts(self) -> list[bytes | None]:
        return [b"220 hello\r\n", None, b"250 one\r\n", b"250 two\r\n", None, b"", b"221 bye\r\n"]

    def large_parts(self) -> list[bytes | None]:
        chance = random.Random(7)
        sizes = [1, 70_000, 3, 131_072, 131_073, 400_000, 5, 2_000_000, 1, 1]
        parts: list[bytes | None] = []
        for size in sizes:
            parts += [chance.randbytes(size), *([None] if chance.random() < 0.5 else [])]
        return parts

    async def test_small_replies_are_the_same_octets(self) -> None:
        await self.compare(self.small_parts())

    async def test_large_data_is_the_same_octets(self) -> None:
        await self.compare(self.large_parts())

    async def test_large_data_to_a_slow_reader_is_the_same_octets(self) -> None:
        await self.compare(self.large_parts(), is_slow=True)

    async def test_inside_starttls_it_is_the_same_octets(self) -> None:
        await self.compare(self.small_parts(), starttls=True)

    async def test_on_a_port_with_tls_from_the_first_octet_nothing_goes_past_the_encryption(self) -> None:
        await self.compare(self.small_parts(), is_tls_at_once=True)

    async def test_many_parts_at_random_are_the_same_octets(self) -> None:
        chance = random.Random(25)
        parts: list[bytes | None] = []
        for _ in range(400):
            parts.append(chance.randbytes(chance.choice((0, 1, 30, 500, 40_000))))
            if chance.random() < 0.3:
                parts.append(None)
        await self.compare(parts)

    async def test_a_connection_whose_client_has_gone_is_found_lost(self) -> None:
        """No error is raised where a write fails; the reactor tells of the loss."""

        def send_into_nothing(transport: Any, data: bytes) -> None:
            transport.socket.shutdown(1)  # from now on every send fails
            send_now(transport, data)

        heard = await self.run_script(
            [(send_now, b"one"), (send_into_nothing, b"two"), None, (send_now, b"three")]
        )
        assert heard == b"one"

    def test_after_the_end_nothing_is_sent(self) -> None:
        """Neither while the connection closes, nor when it is gone."""

        class Closed(Connection):
            def __init__(self, is_connected: bool) -> None:
                self.connected = is_connected
                self.disconnecting = is_connected
                self._tempDataBuffer = []
                self.written: list[bytes] = []

            def write(self, bytes: bytes) -> None:
                self.written.append(bytes)

        for closed in (Closed(True), Closed(False)):
            send_now(closed, b"late")
            assert closed.written == [b"late"]

    async def test_a_connection_is_closed_at_once_where_nothing_waits(self) -> None:
        """Not in the reactor's next turn: the protocol knows of it when the call returns."""
        was_lost: list[bool] = []

        def say_and_close(transport: Any, data: bytes) -> None:
            send_now(transport, data)
            close_now(transport)
            was_lost.append(not transport.connected)

        assert await self.run_script([(say_and_close, b"221 bye\r\n")]) == b"221 bye\r\n"
        assert was_lost == [True]

    def test_what_is_no_tcp_connection_is_written_to(self) -> None:
        transport = StringTransport()
        send_now(transport, b"octets")
        assert transport.value() == b"octets"
