"""What an SMTP server session does whatever the commands are: greet, take octets, say replies, close.

Promises: replies leave in the order in which they were said; after the close nothing is read, and nothing
more is said; a client that has done wrong too often gets 421 in the place of one refusal too many.
Flow: `smtp_server` is a conversation that understands commands.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from kms.domain import reply as replies
from kms.domain.reply import Reply
from kms.protocol import smtp_states as states
from kms.protocol.lines import LineBuffer
from kms.protocol.smtp_events import Question
from kms.protocol.smtp_settings import SmtpServerSettings
from kms.protocol.smtp_states import State


class Sign(Protocol):
    """Is told of a refusal by a rule that the session knows itself, and gives what is to be said in its place.

    It may add something to the text, and nothing else. A refusal that is only observed is not said at all.
    """

    def __call__(self, reply: Reply, is_observed: bool = False) -> Reply:
        """Give what to say."""
        ...


def _as_it_is(reply: Reply, is_observed: bool = False) -> Reply:
    return reply


@attrs.define(eq=False, repr=False)
class Conversation:
    """Octets from the client, replies to it, and how far they have come with each other.

    Attributes:
        is_smtputf8: the last MAIL has said SMTPUTF8, so replies may be in UTF-8 (RFC 6531 3.7.4).
    """

    _settings: SmtpServerSettings
    _sign: Sign = attrs.field(default=_as_it_is, kw_only=True)
    is_smtputf8: bool = attrs.field(default=False, init=False)
    _state: State = attrs.field(default=states.UNGREETED, init=False)
    _lines: LineBuffer = attrs.field(factory=LineBuffer, init=False)
    _output: list[bytes] = attrs.field(factory=list, init=False)
    _pending: Question | None = attrs.field(default=None, init=False)
    _failed_commands: int = attrs.field(default=0, init=False)

    @property
    def is_closing(self) -> bool:
        """Send what is to be sent and close the connection; nothing more is read."""
        return self._state is states.CLOSED

    @property
    def is_in_transaction(self) -> bool:
        """A sender was accepted, and its message is neither answered nor given up."""
        return self._state.is_transaction

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

    def receive_data(self, data: bytes) -> None:
        """Take octets from the client."""
        if not self._state.is_deaf:
            self._lines.append(data)

    def data_to_send(self) -> bytes:
        """Hand over all replies said since the last call."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def _say(self, reply: Reply) -> Reply:
        self._output.append(reply.utf8_wire if self.is_smtputf8 else reply.wire)
        if reply.code == 421:
            self._end()
        return reply

    def _refuse(self, reply: Reply) -> Reply:
        """Say what the client did wrong, unless it has done wrong too often."""
        most = self._settings.max_failed_commands
        if 0 < most <= self._failed_commands:
            if not self._settings.observes_failed_commands:
                return self._say(self._sign(replies.TOO_MANY_ERRORS))
            if self._failed_commands == most:
                self._sign(replies.TOO_MANY_ERRORS, is_observed=True)
        self._failed_commands += 1
        return self._say(reply)

    def _end(self) -> None:
        self._state = states.CLOSED
        self._sign = _as_it_is  # it leads back to the connection: a cycle would wait for the collector
        self._lines.clear()
        self._pending = None
