"""One POP3 client's connection: bytes and events between a transport and the session (pop3_server.py).

Promises: replies in order, one write for each; a client that does not read is not answered until it does, and
one that sends more than it lets us answer is not read. A mailbox is given back before the last reply, so that
a client may come again at once; and always when the connection is lost, also when that is while the login is
being proved. Who closes its sending side gets all its answers first. An error in the middle of a message cuts
the connection: it never looks like the message's end.

Flow: made by pop3_listener.py; a login goes to portal.py; files are read by mailboxes.py in its thread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kms.domain.address_group import parse_client_address
from kms.protocol.pop3_events import (
    DeletionRequested,
    Event,
    LoginOffered,
    LoginRefusal,
    MessageRequested,
    TlsRequested,
)
from kms.protocol.pop3_server import Pop3ServerSession
from kms.protocol.sasl import VerifierWanted
from kms.service.channel_bindings import read_bindings
from kms.service.clock import Turns
from kms.service.hashing_queue import LoginsBusy
from kms.service.login_checker import Login
from kms.service.login_delay import LoginTooSoon
from kms.service.login_guard import LoginRefused
from kms.service.mailboxes import MailboxInUse, MessageReader, OpenMailbox
from kms.service.pop3_service import Pop3Service
from kms.service.portal import IMailboxAvatar
from kms.service.tls import describe
from kms.service.wire import close_now, send_now
from kms.store.maildir_listing import MessageGone

_MOST_UNREAD_OCTETS = 64 * 1024
_CLOSING_SECONDS = 10.0
_STRANGER_SECONDS = 3600.0  # whoever has not logged in by then does not hold a slot any longer
HASTY_CLOSING_SECONDS = 0.5  # at shutdown: who does not answer close_notify must not hold the process
_log = Logger(namespace="kms.pop3")


@implementer(IPushProducer, IHalfCloseableProtocol)
class Pop3Connection(Protocol):
    """One client's connection. As a producer it learns from the transport whether the client reads."""

    transport: Any

    def __init__(self, service: Pop3Service) -> None:
        self._service = service
        self._is_busy = self._is_over = False  # busy: the pump runs, or waits
        self._is_blocked = False  # the client does not read
        self._is_deaf = False  # we do not read
        self._has_heard_all = False  # the client sends no more
        self._closing_at: float | None = None
        self._writable: Deferred[None] | None = None
        self._mailbox: OpenMailbox | None = None
        self._logout: Callable[[], object] | None = None
        self._deleted = 0

    # Called by Twisted

    def connectionMade(self) -> None:
        """Greet."""
        service = self._service
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self._client = parse_client_address(self.transport.getPeer().host)
        self._started_at = self._active_at = service.clock.monotonic()
        self._session = Pop3ServerSession(
            service.settings,
            is_encrypted=service.is_tls_at_once,
            may_send_plain_passwords=service.may_send_plain_passwords(self._client),
            read_bindings=partial(read_bindings, self.transport),
        )
        service.connection_made(self)
        self.transport.registerProducer(self, True)
        self._session.greet()
        self.wake_up()

    def dataReceived(self, data: bytes) -> None:
        """Obey what the client says."""
        if self._is_over:
            return
        self._session.receive_data(data)
        self.wake_up()
        self._balance()

    def readConnectionLost(self) -> None:
        """The client sends no more, but may listen: obey what it has said, then close. QUIT alone deletes."""
        self._has_heard_all = True
        self.wake_up()

    def writeConnectionLost(self) -> None:
        """Never called: we close both ways at once."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give the mailbox back; what is marked as deleted stays."""
        self._is_over = True
        self._unblock()
        if not self._is_busy:
            self._release()
        self._service.connection_lost(self)

    def pauseProducing(self) -> None:
        """The client does not read: say nothing more. (Reading goes on, or a TLS handshake would hang.)"""
        self._is_blocked = True

    def resumeProducing(self) -> None:
        """The client has read."""
        self._active_at = self._service.clock.monotonic()
        self._unblock()

    def stopProducing(self) -> None:
        """The connection is being lost; `connectionLost` follows."""

    # Called by the factory

    def wake_up(self) -> None:
        """Go on, if nothing is going on."""
        if not self._is_busy and not self._is_over:
            self._is_busy = True
            Deferred.fromCoroutine(self._pump()).addErrback(self._crash)

    def check_time(self, now: float) -> None:
        """Close a session that is idle too long, without a word (RFC 1939 3); cut one that does not close."""
        if self._closing_at is not None:
            if now >= self._closing_at:
                self.abort()
        elif now >= self._started_at + _STRANGER_SECONDS and self._mailbox is None:
            self.abort()
        elif now - self._active_at >= self._service.idle_timeout.total_seconds():
            if self._is_blocked:
                self.abort()
            elif not self._is_busy:
                self._close()

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abortConnection()

    # The pump

    async def _pump(self) -> None:
        """Send what is due and act on events, one after the other, until there is nothing to do."""
        turns = Turns(self._service.clock)
        try:
            while not self._is_over:
                await self._wait_for_client()
                event = self._next_event()
                is_idle = not self._flush() and event is None
                if not is_idle:  # octets that complete no command win no time
                    self._active_at = self._service.clock.monotonic()
                if self._session.is_closing:
                    self._close()
                if event is not None and not self._is_over:
                    await self._answer(event)
                elif is_idle:
                    self._close_if_done()
                    return
                elif self._session.has_commands:
                    await turns.next()
        finally:
            self._is_busy = False
            if self._is_over:
                self._release()

    def _next_event(self) -> Event | None:
        if self._service.is_draining and not self._session.is_closing:
            self._session.close("[SYS/TEMP] Server is shutting down")
        event = self._session.next_event()
        if self._session.is_closing:
            self._release()
        self._balance()
        return event

    def _balance(self) -> None:
        """Stop reading while much waits, go on when little does."""
        is_full = self._session.buffered_octets > _MOST_UNREAD_OCTETS
        if is_full is self._is_deaf or self._is_over:
            return
        self._is_deaf = is_full
        if is_full:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    async def _wait_for_client(self) -> None:
        if self._is_blocked and not self._is_over:
            self._writable = Deferred()
            await self._writable

    def _unblock(self) -> None:
        self._is_blocked = False
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.callback(None)

    def _flush(self) -> bool:
        data = self._session.data_to_send()
        if data and not self._is_over:
            send_now(self.transport, data)
        return bool(data)

    async def _answer(self, event: Event) -> None:
        match event:
            case LoginOffered():
                await self._log_in(event)
            case VerifierWanted(user):
                await self._fetch_verifier(user)
            case TlsRequested() if self._has_heard_all:
                self._close()  # no handshake can come
            case TlsRequested():
                self._start_tls()
            case MessageRequested(number):
                await self._send_message(number)
            case DeletionRequested(numbers):
                await self._delete(numbers)

    async def _log_in(self, offer: LoginOffered) -> None:
        service = self._service
        try:
            login = Login(self._client, offer.mechanism, offer.user, offer.proof, offer.authorization)
            avatar: Any = await service.portal.login(login, self._client, IMailboxAvatar)
        except UnauthorizedLogin:
            service.log.login_failed(offer.user, self._client, offer.mechanism)
            self._session.refuse_login(LoginRefusal.WRONG)
        except (LoginRefused, MailboxInUse) as refused:
            is_in_use = isinstance(refused, MailboxInUse)
            self._session.refuse_login(LoginRefusal.IN_USE if is_in_use else LoginRefusal.REFUSED)
        except LoginTooSoon:
            self._session.refuse_login(LoginRefusal.TOO_SOON)
        except LoginsBusy:
            self._session.refuse_login(LoginRefusal.TROUBLE)
        except Exception:
            _log.failure("A POP3 login could not be decided")
            self._session.refuse_login(LoginRefusal.TROUBLE)
        else:
            self._take_mailbox(*avatar[1:])

    async def _fetch_verifier(self, user: str) -> None:
        try:
            self._session.take_verifier(await self._service.portal.fetch_verifier(user))
        except Exception:
            _log.failure("A POP3 login could not be decided")
            self._session.refuse_login(LoginRefusal.TROUBLE)

    def _take_mailbox(self, mailbox: OpenMailbox, logout: Callable[[], object]) -> None:
        self._mailbox, self._logout = mailbox, logout
        self._session.log_in(mailbox.messages)
        self._service.log.logged_in(mailbox.login, self._client, describe(self.transport))

    def _start_tls(self) -> None:
        self.transport.startTLS(self._service.tls)
        self._session.tls_started()

    async def _send_message(self, number: int) -> None:
        reader = await self._fetch(number)
        if reader is None:
            return
        try:
            self._session.send_content(reader.first, is_last=reader.is_whole)
            while self._session.is_sending and not self._is_over:
                self._flush()
                await self._wait_for_client()
                data = await reader.read()
                self._session.send_content(data, is_last=not data)
        finally:
            reader.close()

    async def _fetch(self, number: int) -> MessageReader | None:
        if self._mailbox is None:
            return None
        try:
            return await self._mailbox.fetch(number)
        except MessageGone:
            self._session.refuse_message("Message was removed by another program")
        except Exception:
            _log.failure("A message of {login} cannot be read", login=self._mailbox.login)
            self._session.refuse_message("[SYS/TEMP] Message cannot be read now")
        return None

    async def _delete(self, numbers: tuple[int, ...]) -> None:
        is_complete = False
        try:
            if self._mailbox is not None:
                is_complete = await self._mailbox.delete(numbers)
                self._deleted = len(numbers)
        except Exception:
            _log.failure("Messages cannot be removed")
        self._session.finish_update(is_complete)

    # The end

    def _release(self) -> None:
        """Give the mailbox back."""
        mailbox, self._mailbox = self._mailbox, None
        logout, self._logout = self._logout, None
        if logout is not None and mailbox is not None:
            logout()
            self._service.log.ended(mailbox.login, self._client, self._deleted)

    def _close_if_done(self) -> None:
        if self._has_heard_all and not self._is_over:
            self._close()

    def _close(self) -> None:
        """Close when all is sent; `check_time` cuts what takes too long."""
        self._balance()  # or the client's own close would not be seen
        self._is_over = True
        self._release()
        seconds = HASTY_CLOSING_SECONDS if self._service.is_draining else _CLOSING_SECONDS
        self._closing_at = self._service.clock.monotonic() + seconds
        self.transport.unregisterProducer()
        close_now(self.transport)

    def _crash(self, failure: Failure) -> None:
        _log.failure("A POP3 session failed and was cut", failure)
        self.abort()
