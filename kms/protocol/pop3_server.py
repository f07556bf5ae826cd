"""The server's side of one POP3 session, without I/O (RFC 1939, 2449, 2595, 3206, 5034).

Bytes go in by `receive_data`; `next_event` tells what somebody else must do or decide, and the session is
paused until the matching answer: commands that are pipelined behind it wait (RFC 2449 6.8). Replies come out
of `data_to_send`, in order.

Promises: message numbers are fixed for the session; DELE only marks, and what is marked is asked for removal
at QUIT and nowhere else, so a cut connection deletes nothing. What came before the TLS handshake is never
used after it. An unknown user and a wrong password look the same.

Does not: know files, passwords or time. Flow: pop3_listener carries bytes and events.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

import attrs

from kms.protocol.lines import LineBuffer, LineFault
from kms.protocol.pop3_content import MessageEncoder
from kms.protocol.pop3_events import (
    CommandRefused,
    DeletionRequested,
    Event,
    ListedMessage,
    LoginOffered,
    LoginRefusal,
    MessageRequested,
    Pop3ServerSettings,
    TlsRequested,
)
from kms.protocol.pop3_login import LoginDialogue, WrongLogin
from kms.protocol.pop3_maildrop import Maildrop, read_number
from kms.protocol.pop3_replies import ReplyBuffer, list_capabilities

_MAX_LINE_OCTETS = 255 - 2  # RFC 2449 4, without CRLF
_MAX_AUTH_LINE_OCTETS = 12288  # RFC 5034 4
_MOST_OUTPUT_OCTETS = 64 * 1024
_BAD_ARGUMENTS = "Bad arguments"
_LINE_TOO_LONG = "Line too long"
_NO_MAILDROP = Maildrop()


class _State(enum.Enum):
    AUTHORIZATION = 1
    TRANSACTION = 2


@attrs.define(eq=False, repr=False, weakref_slot=False)
class Pop3ServerSession:
    """One session, from greeting to close.

    Args:
        settings: of the listener.
        is_encrypted: TLS is on from the first octet.
        may_send_plain_passwords: this client may log in without TLS.
    """

    _settings: Pop3ServerSettings
    is_encrypted: bool = attrs.field(default=False, kw_only=True)
    _may_send_plain_passwords: bool = attrs.field(default=False, kw_only=True)
    is_closing: bool = attrs.field(default=False, init=False)
    _lines: LineBuffer = attrs.field(factory=LineBuffer, init=False)
    _replies: ReplyBuffer = attrs.field(factory=ReplyBuffer, init=False)
    _pending: Event | None = attrs.field(default=None, init=False)
    _state: _State = attrs.field(default=_State.AUTHORIZATION, init=False)
    _login: LoginDialogue = attrs.field(factory=LoginDialogue, init=False)
    _failed_logins: int = attrs.field(default=0, init=False)
    _failed_commands: int = attrs.field(default=0, init=False)
    _maildrop: Maildrop = attrs.field(default=_NO_MAILDROP, init=False)
    _encoder: MessageEncoder | None = attrs.field(default=None, init=False)
    _content_status: str = attrs.field(default="", init=False)

    # What the listener calls

    def greet(self) -> None:
        """Open the session; the version is never told."""
        self._replies.accept(f"{self._settings.hostname} POP3 ready")

    def receive_data(self, data: bytes) -> None:
        """Take what the client sent."""
        if not self.is_closing:
            self._lines.append(data)

    @property
    def buffered_octets(self) -> int:
        """How much of what came is not yet looked at."""
        return self._lines.octets

    @property
    def is_sending(self) -> bool:
        """Whether more of the requested message is wanted."""
        return self._encoder is not None

    def next_event(self) -> Event | None:
        """Obey commands until one needs an answer.

        Returns:
            What is asked; None when nothing is, or when so much is to be sent that it should be sent first.
        """
        while self._pending is None and not self.is_closing and self._replies.octets < _MOST_OUTPUT_OCTETS:
            line = self._lines.next_line(_MAX_AUTH_LINE_OCTETS)
            if line is None:
                return None
            self._pending = self._execute(line)
            if self._pending is not None:
                return self._pending
        return None

    def data_to_send(self) -> bytes:
        """Take all replies so far."""
        return self._replies.take()

    def log_in(self, messages: Sequence[ListedMessage]) -> None:
        """Answer `LoginOffered`: the mailbox is open; message 1 is the first of `messages`."""
        self._pending = None
        self._state = _State.TRANSACTION
        self._maildrop = Maildrop(messages)
        self._replies.accept("Logged in")

    def refuse_login(self, refusal: LoginRefusal) -> None:
        """Answer `LoginOffered`. Only a wrong login counts towards the end of the session (RFC 3206)."""
        self._pending = None
        if refusal is LoginRefusal.WRONG:
            self._failed_logins += 1
            if self._failed_logins >= self._settings.max_failed_logins:
                self.close("[AUTH] Too many failed logins")
                return
        self._replies.refuse(refusal.value)

    def tls_started(self) -> None:
        """Answer `TlsRequested`: forget all that came in clear (RFC 2595 4)."""
        self._pending = None
        self.is_encrypted = True
        self._lines.clear()
        self._login = LoginDialogue()

    def send_content(self, data: bytes, is_last: bool) -> None:
        """Answer `MessageRequested`, or go on with it: a chunk of the message as it is stored.

        Args:
            data: lines with LF or CRLF.
            is_last: nothing follows.
        """
        encoder = self._encoder
        if encoder is None:
            return
        if self._content_status:
            self._replies.accept(self._content_status)
            self._content_status = ""
        self._replies.send(encoder.feed(data))
        if is_last or encoder.is_complete:
            self._replies.send(encoder.finish())
            self._encoder = None
            self._pending = None

    def refuse_message(self, text: str) -> None:
        """Answer `MessageRequested`, if nothing was sent yet: it cannot be read."""
        self._encoder = None
        self._pending = None
        self._replies.refuse(text)

    def finish_update(self, is_complete: bool) -> None:
        """Answer `DeletionRequested` (RFC 1939 6)."""
        self._pending = None
        self.is_closing = True
        if is_complete:
            self._replies.accept("Bye")
        else:
            self._replies.refuse("[SYS/TEMP] some deleted messages not removed")

    def close(self, text: str) -> None:
        """Say -ERR and close; nothing is deleted."""
        self._pending = None
        self.is_closing = True
        self._replies.refuse(text)

    def _fail(self, text: str) -> None:
        """Refuse a command that is wrong in itself."""
        self._failed_commands += 1
        if self._failed_commands >= self._settings.max_failed_commands:
            self.close("Too many errors")
        else:
            self._replies.refuse(text)

    # Commands

    def _execute(self, line: bytes | LineFault) -> Event | None:
        try:
            if isinstance(line, LineFault):
                self._refuse_line(line)
                return None
            if self._login.awaits_response:
                return self._go_on(self._login.respond(line))
            return self._execute_command(line)
        except CommandRefused as refusal:
            self._fail(refusal.text)
        except WrongLogin:
            self.refuse_login(LoginRefusal.WRONG)
        return None

    def _refuse_line(self, fault: LineFault) -> None:
        self._login.end_exchange()
        if fault is LineFault.TOO_LONG:
            raise CommandRefused(_LINE_TOO_LONG)
        self.close("Line without end")

    def _execute_command(self, line: bytes) -> Event | None:
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        if len(line) > _MAX_LINE_OCTETS and verb != b"AUTH":
            raise CommandRefused(_LINE_TOO_LONG)
        command = _COMMANDS.get(verb)
        if command is None:
            raise CommandRefused("Unknown command")
        states, takes_argument, method = command
        if self._state not in states:
            raise CommandRefused("Not valid in this state")
        if not takes_argument and argument.strip():
            raise CommandRefused(_BAD_ARGUMENTS)
        return method(self, argument)

    def _capa(self, _: bytes) -> None:
        lines = list_capabilities(self._may_log_in, self._may_start_tls)
        self._replies.send_lines("Capabilities follow", lines)

    @property
    def _may_log_in(self) -> bool:
        return self.is_encrypted or self._may_send_plain_passwords

    @property
    def _may_start_tls(self) -> bool:
        is_early = self._state is _State.AUTHORIZATION
        return self._settings.offers_stls and is_early and not self.is_encrypted

    def _stls(self, _: bytes) -> Event | None:
        if not self._may_start_tls:
            raise CommandRefused("TLS is on already" if self.is_encrypted else "STLS is not offered")
        if self._lines.octets:  # what was sent in clear must not be obeyed inside TLS (RFC 2595 4)
            self.close("Data after STLS")
            return None
        self._replies.accept("Begin TLS")
        return TlsRequested()

    def _quit(self, _: bytes) -> Event | None:
        deleted = self._maildrop.deleted
        if deleted:
            return DeletionRequested(deleted)
        self.finish_update(True)
        return None

    def _check_may_log_in(self) -> None:
        if not self._may_log_in:
            raise CommandRefused("Start TLS first, passwords are not sent in clear")

    def _take_user(self, argument: bytes) -> None:
        self._check_may_log_in()
        self._login.take_user(argument)
        self._replies.accept("Now the password")

    def _take_password(self, argument: bytes) -> Event | None:
        self._check_may_log_in()
        return self._login.take_password(argument)

    def _authenticate(self, argument: bytes) -> Event | None:
        self._check_may_log_in()
        return self._go_on(self._login.authenticate(argument))

    def _go_on(self, step: LoginOffered | str) -> Event | None:
        if isinstance(step, str):
            self._replies.challenge(step)
            return None
        return step

    def _stat(self, _: bytes) -> None:
        self._replies.accept(f"{self._maildrop.live_count} {self._maildrop.live_octets}")

    def _list(self, argument: bytes) -> None:
        self._tell(argument, lambda message: message.octets)

    def _uidl(self, argument: bytes) -> None:
        self._tell(argument, lambda message: message.uidl)

    def _tell(self, argument: bytes, fact: Callable[[ListedMessage], object]) -> None:
        if argument.strip():
            number = read_number(argument)
            self._replies.accept(f"{number} {fact(self._maildrop.find(number))}")
            return
        self._replies.send_lines(f"{self._maildrop.live_count} messages", self._maildrop.list_facts(fact))

    def _retrieve(self, argument: bytes) -> Event | None:
        number = read_number(argument)
        return self._request(number, None, f"{self._maildrop.find(number).octets} octets")

    def _top(self, argument: bytes) -> Event | None:
        first, _, second = argument.strip().partition(b" ")
        number, body_lines = read_number(first), read_number(second)
        self._maildrop.find(number)
        return self._request(number, body_lines, "Top of message follows")

    def _request(self, number: int, body_lines: int | None, status: str) -> Event:
        self._encoder = MessageEncoder(body_lines)
        self._content_status = status
        return MessageRequested(number)

    def _delete(self, argument: bytes) -> None:
        number = read_number(argument)
        self._maildrop.mark(number)
        self._replies.accept(f"Message {number} marked")

    def _reset(self, _: bytes) -> None:
        self._maildrop.unmark_all()
        self._replies.accept(f"{self._maildrop.live_count} messages")

    def _do_nothing(self, _: bytes) -> None:
        self._replies.accept("Nothing done")


_AUTHORIZATION = frozenset({_State.AUTHORIZATION})
_TRANSACTION = frozenset({_State.TRANSACTION})
_Command = Callable[[Pop3ServerSession, bytes], Event | None]
_COMMANDS: dict[bytes, tuple[frozenset[_State], bool, _Command]] = {
    # verb: states in which it is valid, whether it takes an argument, what it does
    b"CAPA": (_AUTHORIZATION | _TRANSACTION, False, Pop3ServerSession._capa),
    b"QUIT": (_AUTHORIZATION | _TRANSACTION, False, Pop3ServerSession._quit),
    b"STLS": (_AUTHORIZATION, False, Pop3ServerSession._stls),
    b"USER": (_AUTHORIZATION, True, Pop3ServerSession._take_user),
    b"PASS": (_AUTHORIZATION, True, Pop3ServerSession._take_password),
    b"AUTH": (_AUTHORIZATION, True, Pop3ServerSession._authenticate),
    b"STAT": (_TRANSACTION, False, Pop3ServerSession._stat),
    b"LIST": (_TRANSACTION, True, Pop3ServerSession._list),
    b"UIDL": (_TRANSACTION, True, Pop3ServerSession._uidl),
    b"RETR": (_TRANSACTION, True, Pop3ServerSession._retrieve),
    b"TOP": (_TRANSACTION, True, Pop3ServerSession._top),
    b"DELE": (_TRANSACTION, True, Pop3ServerSession._delete),
    b"RSET": (_TRANSACTION, False, Pop3ServerSession._reset),
    b"NOOP": (_TRANSACTION, False, Pop3ServerSession._do_nothing),
}
