"""The sessions of an SMTP port: made, watched, and ended when the server goes down.

Promises: nobody holds a slot for ever; one sweep watches the deadlines of all sessions, so that an idle one costs no
timer. What one client sends and hears goes through smtp_connection.py.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory

from kms.domain import reply
from kms.domain.address_group import ClientAddress
from kms.service.clock import Clock
from kms.service.reception import Reception
from kms.service.smtp_connection import HASTY_CLOSING_SECONDS, SmtpConnection
from kms.service.smtp_service_rules import SmtpServiceRules

_SWEEP_SECONDS = 1.0


class SmtpFactory(Factory):
    """All sessions of one SMTP port.

    Args:
        rules: how the port behaves; a reload replaces it for new sessions.
        reception: answers the events.
        tls: makes the server's side of TLS; an IOpenSSLServerConnectionCreator.
        clock: for the deadlines.
    """

    noisy = False

    def __init__(self, rules: SmtpServiceRules, reception: Reception, tls: object, clock: Clock) -> None:
        self.reception = reception
        self.tls = tls
        self.clock = clock
        self.live: set[SmtpConnection] = set()
        self.is_draining = False
        self._drained: Deferred[None] | None = None
        self._sweep: IDelayedCall | None = None
        self.use(rules)

    def use(self, rules: SmtpServiceRules) -> None:
        """Take changed rules; sessions that exist keep theirs but for the times."""
        self.rules = rules
        self.greeting = reply.greeting(rules.session.hostname, "LMTP" if rules.session.is_lmtp else "ESMTP")
        self.command_seconds = rules.command_timeout.total_seconds()
        self.session_seconds = rules.session_timeout.total_seconds()

    def doStart(self) -> None:
        """Begin to watch the deadlines."""
        super().doStart()  # type: ignore[no-untyped-call]
        if self._sweep is None:
            self._sweep = self.clock.call_later(_SWEEP_SECONDS, self._check_times)

    def buildProtocol(self, addr: IAddress | None) -> SmtpConnection:  # type: ignore[override]
        """Make a connection."""
        return SmtpConnection(self)

    def is_suspect(self, client: ClientAddress) -> bool:
        """See `Arrivals.is_suspect`."""
        return not self.is_draining and self.reception.arrivals.is_suspect(client)

    def refuse(self, client: ClientAddress) -> bytes:
        """Give what a client hears that has a block, or too many connections; empty for all others."""
        refusal = self.reception.arrivals.turn_away(client, self.rules.session)
        return b"" if refusal is None else refusal.wire

    def _check_times(self) -> None:
        self._sweep = self.clock.call_later(_SWEEP_SECONDS, self._check_times)
        now = self.clock.monotonic()
        for connection in list(self.live):
            connection.check_time(now)

    # Shutdown

    def drain(self) -> Deferred[None]:
        """End idle sessions with 421 now, the others when their transaction is answered; fires when all are gone."""
        self.is_draining = True
        self._drained = Deferred()
        drained = self._drained
        for connection in list(self.live):
            self.session_paused(connection)
        self.stop_watching()
        self._sweep = self.clock.call_later(HASTY_CLOSING_SECONDS, self._check_times)
        self.one_gone()
        return drained

    def session_paused(self, connection: SmtpConnection) -> None:
        """A session has answered all it could: while draining, that is the moment to end it."""
        if self.is_draining and connection.is_idle:
            connection.end(reply.SHUTTING_DOWN)

    def cut(self) -> None:
        """The time for draining is over: 421 to whoever is left, and close."""
        for connection in list(self.live):
            connection.end(reply.SHUTTING_DOWN)

    def one_gone(self) -> None:
        """A session is gone; perhaps it was the last."""
        if self._drained is not None and not self.live:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def stop_watching(self) -> None:
        """Cancel the sweep."""
        if self._sweep is not None and self._sweep.active():
            self._sweep.cancel()
        self._sweep = None
