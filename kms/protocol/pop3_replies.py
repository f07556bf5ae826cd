"""Replies of a POP3 session on their way out, and the list of what it can do (RFC 1939 3, RFC 2449)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta

_CAPABILITIES = (
    "TOP",
    "UIDL",
    "RESP-CODES",
    "AUTH-RESP-CODE",
    "PIPELINING",
    "EXPIRE NEVER",
    "IMPLEMENTATION kms",
    "LANG",
    "UTF8 USER",
)

LANGUAGES = {"i-default": "Default language", "en": "English"}
"""The languages of the replies, with their names in themselves (RFC 6856 3)."""


def list_capabilities(
    mechanisms: Sequence[str], may_send_passwords: bool, may_start_tls: bool, login_delay: timedelta
) -> list[str]:
    """Make the lines of CAPA.

    Args:
        mechanisms: of AUTH, that may be used now.
        may_send_passwords: USER and PASS may be used now.
        may_start_tls: STLS would be obeyed now; RFC 2595 4 announces it before the login only.
        login_delay: between two logins; 0 = none.
    """
    names = [*_CAPABILITIES]
    if login_delay:
        names.append(f"LOGIN-DELAY {math.ceil(login_delay.total_seconds())}")
    if may_send_passwords:
        names.append("USER")
    if mechanisms:
        names.append(" ".join(("SASL", *mechanisms)))
    if may_start_tls:
        names.append("STLS")
    return [f"{name}\r\n" for name in names]


def choose_language(argument: bytes) -> str | None:
    """Read the argument of LANG: the tag of a language that is there, or None. `*` leaves the choice to us."""
    tag = argument.strip().decode("ascii", "replace").lower()
    return "en" if tag == "*" else tag if tag in LANGUAGES else None


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
