"""SASL, the server's side of each exchange (RFC 4422): PLAIN (RFC 4616) and LOGIN.

An exchange takes the client's responses, freed from base64, and gives one step after another: a challenge to
send, or the credentials to check. It knows neither SMTP nor POP3: both use it. A mechanism that needs stored
data in the middle of an exchange (SCRAM) will be one more class here and one more kind of `Step`.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Protocol

import attrs


class SaslError(ValueError):
    """The client's response cannot be understood; the exchange has ended, and no password was tried."""


class BadBase64Error(SaslError):
    """The response is no base64."""


class BadResponseError(SaslError):
    """The response is not what its mechanism asks for."""


@attrs.frozen
class Challenge:
    """Send this, and await a response."""

    data: bytes


@attrs.frozen
class Credentials:
    """What the client says it is, and what proves it.

    Attributes:
        authorization: whom it wants to act as; "" = as `user`.
        user: its login name as it wrote it.
        password: as it wrote it.
    """

    authorization: str
    user: str
    password: str = attrs.field(repr=False)


Step = Challenge | Credentials


class ServerExchange(Protocol):
    """One exchange of one mechanism."""

    def respond(self, response: bytes | None) -> Step:
        """Take the next response and say how it goes on.

        Args:
            response: None only at first, when the client sent no initial response.

        Raises:
            BadResponseError: the response makes no sense to the mechanism.
        """
        ...


class PlainExchange:
    """PLAIN: authorization identity, user and password in one response, NUL between them (RFC 4616 2)."""

    __slots__ = ()

    def respond(self, response: bytes | None) -> Step:
        """Ask for the one response, or read it."""
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1]:
            raise BadResponseError
        authorization, user, password = (_decode_text(part) for part in parts)
        return Credentials(authorization, user, password)


class LoginExchange:
    """LOGIN: user, then password, each asked for. The user may come as initial response."""

    __slots__ = ("_user",)

    def __init__(self) -> None:
        self._user: str | None = None

    def respond(self, response: bytes | None) -> Step:
        """Ask for the user, then for the password."""
        if response is None:
            return Challenge(b"Username:")
        text = _decode_text(response)
        if self._user is not None:
            return Credentials("", self._user, text)
        if not text:
            raise BadResponseError
        self._user = text
        return Challenge(b"Password:")


EXCHANGES: dict[str, Callable[[], ServerExchange]] = {"PLAIN": PlainExchange, "LOGIN": LoginExchange}

SENDS_PASSWORD = frozenset({"PLAIN", "LOGIN"})
"""Mechanisms that show the password to whoever listens on an unencrypted line."""


def decode_response(line: bytes) -> bytes:
    """Free a response line from base64.

    Raises:
        BadBase64Error: also for what lenient decoders ignore, such as lacking padding.
    """
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        raise BadBase64Error from None


def encode_challenge(data: bytes) -> str:
    """Put a challenge into base64."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _decode_text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadResponseError from None
