"""The server's side of one POP3 session, without I/O (RFC 1939, 2449, 2595, 3206, 5034, 6856).

Bytes go in by `receive_data`; `next_event` tells what somebody else must do or decide, and the session is
paused until the matching answer: commands that are pipelined behind it wait (RFC 2449 6.8). Replies come out
of `data_to_send`, in order.

Promises: message numbers are fixed for the session; DELE only marks, and what is marked is asked for removal
at QUIT and nowhere else, so a cut connection deletes nothing. What came before the TLS handshake is never
used after it. An unknown user and a wrong password look the same.

Does not: know files, passwords or time. Flow: pop3_listener carries bytes and events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from kms.domain.scram import ScramVerifier
from kms.protocol import sasl
from kms.protocol.lines import LineBuffer, LineFault
from kms.protocol.pop3_events import (
    CommandRefused,
    DeletionRequested,
    Event,
    ListedMessage,
    LoginRefusal,
    Pop3ServerSettings,
    TlsRequested,
)
from kms.protocol.pop3_login import LoginAbandoned, LoginDialogue, Step, WrongLogin
from kms.protocol.pop3_replies import LANGUAGES, ReplyBuffer, choose_language, list_capabilities
from kms.protocol.pop3_transaction import TRANSACTION_COMMANDS, Transaction

_MAX_LINE_OCTETS = 255 - 2  # RFC 2449 4, without CRLF
_MAX_AUTH_LINE_OCTETS = 12288  # RFC 5034 4
_MOST_OUTPUT_OCTETS = 64 * 1024
_MOST_COMMANDS_A_TURN = 20
_BAD_ARGUMENTS = "Bad arguments"
_LINE_TOO_LONG = "Line too long"


@attrs.define(eq=False, repr=False, weakref_slot=False)
class Pop3ServerSession:
    """One session, from greeting to close.

    Args:
        settings: of the listener.
        is_encrypted: TLS is on from the first octet.
        may_send_plain_passwords: this client may log in without TLS.
        read_bindings: tells what SCRAM can be bound to.
    """

    _settings: Pop3ServerSettings
    is_encrypted: bool = attrs.field(default=False, kw_only=True)
    _may_send_plain_passwords: bool = attrs.field(default=False, kw_only=True)
    _read_bindings: Callable[[], Mapping[str, bytes]] = attrs.field(default=dict, kw_only=True)
    is_closing: bool = attrs.field(default=False, init=False)
    _lines: LineBuffer = attrs.field(factory=LineBuffer, init=False)
    _replies: ReplyBuffer = attrs.field(factory=ReplyBuffer, init=False)
    _pending: Event | None = attrs.field(default=None, init=False)
    _stamp: bytes = attrs.field(init=False)
    _login: LoginDialogue = attrs.field(init=False)
    _failed_logins: int = attrs.field(default=0, init=False)
    _failed_commands: int = attrs.field(default=0, init=False)
    _transaction: Transaction = attrs.field(init=False)
    _is_logged_in: bool = attrs.field(default=False, init=False)
    _is_utf8: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        settings = self._settings
        self._stamp = (
            sasl.make_stamp(settings.make_nonce(), settings.hostname) if settings.offers_apop else b""
        )
        self._login = self._make_login()
        self._transaction = Transaction((), self._replies)

    def _make_login(self) -> LoginDialogue:
        may_send_passwords = self.is_encrypted or self._may_send_plain_passwords
        return LoginDialogue(self._settings, may_send_passwords, self._read_bindings, self._stamp)

    # What the listener calls

    def greet(self) -> None:
        """Open the session; the version is never told."""
        self._replies.accept(f"{self._settings.hostname} POP3 ready {self._stamp.decode()}".rstrip())

    def receive_data(self, data: bytes) -> None:
        """Take what the client sent."""
        if not self.is_closing:
            self._lines.append(data)

    @property
    def buffered_octets(self) -> int:
        """How much of what came is not yet looked at; what comes after the end never is."""
        return 0 if self.is_closing else self._lines.octets

    @property
    def has_commands(self) -> bool:
        """Whether there is a command to obey, once nothing is asked."""
        return not self.is_closing and self._lines.has_line

    @property
    def is_sending(self) -> bool:
        """Whether more of the requested message is wanted."""
        return self._transaction.is_sending

    def next_event(self) -> Event | None:
        """Obey commands until one needs an answer.

        Returns:
            What is asked; None when nothing is, when so much is to be sent that it should be sent first, or after
            so many commands that others should have their turn.
        """
        for _ in range(_MOST_COMMANDS_A_TURN):
            if self._pending is not None or self.is_closing or self._replies.octets >= _MOST_OUTPUT_OCTETS:
                return None
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
        self._transaction = Transaction(messages, self._replies, self._is_utf8)
        self._go_on(self._login.succeed())

    def take_verifier(self, verifier: ScramVerifier) -> None:
        """Answer `VerifierWanted`; or call `refuse_login`."""
        self._pending = None
        self._go_on(self._login.take_verifier(verifier))

    def refuse_login(self, refusal: LoginRefusal) -> None:
        """Answer `LoginOffered`. Only a wrong login counts towards the end of the session (RFC 3206)."""
        self._pending = None
        self._login.end_exchange()
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
        self._is_utf8 = False
        self._lines.clear()
        self._login = self._make_login()

    def send_content(self, data: bytes, is_last: bool) -> None:
        """Answer `MessageRequested`, or go on with it: a chunk of the message as it is stored.

        Args:
            data: lines with LF or CRLF.
            is_last: nothing follows.
        """
        if self.is_sending:
            self._transaction.send_content(data, is_last)
            if not self.is_sending:
                self._pending = None

    def refuse_message(self, text: str) -> None:
        """Answer `MessageRequested`, if nothing was sent yet: it cannot be read."""
        self._transaction.give_up_content()
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
        except LoginAbandoned:
            self.close("Authentication cancelled")
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
        on_mailbox = TRANSACTION_COMMANDS.get(verb)
        if on_mailbox is not None:
            self._check(self._is_logged_in, on_mailbox[0], argument)
            return on_mailbox[1](self._transaction, argument)
        command = _COMMANDS.get(verb)
        if command is None:
            raise CommandRefused("Unknown command")
        is_valid_later, takes_argument, method = command
        self._check(is_valid_later or not self._is_logged_in, takes_argument, argument)
        return method(self, argument)

    def _check(self, is_valid: bool, takes_argument: bool, argument: bytes) -> None:
        if not is_valid:
            raise CommandRefused("Not valid in this state")
        if not takes_argument and argument.strip():
            raise CommandRefused(_BAD_ARGUMENTS)

    def _capa(self, _: bytes) -> None:
        login = self._login
        lines = list_capabilities(
            login.mechanisms, login.may_send_passwords, self._may_start_tls, self._settings.login_delay
        )
        self._replies.send_lines("Capabilities follow", lines)

    @property
    def _may_start_tls(self) -> bool:
        return self._settings.offers_stls and not self._is_logged_in and not self.is_encrypted

    def _stls(self, _: bytes) -> Event | None:
        if not self._may_start_tls:
            raise CommandRefused("TLS is on already" if self.is_encrypted else "STLS is not offered")
        if self._lines.octets:  # what was sent in clear must not be obeyed inside TLS (RFC 2595 4)
            self.close("Data after STLS")
            return None
        self._replies.accept("Begin TLS")
        return TlsRequested()

    def _quit(self, _: bytes) -> Event | None:
        deleted = self._transaction.deleted
        if deleted:
            return DeletionRequested(deleted)
        self.finish_update(True)
        return None

    def _take_user(self, argument: bytes) -> None:
        self._login.take_user(argument)
        self._replies.accept("Now the password")

    def _take_password(self, argument: bytes) -> Event | None:
        return self._login.take_password(argument)

    def _take_apop(self, argument: bytes) -> Event | None:
        return self._login.take_apop(argument)

    def _authenticate(self, argument: bytes) -> Event | None:
        if argument.strip():
            return self._go_on(self._login.authenticate(argument))
        lines = (f"{name}\r\n" for name in self._login.mechanisms)
        self._replies.send_lines("Mechanisms follow", lines)
        return None

    def _go_on(self, step: Step | None) -> Event | None:
        if step is None:
            self._is_logged_in = True
            self._replies.accept("Logged in")
        elif isinstance(step, str):
            self._replies.challenge(step)
        else:
            return step
        return None

    def _switch_to_utf8(self, _: bytes) -> None:
        self._is_utf8 = True
        self._replies.accept("UTF-8 it is")

    def _choose_language(self, argument: bytes) -> None:
        if not argument.strip():
            lines = (f"{tag} {name}\r\n" for tag, name in LANGUAGES.items())
            self._replies.send_lines("Languages follow", lines)
            return
        tag = choose_language(argument)
        if tag is None:
            raise CommandRefused("No such language")
        self._replies.accept(f"{tag} Language chosen")


_Command = Callable[[Pop3ServerSession, bytes], Event | None]
_COMMANDS: dict[bytes, tuple[bool, bool, _Command]] = {
    # verb: whether it is valid after the login too, whether it takes an argument, what it does
    b"CAPA": (True, False, Pop3ServerSession._capa),
    b"QUIT": (True, False, Pop3ServerSession._quit),
    b"LANG": (True, True, Pop3ServerSession._choose_language),
    b"UTF8": (False, False, Pop3ServerSession._switch_to_utf8),
    b"STLS": (False, False, Pop3ServerSession._stls),
    b"USER": (False, True, Pop3ServerSession._take_user),
    b"PASS": (False, True, Pop3ServerSession._take_password),
    b"APOP": (False, True, Pop3ServerSession._take_apop),
    b"AUTH": (False, True, Pop3ServerSession._authenticate),
}
