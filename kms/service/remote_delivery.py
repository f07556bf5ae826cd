"""Hands messages to other servers over SMTP and LMTP: the port `Sender` on Twisted.

Promises: hops and their addresses are tried in order until one has looked at the message, and then no other;
a message is never sent again within one call once its final dot may have arrived; clear text is used only
where the policy allows it; a fault of the network or of a server is an outcome, never an exception.

Flow: the queue runner -> `send` -> a kept or a new connection (client_connection.py) -> outcomes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import attrs
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from kms.domain import reply as replies
from kms.domain.content import Content
from kms.domain.dns_answer import Addresses
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import NextHop, TlsPolicy
from kms.domain.outcome import Deferred, Failed, Outcome
from kms.domain.published_tls import TlsAuthority
from kms.domain.reply import Reply
from kms.policy.hop_tls import find_testing_fault
from kms.ports import Resolver
from kms.protocol.client_events import EndCause, SessionEnded
from kms.protocol.outgoing_message import OutgoingMessage
from kms.service.client_connection import (
    ClientConnection,
    ConnectionTools,
    RunInThread,
)
from kms.service.clock import Clock
from kms.service.connection_pool import ConnectionPool, PoolRules
from kms.service.content_conversion import Conversion, read_content
from kms.service.dead_addresses import DeadAddresses
from kms.service.dialer import Dialer, key_of, name_hop
from kms.service.hop_protection import demand
from kms.service.pop3_logins import ClientTls, Connector, Pop3Logins

NOWHERE = "none"
CONNECT_TIME = timedelta(seconds=30)
_WANTS = (replies.NEEDS_SMTPUTF8, replies.NEEDS_CONVERSION)


@attrs.frozen
class RemoteDeliverySettings:
    """How mail is handed on.

    Attributes:
        helo_name: our own host name.
        pool: how connections are kept.
    """

    helo_name: str
    pool: PoolRules = attrs.field(factory=PoolRules)


def tcp_connector(reactor: Any, connect_time: timedelta = CONNECT_TIME) -> Connector:
    """Make the connector of the real network: TCP over IPv4 or IPv6, or a Unix socket, by the form of the address."""
    seconds = connect_time.total_seconds()

    def connect(address: str, port: int) -> IStreamClientEndpoint:
        if address.startswith("/"):
            return UNIXClientEndpoint(reactor, address, timeout=seconds)
        endpoint = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        return endpoint(reactor, address, port, timeout=seconds)

    return connect


class RemoteDelivery:
    """Implements `kms.ports.Sender`.

    Args:
        settings: our name, and how connections are kept.
        clock: for time limits.
        connector: makes an endpoint for an IP address and a port.
        client_tls: makes TLS contexts.
        resolver: finds the addresses of a hop that is known by name only.
        run_in_thread: calls a function elsewhere than on the reactor, as deferToThreadPool does.
    """

    def __init__(
        self,
        settings: RemoteDeliverySettings,
        clock: Clock,
        connector: Connector,
        client_tls: ClientTls,
        resolver: Resolver,
        run_in_thread: RunInThread,
    ) -> None:
        self._resolver = resolver
        self._logins = Pop3Logins(clock, connector, client_tls, resolver)
        self._pool = ConnectionPool(clock, settings.pool)
        self._tools = ConnectionTools(clock, self._pool, read_content, run_in_thread)
        self._dialer = Dialer(settings.helo_name, connector, client_tls, self._tools, DeadAddresses(clock))
        self._log = Logger(namespace="kms.delivery")

    @property
    def pool(self) -> ConnectionPool:
        """The open connections; `close` and `abort` it at shutdown."""
        return self._pool

    async def send(
        self, hops: Sequence[NextHop], envelope: Envelope, recipients: Sequence[Recipient], content: Content
    ) -> dict[int, Outcome]:
        """See `kms.ports.Sender`.

        Where a hop lacks SMTPUTF8, whoever needs it is tried at the others (RFC 6531 3.2); a hop that does not
        answer may have it, so then the outcome is to be deferred. The same where a hop lacks 8BITMIME and the
        content cannot be converted.
        """
        message, refused = OutgoingMessage.prepare(envelope, recipients, content)
        outcomes: dict[int, Outcome] = {number: Failed(reply, NOWHERE) for number, reply in refused.items()}
        if message.rcpt_commands:
            outcomes.update(await self._offer(hops, message, content))
        return outcomes

    async def _offer(
        self, hops: Sequence[NextHop], message: OutgoingMessage, content: Content
    ) -> dict[int, Outcome]:
        failures: list[Outcome] = []
        settled: dict[int, Outcome] = {}
        conversion = Conversion(content, self._tools.run_in_thread)
        for named in hops:
            hop = await self._protect(named, failures)
            if hop is None:
                continue
            found = hop.addresses or await self._find_addresses(hop, failures)
            for address, opened in await self._dialer.reach(hop, found, failures):
                outcomes = await self._offer_in_some_form(hop, address, message, conversion, failures, opened)
                if outcomes is None:
                    continue
                settled.update(outcomes)
                if hop.tls_by is TlsAuthority.STS_TESTING:
                    self._tell_of_testing(hop, outcomes)
                left = _unserved(outcomes, *_WANTS) if message.international or message.is_8bit else ()
                if not left:
                    return settled
                message = message.only(left)
        transient = [failure for failure in failures if isinstance(failure, Deferred)]
        if transient or not settled:
            settled.update(dict.fromkeys(message.rcpt_commands, (transient or failures)[-1]))
        return settled

    async def _offer_in_some_form(
        self,
        hop: NextHop,
        address: str,
        message: OutgoingMessage,
        conversion: Conversion,
        failures: list[Outcome],
        opened: ClientConnection | None,
    ) -> dict[int, Outcome] | None:
        """Offer the message as it is, and where the server has no 8BITMIME once more, in seven bits."""
        outcomes = await self._log_in_and_offer(hop, address, message, conversion.content, failures, opened)
        if not outcomes or not message.is_8bit or not _unserved(outcomes, replies.NEEDS_CONVERSION):
            return outcomes
        where = name_hop(hop, address)
        try:
            converted = await conversion.apply(message)
        except OSError as error:
            self._log.error("A message could not be read for {where}: {error}", where=where, error=error)
            return dict.fromkeys(message.rcpt_commands, Deferred(replies.CONTENT_UNREADABLE, NOWHERE))
        if converted is None:
            return outcomes
        return await self._log_in_and_offer(hop, address, *converted, failures)

    async def _protect(self, hop: NextHop, failures: list[Outcome]) -> NextHop | None:
        """Give the hop the TLS that its side demands; None where it must not be used now."""
        if hop.published is None:
            return hop
        demanded = await demand(self._resolver, hop)
        if isinstance(demanded, Reply):
            failures.append(Deferred(demanded, hop.host))
            return None
        return demanded

    def _tell_of_testing(self, hop: NextHop, outcomes: dict[int, Outcome]) -> None:
        fault = find_testing_fault(hop, next(iter(outcomes.values())).tls)
        if fault is not None:
            self._log.warn(
                "{where}: MTA-STS, which is in testing, would have deferred: {fault}",
                where=hop.host,
                fault=fault,
            )

    async def _find_addresses(self, hop: NextHop, failures: list[Outcome]) -> tuple[str, ...]:
        """Look a smarthost up; whatever the DNS says, a name without addresses only defers."""
        literal = hop.host.strip("[]")
        try:
            return (str(ipaddress.ip_address(literal)),)
        except ValueError:
            answer = await self._resolver.lookup_addresses(hop.host)
        if isinstance(answer, Addresses):
            return answer.addresses
        failures.append(Deferred(replies.SMARTHOST_LOOKUP_FAILED, NOWHERE))
        return ()

    async def _log_in_and_offer(
        self,
        hop: NextHop,
        address: str,
        message: OutgoingMessage,
        content: Content,
        failures: list[Outcome],
        opened: ClientConnection | None = None,
    ) -> dict[int, Outcome] | None:
        """Offer the message, after a POP3 login where the hop asks for one; a 5.7.x refusal gets one more of both."""
        login = hop.pop3
        if login is None:
            return await self._offer_to(hop, address, message, content, failures, opened)
        refusal = await self._logins.ensure(login)
        if refusal is not None:
            failures.append(Deferred(refusal, name_hop(hop, address)))
            return None
        seen = self._logins.count(login)
        outcomes = await self._offer_to(hop, address, message, content, failures)
        refused = _refused_by_policy(outcomes or dict.fromkeys(message.rcpt_commands, failures[-1]))
        if not refused:
            return outcomes
        refusal = await self._logins.renew(login, seen)
        if refusal is not None:
            failures.append(Deferred(refusal, name_hop(hop, address)))
        else:
            self._drop_kept(hop, address)
            again = await self._offer_to(hop, address, message.only(refused), content, failures)
            if again is not None:
                return {**(outcomes or {}), **again}
        return None if outcomes is None else {**outcomes, **dict.fromkeys(refused, failures[-1])}

    def _drop_kept(self, hop: NextHop, address: str) -> None:
        """Have the next message open a connection of its own: some servers judge the client but once."""
        kept = self._pool.take(key_of(hop, address))
        if kept is not None:
            kept.quit()

    async def _offer_to(
        self,
        hop: NextHop,
        address: str,
        message: OutgoingMessage,
        content: Content,
        failures: list[Outcome],
        opened: ClientConnection | None = None,
    ) -> dict[int, Outcome] | None:
        """Offer the message at one address; None when the server has not looked at it."""
        kept = None if opened else self._pool.take(key_of(hop, address))
        if isinstance(kept, ClientConnection):
            ended = await kept.transact(message, content)
            if ended.was_considered:
                return ended.outcomes
        connection = await self._connect(hop, address, failures, opened)
        if connection is None:
            return None
        ended = await connection.transact(message, content)
        if ended.was_considered:
            return ended.outcomes
        failures.append(next(iter(ended.outcomes.values())))
        return None

    async def _connect(
        self, hop: NextHop, address: str, failures: list[Outcome], opened: ClientConnection | None
    ) -> ClientConnection | None:
        """Open a session; in clear text at the second try, where TLS fails and need not be."""
        made = await self._dialer.open(hop, address, hop.tls, opened)
        may_go_clear = hop.tls is TlsPolicy.OPPORTUNISTIC and not hop.is_tls_at_once
        where = name_hop(hop, address)
        if isinstance(made, SessionEnded) and made.cause is EndCause.TLS and may_go_clear:
            self._log.info(
                "TLS with {where} failed, going on without: {reply}", where=hop.host, reply=made.reply
            )
            made = await self._dialer.open(hop, address, TlsPolicy.OFF)
        if isinstance(made, ClientConnection):
            if made.shows_password:
                self._log.warn("The password for {where} went out in clear text", where=where)
            return made
        if made.cause is EndCause.TLS and hop.tls_by.value:
            reason = f"{made.reply.text} ({hop.tls_by.value})"
            made = attrs.evolve(made, reply=attrs.evolve(made.reply, text=reason))
        is_final = made.cause is EndCause.REFUSED and made.reply.is_permanent
        failures.append(Failed(made.reply, where) if is_final else Deferred(made.reply, where))
        return None


def _unserved(outcomes: dict[int, Outcome], *wants: Reply) -> tuple[int, ...]:
    """Recipients whom this server cannot serve for want of an extension; another one perhaps can."""
    return tuple(
        number for number, outcome in outcomes.items() if any(outcome.reply is want for want in wants)
    )


def _refused_by_policy(outcomes: dict[int, Outcome]) -> tuple[int, ...]:
    """Recipients refused for good with 5.7.x: by a smarthost that has forgotten our login, it may be."""
    return tuple(
        number
        for number, outcome in outcomes.items()
        if isinstance(outcome, Failed) and outcome.reply.status and outcome.reply.status.subject == 7
    )
