"""Logging in to a smarthost: the client side of SASL (RFC 4954, 4616, 2195).

Promises: the strongest mechanism that the server offers and kms knows is taken; a server cannot make a
mechanism say more than it has to say. Printing an exchange never shows the password.

Mechanisms are pure: a challenge in, a response out. The session does base64, lines and replies.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from typing import Protocol

from kms.domain.next_hop import HopCredentials


class SaslError(Exception):
    """The exchange cannot go on: the server asks for too much, or the login does not fit the mechanism."""


class SaslExchange(Protocol):
    """One login under way.

    Attributes:
        mechanism: its name on the wire.
        shows_password: whoever reads the connection can read the password.
    """

    mechanism: str
    shows_password: bool

    def initial_response(self) -> bytes | None:
        """Give what goes with AUTH itself (RFC 4954 4); None when the server speaks first."""
        ...

    def respond(self, challenge: bytes) -> bytes:
        """Answer a challenge.

        Raises:
            SaslError: there is no answer.
        """
        ...


class PlainExchange:
    """PLAIN (RFC 4616): one message with user and password; no authorization identity."""

    mechanism = "PLAIN"
    shows_password = True

    def __init__(self, credentials: HopCredentials) -> None:
        self._credentials = credentials

    def initial_response(self) -> bytes:
        """Give the whole login at once."""
        user, password = self._credentials.user, self._credentials.password
        if "\0" in user + password:
            raise SaslError("PLAIN carries no NUL")
        return f"\0{user}\0{password}".encode()

    def respond(self, challenge: bytes) -> bytes:
        """Refuse: all is said."""
        raise SaslError("the server asks PLAIN for more")


class LoginExchange:
    """LOGIN: user and password as answers to two challenges, whatever these say."""

    mechanism = "LOGIN"
    shows_password = True

    def __init__(self, credentials: HopCredentials) -> None:
        self._answers = [credentials.password.encode(), credentials.user.encode()]

    def initial_response(self) -> bytes | None:
        """Wait: LOGIN has no initial response that every server takes."""
        return None

    def respond(self, challenge: bytes) -> bytes:
        """Give the user first, then the password."""
        if not self._answers:
            raise SaslError("the server asks LOGIN for more")
        return self._answers.pop()


class CramMd5Exchange:
    """CRAM-MD5 (RFC 2195): a keyed digest of the server's challenge; the password stays here."""

    mechanism = "CRAM-MD5"
    shows_password = False

    def __init__(self, credentials: HopCredentials) -> None:
        self._credentials = credentials
        self._is_done = False

    def initial_response(self) -> bytes | None:
        """Wait for the challenge."""
        return None

    def respond(self, challenge: bytes) -> bytes:
        """Give user and digest, once."""
        if self._is_done:
            raise SaslError("the server asks CRAM-MD5 for more")
        self._is_done = True
        digest = hmac.new(self._credentials.password.encode(), challenge, "md5").hexdigest()
        return f"{self._credentials.user} {digest}".encode()


def choose_exchanges(
    offered: Collection[str], credentials: HopCredentials, *, is_encrypted: bool
) -> list[SaslExchange]:
    """List the ways to log in that the server offers, strongest first.

    Within TLS the password is as safe as the digest, and PLAIN works with every kind of verifier; without
    TLS, CRAM-MD5 is the one that does not show the password.

    Args:
        offered: mechanism names in upper case.
        credentials: the login.
        is_encrypted: the connection is within TLS.
    """
    ways: list[SaslExchange] = [PlainExchange(credentials), LoginExchange(credentials)]
    if not is_encrypted:
        ways.insert(0, CramMd5Exchange(credentials))
    return [way for way in ways if way.mechanism in offered]
