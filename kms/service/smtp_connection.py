"""Carries bytes and events between a transport and an SMTP session.

Promises: replies leave in the order of the commands, whatever waits; a client that floods or does not read is
not read from; one that has closed its sending side gets all its answers first. It has no timer: smtp_listener.py
watches the deadlines. No decision is made here: the reception answers the events.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from kms.domain import reply
from kms.domain.reply import Reply
from kms.protocol.smtp_events import Event, TlsRequested
from kms.protocol.smtp_server import SmtpServerSession
from kms.service.channel_bindings import read_bindings
from kms.service.clock import Turns
from kms.service.data_rate import DataRate
from kms.service.entrance import client_of, server_address_of
from kms.service.tls import describe
from kms.service.visit import Visit
from kms.service.wire import close_now, send_now

if TYPE_CHECKING:
    from kms.service.smtp_listener import SmtpFactory

_MOST_BUFFERED_OCTETS = 64 * 1024
_MOST_LINES_A_TURN, _MOST_EVENTS_A_TURN = 20, 10
_CLOSING_SECONDS = 10.0
HASTY_CLOSING_SECONDS = 0.5  # at shutdown: who does not answer close_notify must not hold the process


@implementer(IPushProducer, IHalfCloseableProtocol)
class SmtpConnection(Protocol):
    """One client's connection. As a push producer it learns when the client does not read."""

    transport: Any
    factory: SmtpFactory
    session: SmtpServerSession
    visit: Visit

    def __init__(self, factory: SmtpFactory) -> None:
        self.factory = factory
        self.started = self.deadline = 0.0
        self._received_octets = 0
        self._data_rate = DataRate()
        self._turns: Turns | None = None
        self._waits = False
        self._is_pumping = self._is_stalled = self._is_shut = False
        self._is_reading = True
        self._has_heard_all = False

    # Called by Twisted

    def connectionMade(self) -> None:
        """Greet the client."""
        factory, rules, client = self.factory, self.factory.rules, client_of(self.transport)
        self.started = factory.clock.monotonic()
        self.session = SmtpServerSession(
            rules.session,
            is_encrypted=rules.is_tls_at_once,
            may_send_plain_passwords=rules.may_send_plain_passwords(client),
            read_bindings=partial(read_bindings, self.transport),
            sign=self._sign_refusal,
        )
        tls, server = partial(describe, self.transport), partial(server_address_of, self.transport)
        self.visit = Visit(client, self.session, rules.is_submission, tls, server)
        self.transport.registerProducer(self, True)
        factory.live.add(self)
        refusal = factory.reception.connected(self.visit)
        if isinstance(refusal, Deferred):
            self._waits = True
            refusal.addCallback(self._greet)
        else:
            self._greet(refusal)

    def _greet(self, refusal: Reply | None) -> None:
        self._waits = False
        factory = self.factory
        greeting = reply.SHUTTING_DOWN if factory.is_draining else refusal or factory.greeting
        self.session.greet(greeting)
        self._await_client()
        self._flush()
        if self.session.buffered_octets or self._has_heard_all:  # it talked before it was greeted
            self._pump()
            self._balance()

    def dataReceived(self, data: bytes) -> None:
        """Feed the session, and go on unless it waits for an answer."""
        self._received_octets += len(data)
        self.session.receive_data(data)
        if not self._waits and not self._is_stalled:
            self._pump()
        if self._waits or self._is_stalled or not self._is_reading:
            self._balance()

    def readConnectionLost(self) -> None:
        """The client sends no more, but may listen: answer what it has sent, then close.

        Whoever closes altogether comes this way too, mostly with nothing under way.
        """
        self._has_heard_all = True
        if not self._received_octets:
            self._shut()  # also before the greeting: it asks nothing
        elif not self._waits and not self._is_stalled:
            self._pump()

    def writeConnectionLost(self) -> None:
        """Never called: we close both ways at once."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget what was not finished; what the client had sent ahead is not carried out any more."""
        self._is_shut = True
        self.session.close(reply.CLOSING)
        self.session.data_to_send()
        self.factory.live.discard(self)
        self.factory.reception.connection_lost(self.visit)
        self.factory.one_gone()

    def pauseProducing(self) -> None:
        """The client does not read: say nothing more, and soon read nothing more.

        The transport itself is not paused here: that would stop a TLS handshake for ever.
        """
        self._is_stalled = True

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._is_stalled = False
        if not self._waits and not self._is_pumping:
            self._pump()
        self._balance()

    def stopProducing(self) -> None:
        """The transport is gone; connectionLost follows."""

    # The loop

    def _pump(self) -> None:
        """Answer events until the session needs more octets, or an answer is waited for."""
        self._is_pumping = True
        session = self.session
        has_moved = session.is_receiving_content
        for _ in range(0 if self._is_stalled else _MOST_EVENTS_A_TURN):
            event = session.next_event(_MOST_LINES_A_TURN)
            if event is None:
                break
            has_moved = True
            self._take(event)
            if self._waits or self._is_stalled:
                break
        self._is_pumping = False
        has_spoken = self._flush()
        if not self._waits:
            if has_spoken or has_moved:
                self._await_client()
            if self._has_heard_all or self.factory.is_draining:
                self._end_if_done(has_spoken)
            if has_spoken and session.buffered_octets and not self._is_stalled:
                self._waits = True  # thousands of commands in a row let other sessions go first
                self._turns = self._turns or Turns(self.factory.clock)
                self._turns.next().addCallback(self._answered)
            else:
                self._turns = None

    def _end_if_done(self, has_spoken: bool) -> None:
        """End where nothing more is to come: while draining, or when all was heard and all is answered."""
        self.factory.session_paused(self)
        may_go_on = self._is_stalled or (has_spoken and self.session.buffered_octets)
        if self._has_heard_all and not may_go_on and not self._is_shut:
            self._shut()

    def _take(self, event: Event) -> None:
        if type(event) is TlsRequested:
            if not self._has_heard_all:  # else no handshake can come
                self._start_tls()
            return
        answer = self.factory.reception.answer(self.visit, event)
        if answer is None:
            return
        if type(answer) is Reply:
            self.session.reply(answer)
            return
        self._waits = True
        assert isinstance(answer, Deferred)
        answer.addCallback(self._answered)

    def _answered(self, answer: Reply | None) -> None:
        """The answer has come: perhaps at once, within `_take`, perhaps later."""
        self._waits = False
        if answer is not None:
            self.session.reply(answer)
        if not self._is_pumping:
            if self._is_stalled:
                self._flush()
            else:
                self._pump()
            self._balance()

    def _flush(self) -> bool:
        """Send the replies so far; True where there were any."""
        data = self.session.data_to_send()
        if data:
            send_now(self.transport, data)
        if self.session.is_closing and not self._is_shut:
            self._shut()
        return bool(data)

    def _shut(self) -> None:
        self._is_shut = True
        seconds = HASTY_CLOSING_SECONDS if self.factory.is_draining else _CLOSING_SECONDS
        self.deadline = self.factory.clock.monotonic() + seconds
        self.transport.unregisterProducer()
        close_now(self.transport)

    def _balance(self) -> None:
        """Stop reading while much waits, go on when little does."""
        must_wait = (self._waits or self._is_stalled) and self.session.buffered_octets > _MOST_BUFFERED_OCTETS
        if must_wait and self._is_reading:
            self._is_reading = False
            self.transport.pauseProducing()
        elif not must_wait and not self._is_reading and not self._has_heard_all:
            self._is_reading = True
            self.transport.resumeProducing()

    # TLS

    def _start_tls(self) -> None:
        self._flush()
        self.transport.startTLS(self.factory.tls)
        self.session.tls_started()
        self.visit.account = None

    def _sign_refusal(self, reply: Reply, is_observed: bool = False) -> Reply:
        return self.factory.reception.refused_by_session(self.visit, reply, is_observed)

    # Time

    def _await_client(self) -> None:
        """Give the client its time anew: for a whole command, or for the next part of its message.

        Octets that complete no command win no time, so a client that sends one now and then is cut.
        """
        if not self._is_shut:
            self.deadline = self.factory.clock.monotonic() + self.factory.command_seconds

    @property
    def is_idle(self) -> bool:
        """No transaction is under way."""
        return not self._waits and not self.session.is_in_transaction

    def check_time(self, now: float) -> None:
        """Close the session where the client, or the session, took too long."""
        if self._is_shut:
            if now >= self.deadline:
                self.transport.abortConnection()
        elif now >= self.started + self.factory.session_seconds and not self._waits:
            self.end(reply.SESSION_TOO_LONG)
        elif now >= self.deadline and not self._waits:
            self.end(reply.IDLE_TOO_LONG)
        elif self._sends_too_slowly(now):
            self._data_rate.is_told = is_observed = self.factory.rules.observes_data_rate
            said = self._sign_refusal(reply.DATA_TOO_SLOW, is_observed)
            if not is_observed:
                self.end(said)

    def _sends_too_slowly(self, now: float) -> bool:
        """Only while we read: what our own disk delays is not the client's fault."""
        if self.session.is_receiving_content and self._is_reading and not self._waits:
            return self._data_rate.is_below(self.factory.rules.minimum_data_rate, now, self._received_octets)
        self._data_rate.forget()
        return False

    def end(self, goodbye: Reply) -> None:
        """Say 421 and close; a transaction that is not answered yet is given up."""
        self.session.close(goodbye)
        self._flush()
