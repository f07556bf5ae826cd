"""The POP3 ports: makes connections (pop3_connection.py), and looks after their time and their end.

Promises: one sweep watches all connections, so that an idle one costs no timer. Draining ends idle sessions
at once and lets others finish the reply they are at.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Protocol, ServerFactory

from kms.domain.address_group import ClientAddress, parse_client_address
from kms.protocol.pop3_events import Pop3ServerSettings
from kms.service.clock import Clock
from kms.service.pop3_connection import HASTY_CLOSING_SECONDS, Pop3Connection
from kms.service.pop3_gate import Pop3Gate, TurnedAway
from kms.service.pop3_log import Pop3Log
from kms.service.pop3_service import Pop3Service
from kms.service.portal import LoginPortal

_SWEEP_SECONDS = 5.0
_IDLE_TIMEOUT = timedelta(minutes=10)


class Pop3Factory(ServerFactory):
    """Makes the connections of one port.

    Args:
        portal: proves logins and opens mailboxes.
        tls: makes TLS connections for STLS.
        is_tls_at_once: the port speaks TLS from the first octet.
        settings: what the sessions say.
        idle_timeout: RFC 1939 3 wants 10 minutes at least.
        may_send_plain_passwords: says of an address whether it may log in without TLS.
        log: gets the logins.
        clock: for the idle time-out.
        gate: how many connections one client may have; None = any number.
    """

    noisy = False

    def __init__(
        self,
        *,
        portal: LoginPortal,
        tls: IOpenSSLServerConnectionCreator | None,
        settings: Pop3ServerSettings,
        may_send_plain_passwords: Callable[[ClientAddress], bool],
        log: Pop3Log,
        clock: Clock,
        is_tls_at_once: bool = False,
        idle_timeout: timedelta = _IDLE_TIMEOUT,
        gate: Pop3Gate | None = None,
    ) -> None:
        self.live: set[Pop3Connection] = set()
        self._gate = gate
        self._counted: dict[Pop3Connection, ClientAddress] = {}
        self._drained: Deferred[None] | None = None
        self._sweeping: IDelayedCall | None = None
        self.service = Pop3Service(
            settings=settings,
            portal=portal,
            tls=tls,
            is_tls_at_once=is_tls_at_once,
            idle_timeout=idle_timeout,
            may_send_plain_passwords=may_send_plain_passwords,
            log=log,
            clock=clock,
            connection_made=self._connection_made,
            connection_lost=self._connection_lost,
        )

    # Called by Twisted

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Make the protocol of a new connection; none any more while draining."""
        if self.service.is_draining:
            return None
        connection = Pop3Connection(self.service)
        if self._gate is not None and isinstance(addr, IPv4Address | IPv6Address):
            client = parse_client_address(addr.host)
            if not self._gate.admits(client):
                return TurnedAway(self.service.clock)
            self._gate.enter(client)
            self._counted[connection] = client
        return connection

    # Called by the server

    def drain(self) -> Deferred[None]:
        """End idle sessions now, others after the reply they are at; fires when all are gone."""
        self.service.is_draining = True
        drained: Deferred[None] = Deferred()
        self._drained = drained
        for connection in tuple(self.live):
            connection.wake_up()
        self._sweep_soon()
        self._tell_drained()
        return drained

    def cut(self) -> None:
        """The time for draining is over: cut whoever is left."""
        for connection in tuple(self.live):
            connection.abort()

    # Called by the connections

    def _connection_made(self, connection: Pop3Connection) -> None:
        self.live.add(connection)
        if self._sweeping is None:
            self._sweep_later()

    def _connection_lost(self, connection: Pop3Connection) -> None:
        self.live.discard(connection)
        client = self._counted.pop(connection, None)
        if self._gate is not None and client is not None:
            self._gate.leave(client)
        if not self.live and self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        self._tell_drained()

    def _tell_drained(self) -> None:
        if self._drained is not None and not self.live:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def _sweep_later(self) -> None:
        self._sweeping = self.service.clock.call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep_soon(self) -> None:
        """Cut those that are told to go, and do not, before a full round of the sweep."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = self.service.clock.call_later(HASTY_CLOSING_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweep_later()
        now = self.service.clock.monotonic()
        for connection in tuple(self.live):
            connection.check_time(now)
