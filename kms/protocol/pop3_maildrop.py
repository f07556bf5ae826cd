"""The maildrop of one POP3 session: its messages by number, and which of them are marked as deleted.

Promises: numbers are fixed for the session; a marked message is in no number, list or sum until `unmark_all`;
nothing is removed here (RFC 1939 5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kms.protocol.pop3_events import CommandRefused, ListedMessage


def read_number(argument: bytes) -> int:
    """Read a number that a command was given.

    Raises:
        CommandRefused: it is none, or a very large one.
    """
    text = argument.strip()
    if not text.isdigit() or len(text) > 9:
        raise CommandRefused("Bad arguments")
    return int(text)


class Maildrop:
    """Messages by number.

    Args:
        messages: number 1 is the first.
    """

    __slots__ = ("_deleted", "_messages", "live_octets")

    def __init__(self, messages: Sequence[ListedMessage] = ()) -> None:
        self._messages = messages
        self._deleted: set[int] | None = None
        self.live_octets = sum(message.octets for message in messages)

    @property
    def live_count(self) -> int:
        """How many messages are not marked."""
        return len(self._messages) - len(self._deleted or ())

    @property
    def deleted(self) -> tuple[int, ...]:
        """The numbers that are marked, in order."""
        return tuple(sorted(self._deleted or ()))

    def find(self, number: int) -> ListedMessage:
        """Find a message.

        Raises:
            CommandRefused: there is none of this number, or it is marked.
        """
        if not 0 < number <= len(self._messages) or number in (self._deleted or ()):
            raise CommandRefused("No such message")
        return self._messages[number - 1]

    def mark(self, number: int) -> None:
        """Mark a message; raises as `find`."""
        octets = self.find(number).octets
        self._deleted = self._deleted or set()
        self._deleted.add(number)
        self.live_octets -= octets

    def unmark_all(self) -> None:
        """Take all marks back."""
        for number in self._deleted or ():
            self.live_octets += self._messages[number - 1].octets
        self._deleted = None

    def list_facts(self, fact: Callable[[ListedMessage], object]) -> list[str]:
        """Make a line for each message that is not marked: its number and a fact about it."""
        deleted = self._deleted or ()
        return [
            f"{number} {fact(message)}\r\n"
            for number, message in enumerate(self._messages, 1)
            if number not in deleted
        ]
