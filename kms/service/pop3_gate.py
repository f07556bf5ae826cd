"""How many POP3 connections one address may have at one time; one too many is told so, and closed.

The ports 110 and 995 count together, over IPv6 a /64, and SMTP connections not at all; the exempt group is not
limited. Flow: pop3_listener.py asks it for each connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from kms.domain.address_group import ClientAddress
from kms.policy.limits import client_key, is_reached
from kms.service.client_ledger import ClientLedger
from kms.service.clock import Clock
from kms.service.security_log import SecurityLog

_CLOSING_SECONDS = 10.0
_TOO_MANY = b"-ERR [SYS/TEMP] Too many connections from your address, try again later\r\n"


class Pop3Gate:
    """Lets clients in.

    Args:
        limit: connections of one client; 0 = no limit. A reload replaces the attribute.
        is_exempt: says whom the limit does not concern.
        ledger: counts.
        log: tells of those that were turned away.
    """

    def __init__(
        self,
        limit: int,
        is_exempt: Callable[[ClientAddress], bool],
        ledger: ClientLedger,
        log: SecurityLog,
    ) -> None:
        self.limit = limit
        self._is_exempt = is_exempt
        self._ledger = ledger
        self._log = log

    def admits(self, client: ClientAddress) -> bool:
        """Say whether one more may come in; tells the security log where it may not."""
        count = self._ledger.pop3_connections.count(client_key(client))
        if not is_reached(count, self.limit) or self._is_exempt(client):
            return True
        self._log.too_many_connections("POP3", client, self.limit)
        return False

    def enter(self, client: ClientAddress) -> None:
        """A client is in."""
        self._ledger.pop3_connections.add(client_key(client))

    def leave(self, client: ClientAddress) -> None:
        """A client that was in is gone."""
        self._ledger.pop3_connections.remove(client_key(client))


class TurnedAway(Protocol):
    """A connection that is not served."""

    transport: Any

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cut: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Say why, and close; cut where the client does not go."""
        self._cut = self._clock.call_later(_CLOSING_SECONDS, self.transport.abortConnection)
        self.transport.write(_TOO_MANY)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        if self._cut is not None and self._cut.active():
            self._cut.cancel()
