"""Carries dnspython's queries over the reactor: the sockets and timers that it asks for.

No threads and no asyncio. Each query has a socket of its own, so the kernel chooses a fresh port for it; UDP
sockets are connected, so it also drops what comes from elsewhere and tells when nobody listens. One backend
serves one lookup and holds its deadline, on the reactor's clock: dnspython's own runs on the wall clock.

Flow: service/dns.py gives one to `dns.asyncresolver.Resolver.resolve`.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import dns.exception
from dns._asyncbackend import Backend, DatagramSocket, StreamSocket
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IAddress, IConnector, IReadDescriptor
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

MAX_PACKET_OCTETS = 65535
_MAX_WAITING_PACKETS = 16
_MAX_STREAM_OCTETS = 4 * MAX_PACKET_OCTETS

_Result = TypeVar("_Result")

NetworkReactor = Any
"""A reactor with IReactorTime, IReactorFDSet and IReactorTCP; mypy knows no word for all three in one."""


class TwistedBackend(Backend):
    """The reactor, as dnspython wants it, for one lookup.

    Args:
        reactor: opens the sockets and runs the timers.
        timeout: seconds from now, after which nothing is sent or waited for any more.
        open_socket: makes a socket of a family and a type.
    """

    def __init__(
        self,
        reactor: NetworkReactor,
        timeout: float,
        open_socket: Callable[[int, int], socket.socket] = socket.socket,
    ) -> None:
        self.reactor = reactor
        self._open_socket = open_socket
        self._timeout = timeout
        self._deadline = reactor.seconds() + timeout

    def name(self) -> str:
        """Name the backend, in dnspython's terms."""
        return "twisted"

    def datagram_connection_required(self) -> bool:
        """Say that UDP sockets get their destination with the packet."""
        return False

    async def sleep(self, interval: float) -> None:
        """Wait between two rounds of the servers.

        Raises:
            dns.exception.Timeout: the lookup's time is over.
        """
        remaining = self.remaining()
        if remaining <= 0:
            raise _make_timeout(self._timeout)
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(min(interval, remaining), waiting.callback, None)
        await waiting

    async def make_socket(
        self,
        af: int,
        socktype: int,
        proto: int = 0,
        source: Any = None,
        destination: Any = None,
        timeout: float | None = None,
        ssl_context: Any = None,
        server_hostname: str | None = None,
    ) -> Any:
        """Open a socket.

        Raises:
            OSError: it cannot be opened, or the lookup's time is over; dnspython then drops the server.
        """
        if self.remaining() <= 0:
            raise OSError("no time left")
        if socktype == socket.SOCK_DGRAM:
            return self._open_datagram_socket(af)
        return await self._connect(af, destination, self.limit(timeout))

    def _open_datagram_socket(self, af: int) -> _DatagramSocket:
        connection = self._open_socket(af, socket.SOCK_DGRAM)
        connection.setblocking(False)
        return _DatagramSocket(self, af, connection)

    async def _connect(self, af: int, destination: tuple[str, int], timeout: float) -> _StreamSocket:
        factory = _StreamFactory()
        self.reactor.connectTCP(*destination, factory, timeout)
        return _StreamSocket(self, af, await factory.connected)

    async def wait_for(self, awaitable: Awaitable[_Result], timeout: float | None) -> _Result:
        """Await something of dnspython's own; it waits on sockets only, which have their timeouts."""
        return await awaitable

    def remaining(self) -> float:
        """Tell how many seconds the lookup has left."""
        return float(self._deadline - self.reactor.seconds())

    def limit(self, timeout: float | None) -> float:
        """Cut a timeout to what the lookup has left."""
        remaining = max(self.remaining(), 0.0)
        return remaining if timeout is None else min(timeout, remaining)

    async def within(self, waiting: Deferred[_Result], timeout: float | None) -> _Result:
        """Await `waiting`, but not longer than `timeout`.

        Raises:
            dns.exception.Timeout: it took longer.
        """
        limit = self.limit(timeout)
        if not waiting.called:
            waiting.addTimeout(limit, self.reactor)
        try:
            return await waiting
        except TimeoutError as error:
            raise _make_timeout(limit) from error


def _make_timeout(seconds: float) -> Exception:
    make: Any = dns.exception.Timeout
    timeout: Exception = make(timeout=seconds)
    return timeout


