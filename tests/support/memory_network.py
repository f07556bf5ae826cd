"""A network without a network: client connections joined to scripted servers in memory.

`MemoryNetwork` is the `connector` of RemoteDelivery; nothing moves before `pump`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.support.wire import ScriptedServer


@attrs.define
class _Handle:
    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        return "TEST"


class MemoryTransport:
    """What a client connection needs of a TCP transport, TLS included."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closing = False
        self.is_aborted = False
        self.has_no_delay = False
        self.producer: Any = None
        self.tls_context: object = None
        self.high_water_octets = 1 << 30

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.has_no_delay = enabled

    def write(self, data: bytes) -> None:
        if self.is_closing:
            return
        self.written.append(data)
        if self.producer is not None and sum(map(len, self.written)) > self.high_water_octets:
            self.producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        assert self.producer is not None
        self.producer = None

    def loseConnection(self) -> None:
        assert self.producer is None, "TLS would never close"
        self.is_closing = True

    def abortConnection(self) -> None:
        self.is_closing = self.is_aborted = True
        self.written.clear()

    def startTLS(self, context: object) -> None:
        self.tls_context = context

    def getHandle(self) -> _Handle:
        return _Handle()


@attrs.define(eq=False)
class Link:
    """One connection of the network."""

    protocol: Any
    transport: MemoryTransport
    server: ScriptedServer
    is_stuck: bool = False
    is_lost: bool = False
    _has_begun_tls: bool = False

    def step(self) -> bool:
        """Move what waits; tell whether anything did."""
        if self.is_lost:
            return False
        if self.transport.tls_context is not None and not self._has_begun_tls:
            return self._begin_tls()
        moved = self._move_to_server()
        data = self.server.data_to_send() if not self.transport.is_closing else b""
        if data:
            self.protocol.dataReceived(data)
        elif self.transport.is_closing or (self.server.is_closed and not moved):
            self.lose()
        return bool(data) or moved or self.is_lost

    def lose(self) -> None:
        """Tell the protocol that the connection is gone."""
        self.is_lost = True
        self.transport.is_closing = True
        reason = ConnectionDone() if not self.transport.is_aborted else ConnectionLost()
        self.protocol.connectionLost(Failure(reason))

    def _begin_tls(self) -> bool:
        self._has_begun_tls = True
        if self.server.tls == "works":
            self.server.tls_started()
            self.protocol.handshakeCompleted()
        elif self.server.tls == "refused certificate":
            self.transport.abortConnection()
            self.protocol.handshakeCompleted()
        elif self.server.tls == "fails":
            self.lose()
        return True

    def _move_to_server(self) -> bool:
        if self.is_stuck or not self.transport.written:
            return False
        data = b"".join(self.transport.written)
        self.transport.written.clear()
        if not self.server.is_closed:
            self.server.receive_data(data)
        if self.transport.producer is not None:
            self.transport.producer.resumeProducing()
        return True


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, connect: Callable[[Any], Deferred[Any]]) -> None:
        self.connect = connect


class MemoryNetwork:
    """Servers by address and port, and the connections made to them.

    Attributes:
        servers: what answers at an address, one for each connection in turn; an exception fails the connect;
            None leaves it hanging.
        links: connections, in the order they were made.
        dialled: addresses and ports, in the order they were tried.
    """

    def __init__(self) -> None:
        self.servers: dict[tuple[str, int], deque[ScriptedServer | Exception | None]] = defaultdict(deque)
        self.links: list[Link] = []
        self.dialled: list[tuple[str, int]] = []
        self.high_water_octets = 1 << 30

    def add(self, address: str, *servers: ScriptedServer | Exception | None, port: int = 25) -> None:
        self.servers[address, port].extend(servers)

    def connector(self, address: str, port: int) -> IStreamClientEndpoint:
        def connect(factory: Any) -> Deferred[Any]:
            self.dialled.append((address, port))
            server = self.servers[address, port].popleft()
            if server is None:
                return Deferred()
            if isinstance(server, Exception):
                return fail(Failure(server))
            protocol = factory.buildProtocol(None)
            transport = MemoryTransport()
            transport.high_water_octets = self.high_water_octets
            protocol.transport = transport
            self.links.append(Link(protocol, transport, server))
            protocol.connectionMade()
            return succeed(protocol)

        return _Endpoint(connect)

    def pump(self) -> None:
        """Move octets until nothing moves any more."""
        is_moving = True
        while is_moving:
            is_moving = False
            for link in self.links:
                is_moving = link.step() or is_moving
