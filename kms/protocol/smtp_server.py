"""One SMTP session of the server, from greeting to close, without I/O (RFC 5321).

Octets go in, replies and events come out. It answers syntax, sequence, greeting words and faulty content by
itself; what needs a decision is an event, and until that is answered by `reply()` the session is paused:
later commands of a pipeline wait in the buffer (RFC 2920 3.2), so replies keep the order of their commands
however long a decision takes.

Promises: any split of the octets gives the same replies and events; only commands ended by CRLF are obeyed;
no octet that came before the TLS handshake is used after it; no input raises.
It does not: know accounts, rules, time or sockets.
Flow: `service.smtp_listener` carries octets and events, `service.reception` answers the events.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from kms.domain import reply as replies
from kms.domain.reply import Reply
from kms.domain.status import BAD_MAILBOX
from kms.protocol import smtp_states as states
from kms.protocol.lines import LineBuffer, LineFault
from kms.protocol.smtp_auth import MAX_RESPONSE_OCTETS, AuthExchange, begin_auth
from kms.protocol.smtp_commands import ProtocolViolation, parse_hello, parse_mail, parse_rcpt, split_command
from kms.protocol.smtp_content import BareNewlines, ContentReader
from kms.protocol.smtp_events import (
    ContentEnded,
    ContentReceived,
    ContentRefused,
    Event,
    LoginOffered,
    Question,
    RecipientOffered,
    SenderOffered,
    TlsRequested,
    TransactionAborted,
)
from kms.protocol.smtp_settings import SmtpServerSettings, compose_ehlo
from kms.protocol.smtp_states import State

__all__ = ["BareNewlines", "SmtpServerSession", "SmtpServerSettings"]

MAX_COMMAND_OCTETS = 2048
MAX_FAILED_LOGINS = 10


@attrs.define(eq=False, repr=False)
class SmtpServerSession:
    """The server's side of one connection.

    The listener's loop: `receive_data()`, then `next_event()` until it gives None, each question answered by
    `reply()`; `data_to_send()` whenever it waits. Closing, by QUIT, by a 421 or by `close()`, ends a
    transaction without an event: the listener treats it as it treats a lost connection.

    Attributes:
        is_encrypted: TLS is on.
        client_name: from EHLO or HELO, safe to print into a header field; "" before.
        is_extended: it was EHLO.
        login_name: the user of the AUTH that succeeded, as the client wrote it; the listener may set the
            account's own name in its place.
        has_failed_login: the last AUTH that was judged was answered 535.
    """

    _settings: SmtpServerSettings
    is_encrypted: bool = attrs.field(default=False, kw_only=True)
    _may_send_plain_passwords: bool = attrs.field(default=False, kw_only=True)
    client_name: str = attrs.field(default="", init=False)
    is_extended: bool = attrs.field(default=False, init=False)
    login_name: str | None = attrs.field(default=None, init=False)
    has_failed_login: bool = attrs.field(default=False, init=False)
    _state: State = attrs.field(default=states.UNGREETED, init=False)
    _lines: LineBuffer = attrs.field(factory=LineBuffer, init=False)
    _output: list[bytes] = attrs.field(factory=list, init=False)
    _pending: Question | None = attrs.field(default=None, init=False)
    _content: ContentReader | None = attrs.field(default=None, init=False)
    _auth: AuthExchange | None = attrs.field(default=None, init=False)
    _failed_commands: int = attrs.field(default=0, init=False)
    _failed_logins: int = attrs.field(default=0, init=False)

    @property
    def is_closing(self) -> bool:
        """Send what is to be sent and close the connection; nothing more is read."""
        return self._state is states.CLOSED

    @property
    def is_in_transaction(self) -> bool:
        """A sender was accepted, and its message is neither answered nor given up."""
        return self._state.is_transaction

    @property
    def is_receiving_content(self) -> bool:
        """DATA was answered 354, and the end of data has not come."""
        return self._content is not None

    @property
    def buffered_octets(self) -> int:
        """What arrived and waits; the listener stops reading when this is large."""
        return self._lines.octets

    def greet(self, reply: Reply) -> None:
        """Open the session: 220; 5yz, after which only QUIT is served (RFC 5321 3.1); or 4yz, and close."""
        if self._state is not states.UNGREETED:
            return
        self._say(reply)
        if reply.is_success:
            self._state = states.GREETED
        elif reply.is_permanent:
            self._state = states.TURNED_AWAY
        else:
            self._end()

    def close(self, reply: Reply) -> None:
        """Say `reply` (421) and close. A pending question is given up; its late answer is ignored."""
        if self._state is not states.CLOSED:
            self._output.append(reply.wire)
            self._end()

    def tls_started(self) -> None:
        """Begin anew inside TLS: name, login, envelope and unread octets are forgotten (RFC 3207 4.2)."""
        if self._state is not states.AWAITING_TLS:
            return  # it was closed meanwhile
        self._state = states.GREETED
        self.is_encrypted = True
        self.client_name = ""
        self.is_extended = False
        self.login_name = None
        self.has_failed_login = False

    def receive_data(self, data: bytes) -> None:
        """Take octets from the client."""
        if not self._state.is_deaf:
            self._lines.append(data)

    def data_to_send(self) -> bytes:
        """Hand over all replies said since the last call."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def next_event(self, most_lines: int = 0) -> Event | None:
        """Go on to the next event; None while a question waits, for more octets, or after so many lines."""
        while self._pending is None and self._state.is_reading:
            if self._content is not None:
                return self._read_content(self._content)
            line = self._lines.next_line(MAX_COMMAND_OCTETS if self._auth is None else MAX_RESPONSE_OCTETS)
            if line is None:
                return None
            event = self._take_line(line)
            most_lines -= 1
            if event is not None or most_lines == 0:
                return event
        return None

    def reply(self, reply: Reply) -> Reply:
        """Answer the pending question.

        Returns:
            What was really said: 421 in the place of one refusal too many. After `close()`, nothing was.

        Raises:
            RuntimeError: there is no question; a fault of the caller.
        """
        event = self._pending
        if event is None:
            if self._state is states.CLOSED:
                return reply
            raise RuntimeError("no event waits for a reply")
        self._pending = None
        if isinstance(event, LoginOffered):
            return self._finish_login(event, reply)
        self._state = states.follow(self._state, event, reply.is_success)
        if reply.is_permanent and reply.status != BAD_MAILBOX:
            return self._refuse(reply)
        return self._say(reply)

    def _finish_login(self, offered: LoginOffered, reply: Reply) -> Reply:
        if reply.is_success:
            self.login_name = offered.user
            self.has_failed_login = False
        elif reply.code == 535:
            self.has_failed_login = True
            self._failed_logins += 1
        elif reply.is_permanent:
            return self._refuse(reply)
        self._say(reply)
        if self._failed_logins >= MAX_FAILED_LOGINS:
            self.close(replies.TOO_MANY_FAILED_LOGINS)
        return reply

    # Saying

    def _say(self, reply: Reply) -> Reply:
        self._output.append(reply.wire)
        if reply.code == 421:
            self._end()
        return reply

    def _refuse(self, reply: Reply) -> Reply:
        """Say what the client did wrong, unless it has done wrong too often."""
        if 0 < self._settings.max_failed_commands <= self._failed_commands:
            return self._say(replies.TOO_MANY_ERRORS)
        self._failed_commands += 1
        return self._say(reply)

    def _end(self) -> None:
        self._state = states.CLOSED
        self._lines.clear()
        self._pending = self._content = self._auth = None

    # Reading

    def _read_content(self, content: ContentReader) -> Event | None:
        data = self._lines.take_rest()
        if not data:
            return None
        part = content.feed(data)
        if not content.is_ended:
            return ContentReceived(part) if part else None
        self._content = None
        self._lines.append(content.rest)
        self._pending = ContentEnded(part) if content.refusal is None else ContentRefused(content.refusal)
        return self._pending

    def _take_line(self, line: bytes | LineFault) -> Event | None:
        try:
            if line is LineFault.NO_END:
                self.close(replies.LINE_WITHOUT_END)
                return None
            if line is LineFault.TOO_LONG:
                raise ProtocolViolation(
                    replies.LINE_TOO_LONG if self._auth is None else replies.AUTHENTICATION_TOO_LONG
                )
            if self._auth is not None:
                return self._go_on_with_auth(self._auth.take_line(line))
            return self._take_command(*split_command(line))
        except ProtocolViolation as violation:
            self._auth = None
            self._refuse(violation.reply)
            return None

    def _take_command(self, verb: str, argument: str) -> Event | None:
        answer = self._state.answers.get(verb)
        if answer is None:
            command = _COMMANDS.get(verb)
            if command is None:
                raise ProtocolViolation(self._state.answer_to_unknown)
            return command(self, argument)
        if answer is replies.NOT_SMTP:
            self.close(answer)
        elif answer.is_success or verb in self._state.excused:
            self._say(answer)
        else:
            raise ProtocolViolation(answer)
        return None

    # Commands

    def _ehlo(self, argument: str) -> Event | None:
        reply = compose_ehlo(self._settings, self.is_encrypted, self._may_send_passwords)
        return self._greet_client(argument, reply, is_extended=True)

    def _helo(self, argument: str) -> Event | None:
        return self._greet_client(argument, replies.hello(self._settings.hostname), is_extended=False)

    def _greet_client(self, argument: str, reply: Reply, *, is_extended: bool) -> Event | None:
        self.client_name = parse_hello(argument)
        self.is_extended = is_extended
        self._say(reply)
        return self._abort_transaction(states.READY)

    def _rset(self, _argument: str) -> Event | None:
        self._say(replies.RESET)
        return self._abort_transaction(states.READY if self.client_name else states.GREETED)

    def _abort_transaction(self, next_state: State) -> Event | None:
        was_transaction = self._state.is_transaction
        self._state = next_state
        return TransactionAborted() if was_transaction else None

    def _mail(self, argument: str) -> Event:
        self._state = states.MAIL_REFUSED  # unless it comes otherwise
        if self._settings.needs_authentication and self.login_name is None:
            raise ProtocolViolation(replies.AUTHENTICATION_REQUIRED)
        arguments = parse_mail(argument)
        self._pending = SenderOffered(arguments.reverse_path, arguments.declared_octets, arguments.is_8bit)
        return self._pending

    def _rcpt(self, argument: str) -> Event:
        try:
            self._pending = RecipientOffered(parse_rcpt(argument))
        except ProtocolViolation:
            self._state = states.after_refused_recipient(self._state)
            raise
        return self._pending

    def _data(self, _argument: str) -> None:
        self._say(replies.START_CONTENT)
        self._content = ContentReader(self._settings.bare_newlines, self._settings.max_message_octets)

    def _quit(self, _argument: str) -> None:
        self.close(replies.CLOSING)

    def _starttls(self, _argument: str) -> Event:
        if self.is_encrypted:
            raise ProtocolViolation(replies.TLS_ALREADY_ON)
        if not self._settings.offers_starttls:
            raise ProtocolViolation(replies.TLS_NOT_OFFERED)
        self._say(replies.READY_FOR_TLS)
        self._state = states.AWAITING_TLS
        self._lines.clear()
        return TlsRequested()

    @property
    def _may_send_passwords(self) -> bool:
        return self.is_encrypted or self._may_send_plain_passwords

    def _begin_auth(self, argument: str) -> Event | None:
        if self.login_name is not None:
            raise ProtocolViolation(replies.ALREADY_AUTHENTICATED)
        self._auth, step = begin_auth(argument, self._settings.mechanisms, self._may_send_passwords)
        return self._go_on_with_auth(step)

    def _go_on_with_auth(self, step: Reply | LoginOffered) -> Event | None:
        if isinstance(step, Reply):
            self._say(step)
            return None
        self._auth = None
        self._pending = step
        return step


_COMMANDS: dict[str, Callable[[SmtpServerSession, str], Event | None]] = {
    "EHLO": SmtpServerSession._ehlo,
    "HELO": SmtpServerSession._helo,
    "MAIL": SmtpServerSession._mail,
    "RCPT": SmtpServerSession._rcpt,
    "DATA": SmtpServerSession._data,
    "RSET": SmtpServerSession._rset,
    "QUIT": SmtpServerSession._quit,
    "STARTTLS": SmtpServerSession._starttls,
    "AUTH": SmtpServerSession._begin_auth,
}
