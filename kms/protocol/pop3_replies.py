"""Replies of a POP3 session on their way out, and the list of what it can do (RFC 1939 3, RFC 2449)."""

from __future__ import annotations

from collections.abc import Iterable

_CAPABILITIES = (
    "TOP",
    "UIDL",
    "RESP-CODES",
    "AUTH-RESP-CODE",
    "PIPELINING",
    "EXPIRE NEVER",
    "IMPLEMENTATION kms",
)


def list_capabilities(may_log_in: bool, may_start_tls: bool) -> list[str]:
    """Make the lines of CAPA.

    Args:
        may_log_in: passwords may be sent now.
        may_start_tls: STLS would be obeyed now; RFC 2595 4 announces it before the login only.
    """
    names = [*_CAPABILITIES]
    if may_log_in:
        names += ["USER", "SASL PLAIN"]
    if may_start_tls:
        names.append("STLS")
    return [f"{name}\r\n" for name in names]


class ReplyBuffer:
    """What is to be sent, in order."""

    __slots__ = ("_output", "octets")

    def __init__(self) -> None:
        self._output: list[bytes] = []
        self.octets = 0

    def take(self) -> bytes:
        """Take all of it."""
        data = b"".join(self._output)
        self._output.clear()
        self.octets = 0
        return data

    def send(self, data: bytes) -> None:
        """Add octets as they are."""
        self._output.append(data)
        self.octets += len(data)

    def accept(self, text: str) -> None:
        """Add a success."""
        self.send(f"+OK {text}\r\n".encode("ascii", "replace"))

    def refuse(self, text: str) -> None:
        """Add a failure; a response code stands first in `text`, in brackets."""
        self.send(f"-ERR {text}\r\n".encode("ascii", "replace"))

    def challenge(self, text: str) -> None:
        """Add a SASL challenge (RFC 5034 4)."""
        self.send(f"+ {text}\r\n".encode("ascii"))

    def send_lines(self, text: str, lines: Iterable[str]) -> None:
        """Add a success of several lines, none of which begins with a dot."""
        self.send("".join((f"+OK {text}\r\n", *lines, ".\r\n")).encode("ascii"))
