"""The way in to one port: who may connect at all, and whose connection it is when a proxy brings it.

A client outside the port's access group is closed at once, without a word to it. A member of the proxies' group
must begin with a PROXY header (protocol/proxy_header.py), before TLS too: only then the connection's own protocol is
made, and it sees the client's address as if there were no proxy. Whoever else sends one has it read as a command.

Flow: listening.py listens with an entrance; behind it is the factory of the port, or TLS around that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import Protocol as Interface

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from kms.domain.address_group import AddressGroup, ClientAddress, parse_client_address
from kms.protocol.proxy_header import ProxyHeader, ProxyHeaderError, read_proxy_header
from kms.service.clock import Clock

_LOOPBACK = parse_client_address("127.0.0.1")
_HEADER_SECONDS = 5.0  # a proxy sends it at once; this leaves time for a lost packet or two


def address_of(place: object) -> ClientAddress | None:
    """Give the IP address of one end of a connection; None for a Unix socket."""
    host = getattr(place, "host", None)
    return None if host is None else parse_client_address(host)


def client_of(transport: Any) -> ClientAddress:
    """Say who is connected; the client of a Unix socket is on this machine."""
    return address_of(transport.getPeer()) or _LOOPBACK


def server_address_of(transport: Any) -> ClientAddress | None:
    """Say which address of ours the client has connected to."""
    return address_of(transport.getHost())


@attrs.frozen
class EntranceRules:
    """Who may come in, and how.

    Attributes:
        access: who may connect; None lets everyone.
        proxies: whose connections begin with a PROXY header.
    """

    access: AddressGroup | None = None
    proxies: AddressGroup | None = None


class EntranceLog(Interface):
    """Where it is written who was not let in."""

    def access_denied(self, client: ClientAddress) -> None:
        """The client is not in the access group."""
        ...

    def proxy_refused(self, proxy: ClientAddress, reason: str) -> None:
        """A proxy sent no header, or a wrong one."""
        ...


class Entrance(Factory):
    """The way in to one port.

    Args:
        factory: makes the protocol behind it.
        rules: may be replaced; those who are in stay.
        log: is told of who does not get in.
        clock: for the header's deadline.
    """

    noisy = False

    def __init__(
        self, factory: IProtocolFactory, rules: EntranceRules, log: EntranceLog, clock: Clock
    ) -> None:
        self.factory = factory
        self.log = log
        self.clock = clock
        self.waiting: set[ProxiedConnection] = set()
        self.use(rules)

    def use(self, rules: EntranceRules) -> None:
        """Take changed rules."""
        self._rules = rules
        self._is_open = rules == EntranceRules()

    def doStart(self) -> None:
        """A port is opened."""
        self.factory.doStart()

    def doStop(self) -> None:
        """A port is closed: who has not said yet whose connection it is will not be served."""
        for connection in tuple(self.waiting):
            connection.close()
        self.factory.doStop()

    def buildProtocol(self, addr: IAddress) -> Any:  # type: ignore[override]
        """Make a connection; None closes it at once."""
        if self._is_open:
            return self.factory.buildProtocol(addr)
        client = address_of(addr)
        if client is None:  # a Unix socket: whoever may open it may come in
            return self.factory.buildProtocol(addr)
        if self._is_proxy(client):
            return ProxiedConnection(self, client)
        return self.admit(client, addr)

    def is_suspect(self, host: str) -> bool:
        """Say whether a client may hear `turn_away`: a quick look at its address."""
        looks: Callable[[ClientAddress], bool] | None = getattr(self.factory, "is_suspect", None)
        if looks is None:
            return False
        client = parse_client_address(host)
        return looks(client) and (self._is_open or self._comes_in_by_itself(client))

    def turn_away(self, host: str) -> bytes:
        """Give what a suspect hears that is not even connected; empty for one that is let in after all."""
        factory: Any = self.factory
        goodbye: bytes = factory.refuse(parse_client_address(host))
        return goodbye

    def _comes_in_by_itself(self, client: ClientAddress) -> bool:
        return not self._is_proxy(client) and self._has_access(client)

    def _is_proxy(self, client: ClientAddress) -> bool:
        return self._rules.proxies is not None and client in self._rules.proxies

    def _has_access(self, client: ClientAddress) -> bool:
        return self._rules.access is None or client in self._rules.access

    def admit(self, client: ClientAddress, address: IAddress) -> IProtocol | None:
        """Make the protocol for a client whose address is known; None when it may not connect."""
        if not self._has_access(client):
            self.log.access_denied(client)
            return None
        return self.factory.buildProtocol(address)


class ProxiedConnection(Protocol):
    """A connection from a proxy until its header is read; then it belongs to the protocol behind the entrance."""

    transport: Any

    def __init__(self, entrance: Entrance, proxy: ClientAddress) -> None:
        self._entrance = entrance
        self._proxy = proxy
        self._received = b""
        self._timer: IDelayedCall | None = None

    # Called by Twisted

    def connectionMade(self) -> None:
        """Say nothing; wait for the header."""
        self._entrance.waiting.add(self)
        self._timer = self._entrance.clock.call_later(_HEADER_SECONDS, self._give_up)

    def dataReceived(self, data: bytes) -> None:
        """Read the header, and hand over once it is whole."""
        if self._timer is None:
            return
        self._received += data
        try:
            header = read_proxy_header(self._received)
        except ProxyHeaderError as error:
            self._refuse(str(error))
            return
        if header is not None:
            self._hand_over(header)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """A proxy that only looks whether we are there, and says nothing, is not worth a line."""
        if self._timer is not None:
            if self._received:
                self._entrance.log.proxy_refused(self._proxy, "the header is cut short")
            self._end_waiting()

    # Called by the entrance

    def close(self) -> None:
        """Close without a word."""
        self._end_waiting()
        self.transport.loseConnection()

    # The end of waiting

    def _end_waiting(self) -> None:
        self._entrance.waiting.discard(self)
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _give_up(self) -> None:
        self._refuse(f"no whole header within {_HEADER_SECONDS:g} s")

    def _refuse(self, reason: str) -> None:
        self._entrance.log.proxy_refused(self._proxy, reason)
        self.close()

    def _hand_over(self, header: ProxyHeader) -> None:
        """Put the real protocol in our place: nothing stands between it and its transport from now on."""
        transport, rest = self.transport, self._received[header.octets :]
        client = header.client or self._proxy
        address: IAddress = transport.getPeer()
        if header.client is not None:
            kind = IPv4Address if client.version == 4 else IPv6Address
            address = kind("TCP", str(client), header.port)
        protocol: Any = self._entrance.admit(client, address)
        if protocol is None:
            self.close()
            return
        self._end_waiting()
        transport.getPeer = lambda: address  # on the object, as Twisted's startTLS does with getHandle
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if rest:
            protocol.dataReceived(rest)
