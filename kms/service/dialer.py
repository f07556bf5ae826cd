"""Opens connections to the addresses of a next hop.

Promises: an address with an open connection comes first. Else IPv6 and IPv4 addresses of one host take turns, those
that were dead lately last, and the first of them race with staggered starts (RFC 8305), so that a broken IPv6 costs
a quarter of a second. No address is left out: what did not win comes after the winner.
Flow: remote_delivery.py asks for the order, and opens what no race has opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from kms.domain import reply as replies
from kms.domain.next_hop import NextHop, TlsPolicy
from kms.domain.outcome import Deferred, Outcome
from kms.domain.reply import Reply
from kms.protocol.client_events import EndCause, SessionEnded, SmtpClientSettings
from kms.protocol.remote_reply import quote
from kms.protocol.smtp_client import SmtpClientSession
from kms.service.client_connection import ClientConnection, ConnectionTools, describe
from kms.service.dead_addresses import DeadAddresses
from kms.service.pop3_logins import ClientTls, Connector
from kms.service.race import Race

_RACERS = 4


def name_hop(hop: NextHop, address: str) -> str:
    """Name a server as outcomes do."""
    return f"{hop.host}[{address}]" if hop.is_local_socket else f"{hop.host}[{address}]:{hop.port}"


def key_of(hop: NextHop, address: str) -> tuple[object, ...]:
    """Connections with equal keys are equally good."""
    tls = (hop.tls, hop.tls_by, hop.dane, hop.is_tls_at_once)
    return (hop.host, address, hop.port, tls, hop.is_lmtp, hop.credentials, hop.pop3)


@attrs.frozen
class Dialer:
    """Opens connections.

    Attributes:
        helo_name: our own host name.
        connector: makes an endpoint for an IP address and a port.
        client_tls: makes TLS contexts.
        tools: of each connection.
        dead: addresses where nobody answered lately.
    """

    helo_name: str
    connector: Connector
    client_tls: ClientTls
    tools: ConnectionTools
    dead: DeadAddresses

    async def reach(
        self, hop: NextHop, addresses: Sequence[str], failures: list[Outcome]
    ) -> list[tuple[str, ClientConnection | None]]:
        """Put the addresses of a host in the order in which to offer a message.

        Args:
            failures: takes those of addresses where nobody answered; they are left out.

        Returns:
            The addresses; with the first the connection to it, where a race has opened one. A hop that wants a login
            elsewhere first is not connected to.
        """
        if len(addresses) == 1:
            return [(addresses[0], None)]
        pool = self.tools.pool
        order = self.dead.sort(_interleave(addresses), hop.port)
        order.sort(key=lambda address: not pool.has(key_of(hop, address)))
        opened: ClientConnection | None = None
        if order and hop.pop3 is None and not pool.is_closed and not pool.has(key_of(hop, order[0])):
            order, opened = await self._race(hop, order, failures)
        return [(address, None if number else opened) for number, address in enumerate(order)]

    async def _race(
        self, hop: NextHop, order: list[str], failures: list[Outcome]
    ) -> tuple[list[str], ClientConnection | None]:
        racers = [(address, self._make(hop, address, hop.tls)) for address in order[:_RACERS]]
        race = Race(self.tools.clock, [partial(self._dial, hop, *racer) for racer in racers])
        winner = await race.run()
        for number, failure in race.failures.items():
            address = racers[number][0]
            failures.append(Deferred(self._nobody_answered(hop, address, failure), name_hop(hop, address)))
        failed = {racers[number][0] for number in race.failures}
        left = [address for address in order if address not in failed]
        if winner is None:
            return left, None
        first, connection = racers[winner]
        self.dead.remove(first, hop.port)
        return [first, *(address for address in left if address != first)], connection

    async def open(
        self, hop: NextHop, address: str, tls: TlsPolicy, opened: ClientConnection | None = None
    ) -> ClientConnection | SessionEnded:
        """Open a session, over the connection that is there or a new one; gives why there is none."""
        pool = self.tools.pool
        if opened is None:
            if pool.is_closed:
                return SessionEnded(EndCause.LOST, replies.CONNECTION_LOST)
            opened = self._make(hop, address, tls)
            try:
                await self._dial(hop, address, opened)
            except (CancelledError, ConnectingCancelledError):
                raise
            except Exception as error:  # whatever it is, it is no reason to lose mail
                return SessionEnded(EndCause.LOST, self._nobody_answered(hop, address, Failure(error)))
            self.dead.remove(address, hop.port)
        if pool.is_closed:
            opened.abort()
        ended = await opened.ready
        return opened if ended is None else ended

    def _make(self, hop: NextHop, address: str, tls: TlsPolicy) -> ClientConnection:
        settings = SmtpClientSettings(
            self.helo_name, name_hop(hop, address), tls, hop.credentials, hop.is_lmtp
        )
        return ClientConnection(
            SmtpClientSession(settings, is_encrypted=hop.is_tls_at_once),
            key_of(hop, address),
            self.tools,
            lambda: self.client_tls.creator_for(hop.host, hop.tls, hop.dane),
            is_tls_at_once=hop.is_tls_at_once,
            tls_by=hop.tls_by,
        )

    def _dial(self, hop: NextHop, address: str, connection: ClientConnection) -> Any:
        return self.connector(address, hop.port).connect(_FactoryOfOne(connection))

    def _nobody_answered(self, hop: NextHop, address: str, failure: Failure) -> Reply:
        self.dead.add(address, hop.port)
        return quote(replies.NO_HOST_ANSWERED, describe(failure))


class _FactoryOfOne(Factory):
    """Builds the one protocol that was made for the connection."""

    noisy = False

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: object) -> ClientConnection:
        return self._connection


def _interleave(addresses: Sequence[str]) -> list[str]:
    """Let the families take turns, the first address staying the first (RFC 8305 4)."""
    first = [address for address in addresses if (":" in address) == (":" in addresses[0])]
    other = [address for address in addresses if address not in first]
    pairs = zip_longest(first, other)
    return [address for address in chain.from_iterable(pairs) if address is not None]
