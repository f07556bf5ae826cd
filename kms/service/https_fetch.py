"""Gets one small text over HTTPS: verified certificate, no redirects, bounded in octets and time.

Promises: nothing is asked before the certificate has shown to be the host's; addresses that mail must not go to
are not connected to either; whatever goes wrong is a FetchError with words for the log.

Flow: service/sts_policies.py awaits `fetch`; protocol/http_reply.py reads what comes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from kms.domain.dns_answer import Addresses
from kms.domain.next_hop import TlsPolicy
from kms.domain.private_address import is_private
from kms.ports import Resolver
from kms.protocol.http_reply import MAX_HEADER_OCTETS, HttpError, find_body
from kms.service.client_connection import describe, printable
from kms.service.clock import Clock
from kms.service.pop3_logins import ClientTls, Connector

PORT = 443
SECONDS_FOR_ONE_ADDRESS = 15.0
MAX_ADDRESSES = 3
_MOST_LOOKS = 100


class FetchError(Exception):
    """The text cannot be had now; says why, in printable ASCII."""


class FetchText(Protocol):
    """Gets a text: `HttpsFetch`, or a fake."""

    async def __call__(self, host: str, path: str, max_octets: int) -> bytes:
        """Get the text at https://host/path. Raises FetchError."""
        ...


class HttpsFetch:
    """Implements `FetchText` for texts of the type text/plain.

    Args:
        connector: makes an endpoint for an IP address and a port.
        client_tls: makes TLS contexts.
        resolver: finds the addresses of hosts.
        may_be_private: says whether loopback and private addresses may be connected to.
        clock: for time limits.
    """

    def __init__(
        self,
        connector: Connector,
        client_tls: ClientTls,
        resolver: Resolver,
        may_be_private: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._connector = connector
        self._client_tls = client_tls
        self._resolver = resolver
        self._may_be_private = may_be_private
        self._clock = clock

    async def __call__(self, host: str, path: str, max_octets: int) -> bytes:
        """See `FetchText`."""
        problem = FetchError(f"{host} has no address that may be connected to")
        for address in await self._find_addresses(host):
            try:
                return await self._fetch_at(address, host, path, max_octets)
            except FetchError as error:
                problem = error
        raise problem

    async def _find_addresses(self, host: str) -> list[str]:
        answer = await self._resolver.lookup_addresses(host)
        if not isinstance(answer, Addresses):
            raise FetchError(f"{host} has no address, or cannot be looked up now")
        may_be_private = self._may_be_private()
        allowed = (
            text for text in answer.addresses if may_be_private or not is_private(ipaddress.ip_address(text))
        )
        return list(allowed)[:MAX_ADDRESSES]

    async def _fetch_at(self, address: str, host: str, path: str, max_octets: int) -> bytes:
        connection = _Connection(self._client_tls, host, path, max_octets)
        connecting = self._connector(address, PORT).connect(_FactoryOfOne(connection))
        limit = self._clock.call_later(SECONDS_FOR_ONE_ADDRESS, lambda: connection.expire(connecting))
        try:
            await connecting
            return await connection.body
        except FetchError:
            raise
        except Exception as error:
            raise FetchError(describe(Failure(error))) from error
        finally:
            if limit.active():
                limit.cancel()


@implementer(IHandshakeListener)
class _Connection(TwistedProtocol):
    """One GET.

    Attributes:
        body: fires once, with the text or a FetchError.
    """

    transport: Any

    def __init__(self, client_tls: ClientTls, host: str, path: str, max_octets: int) -> None:
        self.body: Deferred[bytes] = Deferred()
        self._host = host
        self._path = path
        self._max_octets = max_octets
        self._creator = client_tls.creator_for(host, TlsPolicy.VERIFY)
        self._octets = b""
        self._looks = 0

    def connectionMade(self) -> None:
        """Begin TLS; Twisted tells of a wrong certificate by closing."""
        self.transport.startTLS(self._creator)

    def handshakeCompleted(self) -> None:
        """Ask; where the certificate was just refused this goes nowhere, for the connection is being aborted."""
        self.transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n"
            "Accept: text/plain\r\nUser-Agent: kms\r\n\r\n".encode("ascii")
        )

    def dataReceived(self, data: bytes) -> None:
        """Look whether that was all; of an answer that comes in crumbs no more than its end is awaited."""
        if self.body.called:
            return
        self._octets += data
        self._looks += 1
        if len(self._octets) > self._max_octets + MAX_HEADER_OCTETS:
            self._end(FetchError("the answer is too large"))
        elif self._looks <= _MOST_LOOKS:
            self._read(is_closed=False)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take what has come for all, where the server has ended in order."""
        if self._creator.problems:
            self._end(FetchError(printable(", ".join(self._creator.problems))))
        elif reason.check(ConnectionDone) and self._octets:
            self._read(is_closed=True)
        else:
            self._end(FetchError(describe(reason)))

    def expire(self, connecting: Deferred[Any]) -> None:
        """It took too long."""
        if connecting.called:
            self._end(FetchError("no answer in time"))
        else:  # nobody awaits the body yet
            connecting.cancel()

    def _read(self, *, is_closed: bool) -> None:
        try:
            body = find_body(self._octets, is_closed=is_closed, content_type="text/plain")
        except HttpError as error:
            self._end(FetchError(str(error)))
            return
        if body is not None:
            self._end(body if len(body) <= self._max_octets else FetchError("the answer is too large"))

    def _end(self, result: bytes | FetchError) -> None:
        if self.body.called:
            return
        if self.transport is not None:
            self.transport.abortConnection()
        if isinstance(result, bytes):
            self.body.callback(result)
        else:
            self.body.errback(result)


class _FactoryOfOne(Factory):
    """Builds the one protocol that was made for the connection."""

    noisy = False

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: object) -> _Connection:
        return self._connection
