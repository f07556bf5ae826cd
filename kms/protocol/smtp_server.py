"""One SMTP session of the server, from greeting to close, without I/O (RFC 5321).

Octets go in, replies and events come out. It answers syntax, sequence, greeting words and faulty content by
itself; what needs a decision is an event, and until that is answered by `reply()` the session is paused:
later commands of a pipeline wait in the buffer (RFC 2920 3.2), so replies keep the order of their commands
however long a decision takes.

Promises: any split of the octets gives the same replies and events; only commands ended by CRLF are obeyed;
no octet that came before the TLS handshake is used after it; no input raises.
It does not: know accounts, rules, time or sockets.
Flow: `service.smtp_connection` carries octets and events, `service.reception` answers the events. What every
conversation does stands in `smtp_conversation`, how contents come in `smtp_transfer`; here are the commands.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from kms.domain import reply as replies
from kms.domain.reply import Reply
from kms.domain.status import BAD_MAILBOX
from kms.protocol import smtp_states as states
from kms.protocol.lines import LineFault
from kms.protocol.smtp_auth import MAX_RESPONSE_OCTETS, AuthExchange, Bindings, Outcome, begin_auth
from kms.protocol.smtp_commands import (
    ProtocolViolation,
    parse_hello,
    parse_mail,
    parse_rcpt,
    split_command,
)
from kms.protocol.smtp_content import BareNewlines
from kms.protocol.smtp_events import (
    ContentEnded,
    ContentRefused,
    Event,
    LoginOffered,
    Question,
    RecipientOffered,
    SenderOffered,
    TlsRequested,
    VerifierWanted,
)
from kms.protocol.smtp_settings import SmtpServerSettings, compose_ehlo
from kms.protocol.smtp_transfer import ContentTransfer

__all__ = ["BareNewlines", "SmtpServerSession", "SmtpServerSettings"]

MAX_COMMAND_OCTETS = 2048
MAX_FAILED_LOGINS = 10
_OF_A_LOGIN = (LoginOffered, VerifierWanted)


@attrs.define(eq=False, repr=False)
class SmtpServerSession(ContentTransfer):
    """The server's side of one connection.

    The listener's loop: `receive_data()`, then `next_event()` until it gives None, each question answered by
    `reply()`; `data_to_send()` whenever it waits. Closing, by QUIT, by a 421 or by `close()`, ends a
    transaction without an event: the listener treats it as it treats a lost connection.

    Attributes:
        is_encrypted: TLS is on.
        client_name: from EHLO, HELO or LHLO, safe to print into a header field; "" before.
        is_extended: it was EHLO or LHLO.
        login_name: the user of the AUTH that succeeded, as the client wrote it.
        has_failed_login: the last AUTH that was judged was answered 535.
    """

    is_encrypted: bool = attrs.field(default=False, kw_only=True)
    _may_send_plain_passwords: bool = attrs.field(default=False, kw_only=True)
    _read_bindings: Callable[[], Bindings] = attrs.field(default=dict, kw_only=True)
    client_name: str = attrs.field(default="", init=False)
    is_extended: bool = attrs.field(default=False, init=False)
    login_name: str | None = attrs.field(default=None, init=False)
    has_failed_login: bool = attrs.field(default=False, init=False)
    _auth: AuthExchange | None = attrs.field(default=None, init=False)
    _failed_logins: int = attrs.field(default=0, init=False)
    _accepted_recipients: int = attrs.field(default=0, init=False)  # counted in LMTP only

    @property
    def is_lmtp(self) -> bool:
        """LMTP is spoken."""
        return self._settings.is_lmtp

    def tls_started(self) -> None:
        """Begin anew inside TLS: name, login, envelope and unread octets are forgotten (RFC 3207 4.2)."""
        if self._state is not states.AWAITING_TLS:
            return  # it was closed meanwhile
        self._state = states.GREETED
        self.is_encrypted = True
        self.client_name, self.is_extended, self.is_smtputf8 = "", False, False
        self.login_name, self.has_failed_login = None, False

    def next_event(self, most_lines: int = 0) -> Event | None:
        """Go on to the next event; None while a question waits, for more octets, or after so many lines."""
        while self._pending is None and self._state.is_reading:
            if self._content is not None:
                event = self._read_content(self._content)
                if event is None and self._content is not None:
                    return None  # more octets are needed
            else:
                line = self._lines.next_line(
                    MAX_COMMAND_OCTETS if self._auth is None else MAX_RESPONSE_OCTETS
                )
                if line is None:
                    return None
                event = self._take_line(line)
                most_lines -= 1
                if most_lines == 0:
                    return event
            if event is not None:
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
        if isinstance(event, _OF_A_LOGIN):
            return self._finish_login(reply)
        self._state = states.follow(self._state, event, reply.is_success)
        if reply.is_permanent and reply.status != BAD_MAILBOX:
            said = self._refuse(reply)
        else:
            said = self._say(reply)
        if self._settings.is_lmtp:
            self._answer_others(event, said)
        return said

    def _answer_others(self, event: Question, said: Reply) -> None:
        """RFC 2033 4.2: after a content one answer follows for each accepted RCPT; they share its fate."""
        match event:
            case SenderOffered() if said.is_success:
                self._accepted_recipients = 0
                self._state = states.LMTP_SENDER_GIVEN
            case RecipientOffered() if said.is_success:
                self._accepted_recipients += 1
            case ContentEnded() | ContentRefused() if self._state is states.READY:
                for _ in range(self._accepted_recipients - 1):
                    self._say(said)

    def _finish_login(self, reply: Reply) -> Reply:
        if reply.is_success and self._auth is not None:
            self._go_on_with_auth(self._auth.succeed(reply))
            return reply
        if reply.code != 334:
            self._auth = None
        if reply.code == 535:
            self.has_failed_login = True
            self._failed_logins += 1
        elif reply.is_permanent:
            return self._refuse(reply)
        self._say(reply)
        if self._failed_logins >= MAX_FAILED_LOGINS:
            self.close(self._sign(replies.TOO_MANY_FAILED_LOGINS))
        return reply

    def _end(self) -> None:
        super()._end()
        self._auth = None

    # Reading

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
        self._require_dialect(is_lmtp=False)
        return self._greet_extended_client(argument)

    def _lhlo(self, argument: str) -> Event | None:
        self._require_dialect(is_lmtp=True)
        return self._greet_extended_client(argument)

    def _greet_extended_client(self, argument: str) -> Event | None:
        may_send_passwords = self.is_encrypted or self._may_send_plain_passwords
        facts = (self.is_encrypted, may_send_passwords, bool(self._read_bindings()))
        return self._greet_client(argument, compose_ehlo(self._settings, *facts), is_extended=True)

    def _helo(self, argument: str) -> Event | None:
        self._require_dialect(is_lmtp=False)
        return self._greet_client(argument, replies.hello(self._settings.hostname), is_extended=False)

    def _require_dialect(self, *, is_lmtp: bool) -> None:
        if self._settings.is_lmtp is not is_lmtp:
            raise ProtocolViolation(replies.UNKNOWN_COMMAND)

    def _greet_client(self, argument: str, reply: Reply, *, is_extended: bool) -> Event | None:
        self.client_name = parse_hello(argument)
        self.is_extended = is_extended
        self._say(reply)
        return self._abort_transaction(states.READY)

    def _rset(self, _argument: str) -> Event | None:
        self._say(replies.RESET)
        return self._abort_transaction(states.READY if self.client_name else states.GREETED)

    def _mail(self, argument: str) -> Event:
        self._state = states.MAIL_REFUSED  # unless it comes otherwise
        if self._settings.needs_authentication and self.login_name is None:
            raise ProtocolViolation(self._sign(replies.AUTHENTICATION_REQUIRED))
        offered = parse_mail(argument, self._settings.offers_dsn)
        self.is_smtputf8 = offered.is_smtputf8
        self._pending = offered
        return offered

    def _rcpt(self, argument: str) -> Event:
        try:
            self._pending = parse_rcpt(argument, self.is_smtputf8, self._settings.offers_dsn)
        except ProtocolViolation:
            self._state = states.after_refused_recipient(self._state)
            raise
        return self._pending

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

    def _begin_auth(self, argument: str) -> Event | None:
        if self.login_name is not None:
            raise ProtocolViolation(replies.ALREADY_AUTHENTICATED)
        may_send_passwords = self.is_encrypted or self._may_send_plain_passwords
        self._auth = begin_auth(argument, self._settings, may_send_passwords, self._read_bindings())
        return self._go_on_with_auth(self._auth.begin())

    def _go_on_with_auth(self, step: Outcome) -> Event | None:
        if not isinstance(step, Reply):
            self._pending = step
            return step
        if step.is_success and self._auth is not None:
            self.login_name, self.has_failed_login, self._auth = self._auth.user, False, None
        self._say(step)
        return None


_COMMANDS: dict[str, Callable[[SmtpServerSession, str], Event | None]] = {
    "EHLO": SmtpServerSession._ehlo,
    "HELO": SmtpServerSession._helo,
    "LHLO": SmtpServerSession._lhlo,
    "MAIL": SmtpServerSession._mail,
    "RCPT": SmtpServerSession._rcpt,
    "DATA": SmtpServerSession._data,
    "BDAT": SmtpServerSession._bdat,
    "RSET": SmtpServerSession._rset,
    "QUIT": SmtpServerSession._quit,
    "STARTTLS": SmtpServerSession._starttls,
    "AUTH": SmtpServerSession._begin_auth,
}
