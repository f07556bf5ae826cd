"""The client side of SMTP and LMTP: one connection, greeting to QUIT, any number of messages; no I/O.

Promises: nothing that came before a TLS handshake is used after it (RFC 3207 4.2); a login is given only to a
server that offers one; after an answer that fits nothing the connection is ended; nothing is ever sent twice.
What it does not do: connect, keep time, try again. Those are the owner's (service/remote_delivery.py), which
feeds octets and calls, and takes octets and events.

Flow: `receive_data` -> `data_to_send` and `next_event`, after every call. `TlsRequested` -> start TLS, then
`tls_started`; `SessionReady` -> `start` a message; `ContentWanted` -> `send_content`…, `end_content`;
`TransactionEnded` -> the next message, or `quit`; `SessionEnded` -> close the transport.
"""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from kms.domain import reply as replies
from kms.domain.next_hop import TlsPolicy
from kms.domain.reply import Reply
from kms.protocol.client_events import (
    BLOCK_TIME,
    COMMAND_TIME,
    DATA_TIME,
    DOT_TIME,
    QUIT_TIME,
    ClientEvent,
    ContentWanted,
    EndCause,
    SessionEnded,
    SessionReady,
    SmtpClientSettings,
    TlsRequested,
    TransactionEnded,
)
from kms.protocol.client_transaction import TransactionDialogue
from kms.protocol.outgoing_message import OutgoingMessage, ServerTraits
from kms.protocol.remote_reply import RemoteReply, ReplyError, ReplyReader, quote, read_capabilities
from kms.protocol.sasl_client import SaslError, SaslExchange, choose_exchanges


