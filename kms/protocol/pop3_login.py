"""How a POP3 client says who it is: USER and PASS (RFC 1939 7), or AUTH (RFC 5034).

Credentials are plain UTF-8 and compared as they are: nothing is folded, mapped or normalised. What is not
UTF-8 or holds a NUL can be nobody's and is refused like any wrong login.
Flow: pop3_server hands the arguments over and turns what comes back into events and replies.
"""

from __future__ import annotations

from kms.protocol.pop3_events import CommandRefused, LoginOffered
from kms.protocol.sasl import (
    BadBase64Error,
    BadResponseError,
    Challenge,
    PlainExchange,
    ServerExchange,
    decode_response,
    encode_challenge,
)


class WrongLogin(Exception):
    """These credentials cannot be right, whoever is asked."""


class LoginDialogue:
    """What a client has said of itself so far."""

    __slots__ = ("_exchange", "_user")

    def __init__(self) -> None:
        self._user: bytes | None = None
        self._exchange: ServerExchange | None = None

    @property
    def awaits_response(self) -> bool:
        """Whether the next line answers a challenge, and is no command."""
        return self._exchange is not None

    def end_exchange(self) -> None:
        """Give the running AUTH up."""
        self._exchange = None

    def take_user(self, argument: bytes) -> None:
        """Obey USER."""
        self._user = argument.strip()
        if not self._user:
            self._user = None
            raise CommandRefused("Bad arguments")

    def take_password(self, argument: bytes) -> LoginOffered:
        """Obey PASS; blanks belong to the password.

        Raises:
            CommandRefused: no USER came before.
            WrongLogin: these credentials are nobody's.
        """
        user, self._user = self._user, None
        if user is None:
            raise CommandRefused("USER first")
        try:
            return _offer("", user.decode("utf-8"), argument.decode("utf-8"))
        except UnicodeDecodeError:
            raise WrongLogin from None

    def authenticate(self, argument: bytes) -> LoginOffered | str:
        """Obey AUTH.

        Returns:
            The login, or a challenge to be sent.

        Raises:
            CommandRefused: it makes no sense.
            WrongLogin: these credentials are nobody's.
        """
        self._user = None
        mechanism, _, response = argument.strip().partition(b" ")
        if not mechanism:
            raise CommandRefused("Bad arguments")
        if mechanism.upper() != b"PLAIN":
            raise CommandRefused("Mechanism is not offered")
        exchange = PlainExchange()
        if not response:
            return self._take_step(exchange, None)
        return self._respond(exchange, b"" if response == b"=" else response)

    def respond(self, line: bytes) -> LoginOffered | str:
        """Go on with AUTH; returns and raises as `authenticate`."""
        exchange, self._exchange = self._exchange, None
        if exchange is None or line == b"*":
            raise CommandRefused("Authentication cancelled")
        return self._respond(exchange, line)

    def _respond(self, exchange: ServerExchange, response: bytes) -> LoginOffered | str:
        try:
            return self._take_step(exchange, decode_response(response))
        except BadBase64Error:
            raise CommandRefused("Not valid base64") from None
        except BadResponseError:
            raise CommandRefused("Not a valid response") from None

    def _take_step(self, exchange: ServerExchange, response: bytes | None) -> LoginOffered | str:
        step = exchange.respond(response)
        if isinstance(step, Challenge):
            self._exchange = exchange
            return encode_challenge(step.data)
        return _offer(step.authorization, step.user, step.password)


def _offer(authorization: str, user: str, password: str) -> LoginOffered:
    if "\0" in user or "\0" in password:
        raise WrongLogin
    return LoginOffered("PLAIN", authorization, user, password)
