"""One connection to a next hop: a client session on a Twisted transport.

Promises: a server that does not read stops the reading of the spool; a content that cannot be read whole is
never ended with a dot; a connection that closes is gone within seconds, whether the peer agrees or not.
What it does not do: decide what to try next (remote_delivery.py), keep connections (connection_pool.py).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kms.domain import reply as replies
from kms.domain.content import Content, FileContent
from kms.domain.published_tls import UNVERIFIED, TlsAuthority
from kms.domain.reply import Reply
from kms.protocol.client_events import (
    ClientEvent,
    ContentWanted,
    EndCause,
    SessionEnded,
    SessionReady,
    TlsRequested,
    TransactionEnded,
)
from kms.protocol.outgoing_message import OutgoingMessage
from kms.protocol.remote_reply import quote
from kms.protocol.smtp_client import SmtpClientSession
from kms.service.clock import Clock
from kms.service.connection_pool import ConnectionPool
from kms.service.wire import send_now

CLOSE_SECONDS = 10

RunInThread = Callable[..., Deferred[Any]]
ReadChunks = Callable[[FileContent], Iterator[bytes]]


class TlsCreator(Protocol):
    """An IOpenSSLClientConnectionCreator that also judges (kms/service/tls.py).

    Attributes:
        problems: what is wrong with the server's certificate, after the handshake.
    """

    problems: list[str]

    def judge(self, connection: Any) -> str:
        """Say, after the handshake, why the connection must not be used; "" = it may."""
        ...


@attrs.frozen
class ConnectionTools:
    """What every connection uses of the outside.

    Attributes:
        clock: for time limits.
        pool: keeps the connection between messages, and watches its time.
        read_chunks: opens a spool file and gives its octets piece by piece, in a thread; raises before it ends
            where these are not what was written.
        run_in_thread: calls a function elsewhere than on the reactor.
    """

    clock: Clock
    pool: ConnectionPool
    read_chunks: ReadChunks
    run_in_thread: RunInThread


@implementer(IHandshakeListener, IPushProducer)
class ClientConnection(TwistedProtocol):
    """One connection, from TCP's handshake to its end.

    Attributes:
        key: connections with equal keys are equally good for a message.
        ready: fires once, with None when messages may be sent, or with the reason why never.
        deadline: on the monotonic clock; the pool calls `expire` after it.
        messages: how many were offered.
    """

    transport: Any

    def __init__(
        self,
        session: SmtpClientSession,
        key: Hashable,
        tools: ConnectionTools,
        make_tls: Callable[[], TlsCreator],
        *,
        is_tls_at_once: bool,
        tls_by: TlsAuthority = TlsAuthority.OURSELVES,
    ) -> None:
        self.key = key
        self.ready: Deferred[SessionEnded | None] = Deferred(self._forsake)
        self.deadline = 0.0
        self.messages = 0
        self._session = session
        self._tools = tools
        self._make_tls = make_tls
        self._tls_creator: TlsCreator | None = None
        self._is_tls_at_once = is_tls_at_once
        self._tls_by = tls_by
        self._is_handshaking = False
        self._is_lost = False
        self._is_closing = False
        self._is_forsaken = False
        self._is_producing = False
        self._is_paused = False
        self._replies_seen = 0
        self._content: Content | None = None
        self._waiter: Deferred[TransactionEnded] | None = None
        self._room: Deferred[None] | None = None
        self._log = Logger(namespace="kms.delivery")

    # What the pool and the delivery call

    @property
    def is_idle(self) -> bool:
        """A message may be offered."""
        return self._session.is_ready

    @property
    def shows_password(self) -> bool:
        """The login went out in clear."""
        return self._session.shows_password

    def transact(self, message: OutgoingMessage, content: Content) -> Deferred[TransactionEnded]:
        """Offer a message; only when `is_idle`. Fires once, and never with a failure."""
        self.messages += 1
        self._content = content
        waiter: Deferred[TransactionEnded] = Deferred(self._forsake)
        self._waiter = waiter
        self._session.start(message)
        self._touch()
        self._work()
        return waiter

    def quit(self) -> None:
        """Say good-bye and close; only when `is_idle`."""
        self._session.quit()
        self._touch()
        self._work()

    def expire(self) -> None:
        """Act on the deadline: the server took too long, or does not close."""
        if not self._is_closing:
            cause = EndCause.TLS if self._is_handshaking else EndCause.LOST
            reply = replies.TLS_FAILED_AT_HOP if self._is_handshaking else replies.NO_ANSWER_IN_TIME
            self._give_up(reply, cause)
        elif not self._is_lost:
            self.transport.abortConnection()

    def abort(self) -> None:
        """Close at once; a message under way is deferred."""
        self._give_up(replies.CONNECTION_LOST, EndCause.LOST)

    # What Twisted calls

    def connectionMade(self) -> None:
        """Wait for the greeting, or begin TLS."""
        if hasattr(self.transport, "setTcpNoDelay"):  # a Unix socket has none
            self.transport.setTcpNoDelay(True)
        self._tools.pool.add(self)
        self._touch()
        if self._is_tls_at_once:
            self._start_tls()

    def dataReceived(self, data: bytes) -> None:
        """Pass octets to the session."""
        if self._is_handshaking and self._session.is_encrypted:
            self._is_handshaking = False
        self._session.receive_data(data)
        if self._session.replies_taken != self._replies_seen:
            self._replies_seen = self._session.replies_taken
            self._touch()
        self._work()

    def handshakeCompleted(self) -> None:
        """Go on within TLS.

        Twisted calls this also when the certificate was just refused and the connection is being aborted:
        so only the first octets that come through TLS show that it works.
        """
        handle, creator = self.transport.getHandle(), self._tls_creator
        refusal = creator.judge(handle) if creator is not None else ""
        if refusal:
            self._give_up(quote(replies.TLS_FAILED_AT_HOP, printable(refusal)), EndCause.TLS)
            return
        words = [f"{handle.get_protocol_version_name()} {handle.get_cipher_name()}"]
        if creator is not None and creator.problems:
            words.append(UNVERIFIED)
        if self._tls_by.value:
            words.append(self._tls_by.value)
        tls = ", ".join(words)
        if self._is_tls_at_once:
            self._session.tls = tls
        else:
            self._session.tls_started(tls)
        self._touch()
        self._work()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the session, and whoever waits."""
        self._is_lost = True
        self._tools.pool.remove(self)
        if self._is_handshaking:
            problems = self._tls_creator.problems if self._tls_creator is not None else []
            why = printable(", ".join(problems)) or describe(reason)
            self._session.lose(quote(replies.TLS_FAILED_AT_HOP, why), EndCause.TLS)
        else:
            self._session.lose()
        self.resumeProducing()
        self._work()

    def pauseProducing(self) -> None:
        """The server does not read: read no more of the spool file."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """There is room again."""
        self._is_paused = False
        if self._room is not None:
            room, self._room = self._room, None
            room.callback(None)

    def stopProducing(self) -> None:
        """The connection is going; connectionLost does the rest."""

    # Inside

    def _touch(self) -> None:
        self.deadline = self._tools.clock.monotonic() + self._session.time_limit.total_seconds()

    def _work(self) -> None:
        """Send what the session has to say, and act on its events."""
        session = self._session
        while True:
            data = session.data_to_send()
            if data and not self._is_lost:
                send_now(self.transport, data)
            event = session.next_event()
            if event is None:
                return
            self._act_on(event)

    def _act_on(self, event: ClientEvent) -> None:
        match event:
            case TransactionEnded():
                self._end_transaction(event)
            case ContentWanted():
                sending = Deferred.fromCoroutine(self._send_file())
                sending.addErrback(self._content_trouble)
            case SessionReady():
                self._become_ready(None)
            case TlsRequested():
                self._start_tls()
            case SessionEnded():
                self._close()
                self._become_ready(event)

    def _forsake(self, cancelled: Deferred[Any]) -> None:
        """Nobody waits for the connection any more."""
        self._is_forsaken = True
        self._waiter = None
        self.abort()

    def _become_ready(self, ended: SessionEnded | None) -> None:
        if not self.ready.called and not self._is_forsaken:
            self.ready.callback(ended)

    def _end_transaction(self, event: TransactionEnded) -> None:
        waiter, self._waiter, self._content = self._waiter, None, None
        if self._session.is_ready:
            self._tools.pool.release(self)
        if waiter is not None:
            waiter.callback(event)

    def _start_tls(self) -> None:
        self._is_handshaking = True
        self._tls_creator = self._make_tls()
        self.transport.startTLS(self._tls_creator)

    def _close(self) -> None:
        """Close after what was written; `expire` cuts a peer that does not let go."""
        self._is_closing = True
        self._tools.pool.withdraw(self)
        self.deadline = self._tools.clock.monotonic() + CLOSE_SECONDS
        if not self._is_lost:
            self._stop_producing()  # over TLS nothing closes before
            self.transport.loseConnection()

    def _stop_producing(self) -> None:
        if self._is_producing:
            self._is_producing = False
            self.transport.unregisterProducer()

    def _give_up(self, reply: Reply, cause: EndCause) -> None:
        self._session.lose(reply, cause)
        self._work()
        if not self._is_lost:
            self.transport.abortConnection()

    async def _send_file(self) -> None:
        """Send the content of a spool file, as fast as the server reads."""
        content, waiter, run = self._content, self._waiter, self._tools.run_in_thread
        if not isinstance(content, FileContent):
            raise OSError("no file to read")
        chunks = await run(self._tools.read_chunks, content)
        self._is_producing = True
        self.transport.registerProducer(self, True)
        while chunk := await run(next, chunks, b""):
            if self._waiter is not waiter:
                return  # the server has answered early, or is gone
            self._session.send_content(chunk)
            self._touch()
            self._work()
            if self._is_paused:
                self._room = Deferred()
                await self._room
        if self._waiter is not waiter:
            return
        self._stop_producing()
        self._session.end_content()
        self._touch()
        self._work()

    def _content_trouble(self, failure: Failure) -> None:
        self._log.failure("A message could not be read for sending", failure)
        self._give_up(replies.CONTENT_UNREADABLE, EndCause.LOST)


def describe(reason: Failure) -> str:
    """Say in one line why a connection failed."""
    return printable(" ".join(str(reason.value).split())) or type(reason.value).__name__


def printable(text: str) -> str:
    """Make printable ASCII of what may hold octets of strangers, so that it forges no line of a log."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)[:200]
