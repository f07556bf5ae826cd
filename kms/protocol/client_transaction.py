"""One message handed to a server: the dialogue from MAIL to the answer to the dot (RFC 5321 3.3, 2920, 2033).

Promises: every recipient gets exactly one outcome, whatever the server says or leaves out; nobody is named
twice in one transaction; recipients that a server has no room for go in a further transaction at once; the
content goes only where at least one recipient was accepted.

Flow: `SmtpClientSession` makes one dialogue for each message, passes it the replies, and takes its output.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from kms.domain import reply as replies
from kms.domain.outcome import Deferred, Delivered, Failed, Outcome
from kms.domain.reply import Reply
from kms.protocol.content_encoder import ContentEncoder, encode_whole
from kms.protocol.outgoing_message import OutgoingMessage, ServerTraits
from kms.protocol.remote_reply import RemoteReply

Step = Callable[[RemoteReply], None]


class TransactionDialogue:
    """The dialogue about one message; it may take several transactions.

    Attributes:
        outcomes: by recipient id; whole once `is_over`.
        output: octets to send, to be taken by the owner.
        is_over: every recipient has its outcome.
        is_broken: the connection is of no further use.
        leaves_state: the server may hold a half transaction; RSET must come first.
        has_mail_answer: the server has answered MAIL, and not only by 421: it has looked at the message.
        wants_content: the owner shall call `send_content` and `end_content`.
        is_after_dot: the final dot is out, and an answer to it is missing.
    """

    __slots__ = (
        "_accepted",
        "_asked",
        "_encoder",
        "_expected",
        "_left_over",
        "_message",
        "_server",
        "_steps",
        "_unanswered",
        "has_mail_answer",
        "is_after_dot",
        "is_broken",
        "is_over",
        "leaves_state",
        "outcomes",
        "output",
        "wants_content",
    )

    def __init__(self, message: OutgoingMessage, server: ServerTraits, *, leaves_state: bool = False) -> None:
        self._message = message
        self._server = server
        self._expected: deque[Step] = deque()  # of the commands sent
        self._steps: deque[tuple[bytes, Step]] = deque()  # commands that wait for their turn
        self._asked: deque[int] = deque()  # recipients whose RCPT has no answer yet
        self._accepted: list[int] = []
        self._unanswered: deque[int] = deque()  # LMTP: recipients whose answer to the dot is missing
        self._left_over: dict[int, Reply] = {}  # too many for this transaction
        self._encoder: ContentEncoder | None = None
        self.outcomes: dict[int, Outcome] = {}
        self.output: list[bytes] = []
        self.is_over = False
        self.is_broken = False
        self.leaves_state = leaves_state
        self.has_mail_answer = False
        self.wants_content = False
        self.is_after_dot = False

    @property
    def is_sending_content(self) -> bool:
        """Pieces of the content are still to come from the owner."""
        return self._encoder is not None

    @property
    def awaits_data_answer(self) -> bool:
        """The next answer is the one to DATA."""
        return self.has_mail_answer and not self._asked

    def start(self) -> None:
        """Send the first commands, or settle at once what the server is known not to take."""
        message, server = self._message, self._server
        limit = server.size_limit_octets
        if limit and message.octets > limit:
            self._refuse_unasked(replies.TOO_LARGE_FOR_HOP)
        elif message.is_8bit and not server.takes_8bit:
            self._refuse_unasked(replies.NEEDS_CONVERSION)
        elif message.international and not server.takes_utf8:
            self._begin_without_utf8()
        else:
            self._begin(tuple(message.rcpt_commands))

    def take(self, reply: RemoteReply) -> None:
        """Take the server's next reply."""
        if reply.code == 421:
            self.cut(reply.to_reply())
        elif self._expected:
            self._expected.popleft()(reply)
            if self._steps and not self._expected:
                self._send_next()
        else:
            self._content_refused_early(reply)

    def send_content(self, chunk: bytes) -> None:
        """Send the next piece of a content that is read from a file."""
        if self._encoder is not None:
            self.output.append(self._encoder.encode(chunk))

    def end_content(self) -> None:
        """Send the final dot."""
        if self._encoder is not None:
            self.output.append(self._encoder.finish())
            self._encoder = None
            self._expect_content_answers()

    def cut(self, reply: Reply, *, is_loss: bool = False) -> None:
        """End the dialogue and the connection: those without an outcome are deferred.

        Args:
            reply: a 4yz reply that says why.
            is_loss: the server said nothing; after the dot it may have taken the message all the same.
        """
        is_ambiguous = is_loss and self.is_after_dot
        for number in self._accepted:
            self._settle(number, Deferred(reply, self._server.where, is_ambiguous, self._server.tls))
        for number, refusal in self._left_over.items():
            self._settle(number, self._deferred(refusal))
        for number in self._message.rcpt_commands:
            self._settle(number, self._deferred(reply))
        self._expected.clear()
        self._steps.clear()
        self._encoder = None
        self.is_broken = self.is_over = True

    def _begin_without_utf8(self) -> None:
        """RFC 6531 3.2: serve those whom the server can serve; the addresses of the others stay what they are."""
        message, server = self._message, self._server
        able = tuple(number for number in message.rcpt_commands if number not in message.international)
        for number in message.rcpt_commands:
            if number in message.international:
                self._settle(number, Failed(replies.NEEDS_SMTPUTF8, server.where, server.tls))
        if able:
            self._begin(able)
        else:
            self.has_mail_answer = self.is_over = True

    def _begin(self, numbers: Sequence[int]) -> None:
        self._asked = deque(numbers)
        self._accepted = []
        self._left_over = {}
        self.is_after_dot = False
        message, takes_dsn = self._message, self._server.takes_dsn
        steps: list[tuple[bytes, Step]] = [(b"RSET\r\n", self._reset_answered)] if self.leaves_state else []
        steps.append((self._mail_line(), self._mail_answered))
        steps += [(message.rcpt_command(number, takes_dsn), self._recipient_answered) for number in numbers]
        steps.append((b"DATA\r\n", self._data_answered))
        self.leaves_state = True
        if self._server.has_pipelining:
            self.output += [command for command, _ in steps]
            self._expected.extend([step for _, step in steps])
        else:
            self._steps.extend(steps)
            self._send_next()

    def _mail_line(self) -> bytes:
        line = self._message.mail_command
        if self._server.size_limit_octets is not None:
            line += b" SIZE=%d" % self._message.octets
        if self._message.is_8bit:
            line += b" BODY=8BITMIME"
        if self._message.international and self._server.takes_utf8:
            line += b" SMTPUTF8"
        if self._server.takes_dsn:
            line += self._message.mail_parameters
        return line + b"\r\n"

    def _send_next(self) -> None:
        command, step = self._steps.popleft()
        self.output.append(command)
        self._expected.append(step)

    def _reset_answered(self, reply: RemoteReply) -> None:
        if not 200 <= reply.code < 300:
            self._break_off(reply)

    def _mail_answered(self, reply: RemoteReply) -> None:
        code = reply.code
        if 300 <= code < 400:
            self._break_off(reply)
            return
        self.has_mail_answer = True
        if code >= 400:
            outcome = self._judge(reply)
            for number in self._asked:
                self._settle(number, outcome)
            self._stop_asking()

    def _recipient_answered(self, reply: RemoteReply) -> None:
        number = self._asked.popleft()
        code = reply.code
        if number in self.outcomes:
            return  # MAIL was refused; this answer says nothing new
        if 200 <= code < 300:
            self._accepted.append(number)
        elif code in (452, 552):
            self._no_room_for(number, reply.to_reply(klass=4))
        elif code >= 400:
            self._settle(number, self._judge(reply))
        else:
            self._break_off(reply)
            return
        if not self._asked and not self._accepted:
            self._stop_asking()

    def _no_room_for(self, number: int, refusal: Reply) -> None:
        """RFC 5321 4.5.3.1.10: 552 to RCPT means 452; of the two, only some speak of too many recipients."""
        refusal = Reply(452, refusal.status, refusal.text)
        status = refusal.status
        if status and (status.subject, status.detail) in ((5, 3), (0, 0)):
            self._left_over[number] = refusal
        else:
            self._settle(number, self._deferred(refusal))

    def _stop_asking(self) -> None:
        """Nobody is left to send to: in lock-step the rest is not said; a group is already on its way."""
        if not self._server.has_pipelining:
            self._steps.clear()
            self._finish()

    def _data_answered(self, reply: RemoteReply) -> None:
        code = reply.code
        if code == 354:
            self._send_content() if self._accepted else self._send_nothing(reply)
        elif code >= 400:
            if self._accepted:
                outcome = self._judge(reply)
                for number in self._accepted:
                    self._settle(number, outcome)
            self._finish()
        else:
            self._break_off(reply)

    def _send_nothing(self, reply: RemoteReply) -> None:
        """RFC 2920 3.1: with every RCPT refused, only the dot is sent; LMTP has no answer to it (RFC 2033 4.2)."""
        if self._server.is_lmtp:
            self._break_off(reply)
            return
        self.output.append(b".\r\n")
        self._expected.append(self._nothing_answered)

    def _nothing_answered(self, reply: RemoteReply) -> None:
        self._finish()

    def _send_content(self) -> None:
        data = self._message.data
        if data is None:
            self._encoder = ContentEncoder()
            self.wants_content = True
        else:
            self.output.append(encode_whole(data))
            self._expect_content_answers()

    def _expect_content_answers(self) -> None:
        self.is_after_dot = True
        if self._server.is_lmtp:
            self._unanswered = deque(self._accepted)
            self._expected.extend([self._recipient_served] * len(self._accepted))
        else:
            self._expected.append(self._content_answered)

    def _content_refused_early(self, reply: RemoteReply) -> None:
        """The server answers while the content is still on its way: the rest need not be sent."""
        if reply.code >= 400 and self._encoder is not None:
            outcome = self._judge(reply)
            for number in self._accepted:
                self._settle(number, outcome)
            self.cut(reply.to_reply(klass=4))
        else:
            self._break_off(reply)

    def _content_answered(self, reply: RemoteReply) -> None:
        if 300 <= reply.code < 400:
            self._break_off(reply)
            return
        outcome = self._judge(reply)
        for number in self._accepted:
            self._settle(number, outcome)
        self.leaves_state = reply.code >= 400
        self._finish()

    def _recipient_served(self, reply: RemoteReply) -> None:
        """RFC 2033 4.2: the answers come in the order of the accepted RCPTs."""
        if 300 <= reply.code < 400:
            self._break_off(reply)
            return
        self._settle(self._unanswered.popleft(), self._judge(reply))
        if not self._unanswered:
            self.leaves_state = False
            self._finish()

    def _finish(self) -> None:
        """End the transaction; those it had no room for go in the next one, if this one served anybody."""
        rest = self._left_over
        if rest and self._accepted:
            self._begin(tuple(rest))
            return
        for number, refusal in rest.items():
            self._settle(number, self._deferred(refusal))
        self.is_over = True

    def _refuse_unasked(self, reply: Reply) -> None:
        self.has_mail_answer = True
        for number in self._message.rcpt_commands:
            self._settle(number, Failed(reply, self._server.where, self._server.tls))
        self.is_over = True

    def _break_off(self, reply: RemoteReply) -> None:
        """The reply fits nothing: from here on no answer could be trusted."""
        unexpected = replies.UNEXPECTED_ANSWER
        self.cut(Reply(unexpected.code, unexpected.status, f"{unexpected.text}: {reply}"), is_loss=True)

    def _settle(self, number: int, outcome: Outcome) -> None:
        self.outcomes.setdefault(number, outcome)

    def _deferred(self, reply: Reply) -> Deferred:
        return Deferred(reply, self._server.where, tls=self._server.tls)

    def _judge(self, remote: RemoteReply) -> Outcome:
        reply, server = remote.to_reply(), self._server
        if reply.is_success:
            return Delivered(reply, server.where, server.tls, server.handover)
        if reply.is_permanent:
            return Failed(reply, server.where, server.tls)
        return Deferred(reply, server.where, tls=server.tls)
