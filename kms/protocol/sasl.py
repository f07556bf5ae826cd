"""SASL, the server's side of each exchange (RFC 4422): PLAIN (RFC 4616), LOGIN and CRAM-MD5 (RFC 2195).

An exchange takes the client's responses, freed from base64, and gives one step after another: a challenge to
send, a verifier to fetch (SCRAM, in `sasl_scram`), or the credentials to check. It knows neither SMTP nor POP3:
both use it. Which mechanisms a client may choose from is said here, for EHLO, CAPA and AUTH alike.
"""

from __future__ import annotations

import binascii
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import attrs

from kms.domain.login import CramDigest, Proof

_HEXADECIMAL = re.compile(r"[0-9a-f]{32}")


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
class VerifierWanted:
    """Fetch the SCRAM verifier of `user`, and go on with `take_verifier`; nobody else may be told of it.

    Nobody may learn from what is fetched whether there is such a user.
    """

    user: str


@attrs.frozen
class Credentials:
    """What the client says it is, and what proves it.

    Attributes:
        authorization: whom it wants to act as; "" = as `user`.
        user: its login name as it wrote it.
        proof: the password as it wrote it, or what its mechanism makes of it.
        answer: to be sent as a last challenge where the proof is right, and only there; the client acknowledges
            it with an empty response. None: there is none.
    """

    authorization: str
    user: str
    proof: Proof = attrs.field(repr=False)
    answer: bytes | None = attrs.field(repr=False, default=None)


Step = Challenge | VerifierWanted | Credentials


def make_nonce() -> str:
    """Make what was never sent before, and cannot be guessed: letters and digits."""
    return secrets.token_hex(16)


@attrs.frozen
class Channel:
    """What exchanges must know of the connection.

    Attributes:
        hostname: of the server, for the stamps of CRAM-MD5.
        bindings: of the TLS channel, by their registered names (RFC 5056); empty without TLS.
        offers_plus: SCRAM-SHA-256-PLUS is offered on this connection.
        make_nonce: gives another text each time.
    """

    hostname: str
    bindings: Mapping[str, bytes]
    offers_plus: bool
    make_nonce: Callable[[], str]


def open_channel(
    hostname: str,
    mechanisms: Collection[str],
    bindings: Mapping[str, bytes],
    make_nonce: Callable[[], str] = make_nonce,
) -> Channel:
    """Put together what exchanges must know; `mechanisms` are those of the service."""
    return Channel(hostname, bindings, bool(bindings) and SCRAM_PLUS in mechanisms, make_nonce)


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
        authorization, user, password = (decode_text(part) for part in parts)
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
        text = decode_text(response)
        if self._user is not None:
            return Credentials("", self._user, text)
        if not text:
            raise BadResponseError
        self._user = text
        return Challenge(b"Password:")


class CramMd5Exchange:
    """CRAM-MD5: user and keyed digest of a challenge that is never sent twice."""

    __slots__ = ("_challenge", "_is_sent")

    def __init__(self, channel: Channel) -> None:
        self._challenge = make_stamp(channel.make_nonce(), channel.hostname)
        self._is_sent = False

    def respond(self, response: bytes | None) -> Step:
        """Send the challenge, or read the digest; there is no initial response."""
        if response is None:
            self._is_sent = True
            return Challenge(self._challenge)
        if not self._is_sent:
            raise BadResponseError
        user, _, digest = decode_text(response).rpartition(" ")
        if not user or not _HEXADECIMAL.fullmatch(digest):
            raise BadResponseError
        return Credentials("", user, CramDigest(self._challenge, digest))


SCRAM_PLUS = "SCRAM-SHA-256-PLUS"

SENDS_PASSWORD = frozenset({"PLAIN", "LOGIN"})
"""Mechanisms that show the password to whoever listens on an unencrypted line."""


def list_offered(mechanisms: Collection[str], may_send_passwords: bool, may_bind: bool) -> tuple[str, ...]:
    """List the mechanisms that a client may choose from now.

    Args:
        mechanisms: of the service, best first.
        may_send_passwords: the line is encrypted, or plain passwords are allowed on it.
        may_bind: there is a TLS channel to bind to.
    """
    return tuple(
        name
        for name in mechanisms
        if (may_send_passwords or name not in SENDS_PASSWORD) and (may_bind or name != SCRAM_PLUS)
    )


def make_stamp(nonce: str, hostname: str) -> bytes:
    """Make the challenge of CRAM-MD5, or the stamp of APOP, in the form of a message id."""
    return f"<{nonce}@{hostname}>".encode("ascii", "replace")


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


def decode_text(data: bytes) -> str:
    """Read UTF-8; raises BadResponseError where it is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadResponseError from None