@implementer(IReadDescriptor)
class _DatagramSocket(DatagramSocket):
    """A UDP socket, for one question to one server.

    Not Twisted's own port: that writes two lines to the log for each question, and does not tell when nobody
    listens at the other end.
    """

    def __init__(self, backend: TwistedBackend, family: int, connection: socket.socket) -> None:
        super().__init__(family, socket.SOCK_DGRAM)
        self._backend = backend
        self._socket = connection
        self._destination: Any = None
        self._arrived: deque[bytes | OSError] = deque(maxlen=_MAX_WAITING_PACKETS)
        self._reader: Deferred[None] | None = None

    async def sendto(self, what: bytes, destination: Any, timeout: float | None) -> int:
        self._socket.connect(destination)
        self._destination = destination
        self._backend.reactor.addReader(self)
        return self._socket.send(what)

    async def recvfrom(self, size: int, timeout: float | None) -> tuple[bytes, Any]:
        if not self._arrived:
            self._reader = Deferred()
            await self._backend.within(self._reader, timeout)
        item = self._arrived.popleft()
        if isinstance(item, OSError):
            raise item
        return item[:size], self._destination

    async def close(self) -> None:
        if self._destination is not None:
            self._backend.reactor.removeReader(self)
        self._socket.close()

    def fileno(self) -> int:
        """See `IReadDescriptor`."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See `IReadDescriptor`."""
        return "dns"

    def doRead(self) -> None:
        """Take the packet that is there; the reactor calls again for the next."""
        try:
            self._arrive(self._socket.recv(MAX_PACKET_OCTETS))
        except BlockingIOError:
            pass
        except OSError as error:
            self._arrive(error)

    def connectionLost(self, reason: Failure) -> None:
        """Note an error of the socket, which is how the reactor tells that nobody listens there."""
        self._arrive(OSError(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "no answer"))

    def _arrive(self, item: bytes | OSError) -> None:
        self._arrived.append(item)
        reader, self._reader = self._reader, None
        if reader is not None and not reader.called:
            reader.callback(None)


class _StreamFactory(ClientFactory):
    """Makes one connection and says nothing about it in the log."""

    noisy = False

    def __init__(self) -> None:
        self.connected: Deferred[_Stream] = Deferred()

    def buildProtocol(self, addr: IAddress | None) -> _Stream:
        return _Stream(self.connected)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self.connected.errback(OSError(reason.getErrorMessage()))


class _Stream(Protocol):
    """Keeps the octets that have come until they are asked for."""

    def __init__(self, connected: Deferred[_Stream]) -> None:
        self._connected = connected
        self._arrived = bytearray()
        self._is_at_end = False
        self._reader: Deferred[None] | None = None
        self._when_lost: list[Deferred[None]] = []

    def connectionMade(self) -> None:
        self._connected.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self._arrived += data
        if len(self._arrived) > _MAX_STREAM_OCTETS:
            self._abort()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_at_end = True
        self._wake()
        waiting, self._when_lost = self._when_lost, []
        for lost in waiting:
            lost.callback(None)

    def wait(self) -> Deferred[None]:
        """Fire when something is there to take, or the end has come."""
        if self._arrived or self._is_at_end:
            return succeed(None)
        self._reader = Deferred()
        return self._reader

    def take(self, size: int) -> bytes:
        """Give at most `size` octets; none at the end."""
        taken = bytes(self._arrived[:size])
        del self._arrived[:size]
        return taken

    def shut(self) -> Deferred[None]:
        """Close at once; fire when it is closed."""
        if self._is_at_end:
            return succeed(None)
        lost: Deferred[None] = Deferred()
        self._when_lost.append(lost)
        self._abort()
        return lost

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.called:
            reader.callback(None)


class _StreamSocket(StreamSocket):
    """A TCP connection, for an answer too long for UDP."""

    def __init__(self, backend: TwistedBackend, family: int, stream: _Stream) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._backend = backend
        self._stream = stream

    async def sendall(self, what: bytes, timeout: float | None) -> None:
        transport: Any = self._stream.transport
        transport.write(what)

    async def recv(self, size: int, timeout: float | None) -> bytes:
        await self._backend.within(self._stream.wait(), timeout)
        return self._stream.take(size)

    async def close(self) -> None:
        await self._stream.shut()
