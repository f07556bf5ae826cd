"""What a POP3 client does with its open mailbox: the commands of the TRANSACTION state (RFC 1939 5).

Promises: message numbers are fixed; DELE only marks. Any chunks of a stored message give the same reply.
Flow: pop3_server keeps one per login, and hands it the commands and the content of messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kms.protocol.pop3_content import MessageEncoder
from kms.protocol.pop3_events import ListedMessage, MessageRequested
from kms.protocol.pop3_maildrop import Maildrop, read_number
from kms.protocol.pop3_replies import ReplyBuffer
from kms.protocol.pop3_surrogate import HeaderDowngrader


class Transaction:
    """The commands, and the message that is being sent.

    Args:
        messages: of the mailbox; message 1 is the first.
        replies: where the answers go.
        is_utf8: messages are sent as they are; else those whose header is not ASCII have a surrogate.
    """

    def __init__(
        self, messages: Sequence[ListedMessage], replies: ReplyBuffer, is_utf8: bool = False
    ) -> None:
        self._maildrop = Maildrop(messages)
        self._replies = replies
        self._is_utf8 = is_utf8
        self._encoder: MessageEncoder | None = None
        self._downgrader: HeaderDowngrader | None = None
        self._octets: int | None = None
        self._has_spoken = False

    @property
    def deleted(self) -> tuple[int, ...]:
        """Numbers of the messages that are marked."""
        return self._maildrop.deleted

    @property
    def is_sending(self) -> bool:
        """Whether more of the requested message is wanted."""
        return self._encoder is not None

    def send_content(self, data: bytes, is_last: bool) -> None:
        """Send a chunk of the requested message; only while `is_sending`."""
        encoder = self._encoder
        assert encoder is not None
        if self._downgrader is not None:
            data = self._downgrader.feed(data, is_last)
            if not data and not is_last:
                return
        if not self._has_spoken:
            self._has_spoken = True
            self._replies.accept(self._describe())
        self._replies.send(encoder.feed(data))
        if is_last or encoder.is_complete:
            self._replies.send(encoder.finish())
            self._encoder = None

    def _describe(self) -> str:
        if self._octets is None:
            return "Top of message follows"
        return f"{self._octets + (self._downgrader.added_octets if self._downgrader else 0)} octets"

    def give_up_content(self) -> None:
        """Want nothing more of the requested message."""
        self._encoder = None

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

    def _retrieve(self, argument: bytes) -> MessageRequested:
        number = read_number(argument)
        return self._request(number, None, self._maildrop.find(number).octets)

    def _top(self, argument: bytes) -> MessageRequested:
        first, _, second = argument.strip().partition(b" ")
        number, body_lines = read_number(first), read_number(second)
        self._maildrop.find(number)
        return self._request(number, body_lines, None)

    def _request(self, number: int, body_lines: int | None, octets: int | None) -> MessageRequested:
        self._encoder = MessageEncoder(body_lines)
        self._downgrader = None if self._is_utf8 else HeaderDowngrader()
        self._octets, self._has_spoken = octets, False
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


Command = Callable[[Transaction, bytes], MessageRequested | None]
TRANSACTION_COMMANDS: dict[bytes, tuple[bool, Command]] = {
    # verb: whether it takes an argument, what it does
    b"STAT": (False, Transaction._stat),
    b"LIST": (True, Transaction._list),
    b"UIDL": (True, Transaction._uidl),
    b"RETR": (True, Transaction._retrieve),
    b"TOP": (True, Transaction._top),
    b"DELE": (True, Transaction._delete),
    b"RSET": (False, Transaction._reset),
    b"NOOP": (False, Transaction._do_nothing),
}
