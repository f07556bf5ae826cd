"""A reactor in memory for a whole server: ports are only noted, time moves by hand, threads are real."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory, IReactorFromThreads
from twisted.internet.testing import MemoryReactorClock, StringTransport
from zope.interface import implementer

from tests.support.results import result_of

_T = TypeVar("_T")
_SILENCE_SECONDS = 0.02
_MOST_SILENCES = 500


class ClientTransport(StringTransport):
    """One client's connection."""

    @property
    def said(self) -> bytes:
        """All that the server has said."""
        return bytes(self.value())  # type: ignore[no-untyped-call]

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is nothing to delay."""


@implementer(IReactorFromThreads)
class ThreadedMemoryReactor(MemoryReactorClock):
    """Calls from threads wait until `until` or `turn` carries them out.

    Attributes:
        busy: TCP ports that somebody else has.
        open_ports: TCP ports that are listened on at this moment.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.busy: set[int] = set()
        self.open_ports: set[int] = set()
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:
        """See `IReactorFromThreads`."""
        self._calls.put(lambda: callable(*args, **kwargs))

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> _MemoryPort:
        """See `IReactorTCP`."""
        if port in self.busy:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        self.tcpServers.append((port, factory, backlog, interface))
        return _MemoryPort(self, port, factory)

    def turn(self, seconds: float = 0.02) -> None:
        """Carry out what threads have asked for, and let a moment pass."""
        while True:
            try:
                self._calls.get_nowait()()
            except Empty:
                break
        self.advance(seconds)

    def until(self, condition: Callable[[], object]) -> None:
        """Go on until something is so; AssertionError when the threads bring no news for long."""
        silence = 0
        while not condition():
            try:
                self._calls.get(timeout=_SILENCE_SECONDS)()
                silence = 0
            except Empty:
                silence += 1
                assert silence < _MOST_SILENCES, "the threads have nothing more to say"
            self.turn()

    def wait_for(self, waiting: Deferred[_T]) -> _T:
        """Go on until there is a result, and give it."""
        finished: list[bool] = []

        def finish(result: Any) -> Any:
            finished.append(True)
            return result

        waiting.addBoth(finish)
        self.until(lambda: finished)
        return result_of(waiting)

    def connect(self, port: int) -> tuple[Any, ClientTransport]:
        """Connect to a port that is listened on: the server's protocol, and the client's view of the transport."""
        factory = next(factory for number, factory, *_ in reversed(self.tcpServers) if number == port)
        protocol: Any = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 40_000))
        peer = IPv4Address("TCP", "127.0.0.1", 40_000)
        transport = ClientTransport(peerAddress=peer)  # type: ignore[no-untyped-call]
        protocol.makeConnection(transport)
        return protocol, transport


class _MemoryPort:
    def __init__(self, reactor: ThreadedMemoryReactor, number: int, factory: Any) -> None:
        self._reactor = reactor
        self._number = number
        self._factory = factory
        reactor.open_ports.add(number)
        factory.doStart()

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "0.0.0.0", self._number)

    def stopListening(self) -> None:
        self._reactor.open_ports.discard(self._number)
        self._factory.doStop()
