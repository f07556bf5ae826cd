"""POP3 logins at smarthosts that relay only for who has logged in just now (`smarthost_auth = pop3`).

Promises: however many messages wait, one login is under way at a time, for a mailbox may be locked; a failed
one is not tried again within a minute, so that nobody takes us for a guesser; never raises.

Flow: remote_delivery asks before it sends through such a hop, and again after a 5.7.x refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kms.domain import reply as replies
from kms.domain.dns_answer import Addresses
from kms.domain.next_hop import Pop3Login, TlsPolicy
from kms.domain.published_tls import DaneDemand
from kms.domain.reply import Reply
from kms.ports import Resolver
from kms.protocol.pop3_client import Pop3LoginSession
from kms.protocol.remote_reply import quote
from kms.service.client_connection import TlsCreator, describe, printable
from kms.service.clock import Clock

LOGIN_SECONDS = 60.0
PAUSE_SECONDS = 60.0

Connector = Callable[[str, int], IStreamClientEndpoint]


class ClientTls(Protocol):
    """Gives what `startTLS` needs (kms/service/tls.py)."""

    def creator_for(self, host: str, policy: TlsPolicy, dane: DaneDemand | None = None) -> TlsCreator:
        """Make an IOpenSSLClientConnectionCreator; it fails the handshake where `policy` says so.

        Args:
            dane: `judge` refuses what is not as this says.
        """
        ...


@attrs.define
class _Account:
    """What is known of one login.

    Attributes:
        logins: how many succeeded.
        last: when the last one did, on the monotonic clock.
        paused_until: no new one before.
        refusal: of the last one that failed.
        waiting: who waits for the one under way; None = none is.
    """

    logins: int = 0
    last: float = 0.0
    paused_until: float = 0.0
    refusal: Reply = replies.LOGIN_REFUSED_BY_HOP
    waiting: list[Deferred[Reply | None]] | None = None


class Pop3Logins:
    """Keeps the logins fresh.

    Args:
        clock: says how old a login is.
        connector: makes an endpoint for an IP address and a port.
        client_tls: makes TLS contexts.
        resolver: finds the addresses of the POP3 servers.
    """

    def __init__(self, clock: Clock, connector: Connector, client_tls: ClientTls, resolver: Resolver) -> None:
        self._clock = clock
        self._connector = connector
        self._client_tls = client_tls
        self._resolver = resolver
        self._accounts: dict[Pop3Login, _Account] = {}
        self._log = Logger(namespace="kms.delivery")

    def count(self, login: Pop3Login) -> int:
        """How many logins succeeded so far."""
        return self._account(login).logins

    async def ensure(self, login: Pop3Login) -> Reply | None:
        """Log in unless the last login is young enough; gives a 4yz reply where that failed."""
        account = self._account(login)
        age = self._clock.monotonic() - account.last
        if account.logins and age < login.every.total_seconds():
            return None
        return await self._share(login, account)

    async def renew(self, login: Pop3Login, seen: int) -> Reply | None:
        """Log in again unless somebody has since `count` was `seen`; else as `ensure`."""
        account = self._account(login)
        return None if account.logins > seen else await self._share(login, account)

    def _account(self, login: Pop3Login) -> _Account:
        return self._accounts.setdefault(login, _Account())

    async def _share(self, login: Pop3Login, account: _Account) -> Reply | None:
        if account.waiting is not None:
            turn: Deferred[Reply | None] = Deferred()
            account.waiting.append(turn)
            return await turn
        if self._clock.monotonic() < account.paused_until:
            return account.refusal
        account.waiting = []
        try:
            refusal = await self._log_in(login)
        except Exception as error:  # whatever it is, it is no reason to lose mail
            refusal = quote(replies.LOGIN_REFUSED_BY_HOP, describe(Failure(error)))
        self._note(account, refusal)
        waiting, account.waiting = account.waiting, None
        for turn in waiting:
            turn.callback(refusal)
        return refusal

    def _note(self, account: _Account, refusal: Reply | None) -> None:
        now = self._clock.monotonic()
        if refusal is None:
            account.logins += 1
            account.last = now
        else:
            account.refusal = refusal
            account.paused_until = now + PAUSE_SECONDS

    async def _log_in(self, login: Pop3Login) -> Reply | None:
        answer = await self._resolver.lookup_addresses(login.host) if not login.addresses else None
        found = answer.addresses if isinstance(answer, Addresses) else login.addresses
        problem = "the POP3 server cannot be looked up now"
        for address in found:
            ended = await self._log_in_at(login, address)
            if ended is None:
                return None
            problem = ended
        return quote(replies.LOGIN_REFUSED_BY_HOP, f"{login.host}:{login.port}: {problem}")

    async def _log_in_at(self, login: Pop3Login, address: str) -> str | None:
        """Log in at one address; gives what went wrong."""
        session = Pop3LoginSession(login.credentials, login.tls)
        connection = Pop3LoginConnection(
            session,
            lambda: self._client_tls.creator_for(login.host, login.tls),
            is_tls_at_once=login.is_tls_at_once,
        )
        limit = self._clock.call_later(LOGIN_SECONDS, connection.expire)
        try:
            await self._connector(address, login.port).connect(_FactoryOfOne(connection))
            await connection.over
        except Exception as error:
            return describe(Failure(error))
        finally:
            if limit.active():
                limit.cancel()
        if session.shows_password:
            self._log.warn("The password for {where} went out in clear text", where=login.host)
        return session.problem


@implementer(IHandshakeListener)
class Pop3LoginConnection(TwistedProtocol):
    """One connection to a POP3 server.

    Attributes:
        over: fires once the session is over, or the connection is lost.
    """

    transport: Any

    def __init__(
        self, session: Pop3LoginSession, make_tls: Callable[[], TlsCreator], *, is_tls_at_once: bool
    ) -> None:
        self.over: Deferred[None] = Deferred()
        self._session = session
        self._make_tls = make_tls
        self._is_tls_at_once = is_tls_at_once
        self._creator: TlsCreator | None = None

    def connectionMade(self) -> None:
        """Wait for the greeting, or begin TLS."""
        if self._is_tls_at_once:
            self._session.is_encrypted = True
            self._start_tls()

    def dataReceived(self, data: bytes) -> None:
        """Pass octets to the session."""
        self._session.receive_data(data)
        self._work()

    def handshakeCompleted(self) -> None:
        """Go on within TLS; a certificate that was refused gets no word, for the connection is being aborted."""
        if self._session.wants_tls:
            self._session.tls_started()
            self._work()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the session, and whoever waits."""
        problems = self._creator.problems if self._creator is not None else []
        self._session.lose(printable(", ".join(problems)) or describe(reason))
        self._work()

    def expire(self) -> None:
        """The login took too long."""
        self._session.lose("no answer in time")
        if self.transport is not None:
            self.transport.abortConnection()
        self._work()

    def _start_tls(self) -> None:
        self._creator = self._make_tls()
        self.transport.startTLS(self._creator)

    def _work(self) -> None:
        data = self._session.data_to_send()
        if data:
            self.transport.write(data)
        if self._session.wants_tls and self._creator is None:
            self._start_tls()
        if self._session.is_over and not self.over.called:
            if self.transport is not None:
                self.transport.loseConnection()
            self.over.callback(None)


class _FactoryOfOne(Factory):
    """Builds the one protocol that was made for the connection."""

    noisy = False

    def __init__(self, connection: Pop3LoginConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: object) -> Pop3LoginConnection:
        return self._connection