class SmtpClientSession:
    """One session with one server.

    Attributes:
        is_encrypted: the connection is within TLS.
        tls: protocol and cipher, for outcomes.
        is_ready: a message may be started.
        is_over: `SessionEnded` is out or waits to be taken.
        replies_taken: counts the server's replies: progress that a time limit may count from.
        shows_password: the login went out readable by anybody on the way.
    """

    def __init__(
        self, settings: SmtpClientSettings, *, is_encrypted: bool = False, tls: str | None = None
    ) -> None:
        self._settings = settings
        self._reader = ReplyReader()
        self._on_reply: Callable[[RemoteReply], None] = self._greeted
        self._output: list[bytes] = []
        self._events: deque[ClientEvent] = deque()
        self._capabilities: dict[str, str] = {}
        self._traits = ServerTraits(settings.where)
        self._logins: list[SaslExchange] = []
        self._dialogue: TransactionDialogue | None = None
        self._leaves_state = False
        self._is_quitting = False
        self.is_encrypted = is_encrypted
        self.tls = tls
        self.is_ready = False
        self.is_over = False
        self.replies_taken = 0
        self.shows_password = False

    # What the owner calls

    def receive_data(self, data: bytes) -> None:
        """Take octets from the server."""
        reader = self._reader
        reader.feed(data)
        try:
            while not self.is_over and (reply := reader.next_reply()) is not None:
                self.replies_taken += 1
                self._on_reply(reply)
        except ReplyError as error:
            self._end_senselessly(str(error))

    def data_to_send(self) -> bytes:
        """Give the octets that wait to be sent, and forget them."""
        output = self._output
        if not output:
            return b""
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return data

    def next_event(self) -> ClientEvent | None:
        """Give the next event; None when there is none now."""
        return self._events.popleft() if self._events else None

    def tls_started(self, tls: str | None = None) -> None:
        """Go on within TLS, as if nothing had been said before (RFC 3207 4.2)."""
        self.is_encrypted = True
        self.tls = tls
        self._capabilities = {}
        self._say_hello()

    def start(self, message: OutgoingMessage) -> None:
        """Offer one message; only when `is_ready`."""
        self.is_ready = False
        dialogue = TransactionDialogue(message, self._traits, leaves_state=self._leaves_state)
        self._dialogue = dialogue
        self._on_reply = partial(self._transaction_answered, dialogue)
        dialogue.start()
        self._follow(dialogue)

    def send_content(self, chunk: bytes) -> None:
        """Send a piece of the content, in wire form without dot-stuffing."""
        if self._dialogue is not None:
            self._dialogue.send_content(chunk)
            self._follow(self._dialogue)

    def end_content(self) -> None:
        """Say that the content is whole."""
        if self._dialogue is not None:
            self._dialogue.end_content()
            self._follow(self._dialogue)

    def quit(self) -> None:
        """Say good-bye; only when `is_ready`. The session is over with the server's answer."""
        self.is_ready = False
        self._is_quitting = True
        self._send(b"QUIT\r\n")
        self._on_reply = self._quit_answered

    def lose(self, reply: Reply = replies.CONNECTION_LOST, cause: EndCause = EndCause.LOST) -> None:
        """Learn that the connection is gone, or is given up; a message under way gets its outcomes.

        Args:
            reply: a 4yz reply that says why.
            cause: TLS when a handshake failed.
        """
        if self.is_over:
            return
        if self._dialogue is not None:
            self._dialogue.cut(reply, is_loss=True)
            self._follow(self._dialogue)
        else:
            self._end(cause, reply)

    @property
    def time_limit(self) -> timedelta:
        """How long the next answer, or room for the next piece of content, may take."""
        dialogue = self._dialogue
        if dialogue is None:
            return QUIT_TIME if self._is_quitting else COMMAND_TIME
        if dialogue.is_after_dot:
            return DOT_TIME
        if dialogue.is_sending_content:
            return BLOCK_TIME
        return DATA_TIME if dialogue.awaits_data_answer else COMMAND_TIME

    # Greeting, EHLO, STARTTLS

    def _greeted(self, reply: RemoteReply) -> None:
        if reply.code == 220:
            self._say_hello()
        else:
            self._refuse(reply)

    def _say_hello(self) -> None:
        verb = "LHLO" if self._settings.is_lmtp else "EHLO"
        self._send(f"{verb} {self._settings.helo_name}\r\n".encode("ascii"))
        self._on_reply = self._hello_answered

    def _hello_answered(self, reply: RemoteReply) -> None:
        if 200 <= reply.code < 300:
            self._capabilities = read_capabilities(reply)
            self._secure()
        elif reply.code >= 500 and not self._settings.is_lmtp:
            self._send(f"HELO {self._settings.helo_name}\r\n".encode("ascii"))
            self._on_reply = self._helo_answered
        else:
            self._refuse(reply)

    def _helo_answered(self, reply: RemoteReply) -> None:
        if 200 <= reply.code < 300:
            self._secure()
        else:
            self._refuse(reply)

    def _secure(self) -> None:
        policy = self._settings.tls
        if self.is_encrypted or policy is TlsPolicy.OFF:
            self._log_in()
        elif "STARTTLS" in self._capabilities:
            self._send(b"STARTTLS\r\n")
            self._on_reply = self._starttls_answered
        elif policy is TlsPolicy.OPPORTUNISTIC:
            self._log_in()
        else:
            self._end_politely(EndCause.TLS, replies.TLS_NOT_OFFERED_BY_HOP)

    def _starttls_answered(self, reply: RemoteReply) -> None:
        if reply.code == 220:
            if not self._reader.is_empty:
                self._end(EndCause.TLS, replies.TLS_FAILED_AT_HOP)  # octets that somebody may have slipped in
                return
            self._on_reply = self._answered_before_tls
            self._events.append(TlsRequested())
        elif reply.code >= 400 and self._settings.tls is TlsPolicy.OPPORTUNISTIC and reply.code != 421:
            self._log_in()
        else:
            self._end_politely(EndCause.TLS, quote(replies.TLS_NOT_OFFERED_BY_HOP, reply))

    def _answered_before_tls(self, reply: RemoteReply) -> None:
        self._end(EndCause.TLS, replies.TLS_FAILED_AT_HOP)

    # AUTH

    def _log_in(self) -> None:
        credentials = self._settings.credentials
        if credentials is None:
            self._become_ready()
            return
        offered = self._capabilities.get("AUTH", "").upper().split()
        self._logins = choose_exchanges(offered, credentials, is_encrypted=self.is_encrypted)
        if self._logins:
            self._try_login()
        else:
            self._end_politely(EndCause.LOGIN, replies.LOGIN_NOT_OFFERED_BY_HOP)

    def _try_login(self) -> None:
        exchange = self._logins[0]
        try:
            response = exchange.initial_response()
        except SaslError as error:
            self._end_politely(EndCause.LOGIN, quote(replies.LOGIN_REFUSED_BY_HOP, error))
            return
        self.shows_password = exchange.shows_password and not self.is_encrypted
        line = b"AUTH " + exchange.mechanism.encode("ascii")
        if response is not None:
            line += b" " + (base64.b64encode(response) or b"=")
        self._send(line + b"\r\n")
        self._on_reply = self._login_answered

    def _login_answered(self, reply: RemoteReply) -> None:
        if 200 <= reply.code < 300:
            self._become_ready()
        elif reply.code == 334:
            self._answer_challenge(reply.lines[-1])
        elif reply.code == 504 and len(self._logins) > 1:
            self._logins.pop(0)
            self._try_login()
        else:
            self._end_politely(EndCause.LOGIN, quote(replies.LOGIN_REFUSED_BY_HOP, reply))

    def _answer_challenge(self, text: bytes) -> None:
        try:
            response = self._logins[0].respond(base64.b64decode(text, validate=True))
        except (SaslError, binascii.Error):
            self._send(b"*\r\n")
            self._on_reply = self._login_cancelled
        else:
            self._send(base64.b64encode(response) + b"\r\n")

    def _login_cancelled(self, reply: RemoteReply) -> None:
        self._end_politely(EndCause.LOGIN, quote(replies.LOGIN_REFUSED_BY_HOP, reply))

    def _become_ready(self) -> None:
        capabilities = self._capabilities
        size = capabilities.get("SIZE")
        self._traits = ServerTraits(
            where=self._settings.where,
            tls=self.tls,
            is_lmtp=self._settings.is_lmtp,
            has_pipelining="PIPELINING" in capabilities,
            takes_8bit="8BITMIME" in capabilities,
            takes_utf8="SMTPUTF8" in capabilities,
            takes_dsn="DSN" in capabilities,
            size_limit_octets=None if size is None else int(size) if size.isascii() and size.isdigit() else 0,
        )
        self._rest()
        self._events.append(SessionReady())

    # Messages

    def _transaction_answered(self, dialogue: TransactionDialogue, reply: RemoteReply) -> None:
        dialogue.take(reply)
        self._follow(dialogue)

    def _follow(self, dialogue: TransactionDialogue) -> None:
        if dialogue.output:
            self._output += dialogue.output
            dialogue.output.clear()
        if dialogue.wants_content:
            dialogue.wants_content = False
            self._events.append(ContentWanted())
        if dialogue.is_over:
            self._dialogue = None
            self._leaves_state = dialogue.leaves_state
            self._events.append(TransactionEnded(dialogue.outcomes, dialogue.has_mail_answer))
            if dialogue.is_broken:
                self._output.clear()
                self._end(EndCause.LOST, replies.CONNECTION_LOST)
            else:
                self._rest()

    def _rest(self) -> None:
        self.is_ready = True
        self._on_reply = self._surprised

    def _surprised(self, reply: RemoteReply) -> None:
        """Nothing was asked: most often a 421 for having been idle."""
        self._end(EndCause.LOST, reply.to_reply(klass=4))

    # The end

    def _quit_answered(self, reply: RemoteReply) -> None:
        self._end(EndCause.QUIT, reply.to_reply())

    def _refuse(self, reply: RemoteReply) -> None:
        if 300 <= reply.code < 400 or reply.code < 300:
            self._end_senselessly(str(reply))
        else:
            self._end_politely(EndCause.REFUSED, reply.to_reply())

    def _end_politely(self, cause: EndCause, reply: Reply) -> None:
        self._send(b"QUIT\r\n")
        self._end(cause, reply)

    def _end_senselessly(self, quoted: str) -> None:
        self.lose(quote(replies.UNEXPECTED_ANSWER, quoted))

    def _end(self, cause: EndCause, reply: Reply) -> None:
        self.is_ready = False
        self.is_over = True
        self._events.append(SessionEnded(cause, reply))

    def _send(self, line: bytes) -> None:
        self._output.append(line)
