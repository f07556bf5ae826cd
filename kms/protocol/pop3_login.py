"""How a POP3 client says who it is: USER and PASS, APOP (RFC 1939 7), or AUTH (RFC 5034).

Credentials are plain UTF-8 and compared as they are: nothing is folded, mapped or normalised. What is not
UTF-8 or holds a NUL can be nobody's and is refused like any wrong login.
Flow: pop3_server hands the arguments over and turns what comes back into events and replies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from kms.domain.login import ApopDigest, Proof
from kms.domain.scram import ScramVerifier
from kms.protocol import sasl
from kms.protocol.pop3_events import CommandRefused, LoginOffered, Pop3ServerSettings
from kms.protocol.sasl import Challenge, ServerExchange, VerifierWanted
from kms.protocol.sasl_scram import EXCHANGES, ScramExchange

_DIGEST = re.compile(rb"[0-9a-f]{32}")
_UNKNOWN = "Unknown command"


class WrongLogin(Exception):
    """These credentials cannot be right, whoever is asked."""


class LoginAbandoned(Exception):
    """The client gives a login up that was right: nothing is left but to close."""


Step = LoginOffered | VerifierWanted | str
"""A question, or a challenge to be sent."""


class LoginDialogue:
    """What a client has said of itself so far.

    Args:
        settings: of the listener.
        may_send_passwords: the line is encrypted, or plain passwords are allowed on it.
        read_bindings: tells what SCRAM can be bound to.
        stamp: of APOP, as the greeting told it; empty = APOP is not offered.
    """

    def __init__(
        self,
        settings: Pop3ServerSettings,
        may_send_passwords: bool,
        read_bindings: Callable[[], Mapping[str, bytes]],
        stamp: bytes,
    ) -> None:
        self._settings = settings
        self._read_bindings = read_bindings
        self._stamp = stamp
        self.may_send_passwords = may_send_passwords
        self._user: bytes | None = None
        self._mechanism = ""
        self._exchange: ServerExchange | None = None
        self._answer: bytes | None = None  # to be sent if the login is right
        self._is_proved = False

    @property
    def awaits_response(self) -> bool:
        """Whether the next line answers a challenge, and is no command."""
        return self._exchange is not None or self._is_proved

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms that the client may choose from now."""
        may_bind = bool(self._read_bindings())
        return sasl.list_offered(self._settings.mechanisms, self.may_send_passwords, may_bind)

    def end_exchange(self) -> None:
        """Give the running AUTH up; raises LoginAbandoned."""
        self._exchange = self._answer = None
        if self._is_proved:
            raise LoginAbandoned

    def take_user(self, argument: bytes) -> None:
        """Obey USER."""
        self._check_may_send_passwords()
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
        self._check_may_send_passwords()
        user, self._user = self._user, None
        if user is None:
            raise CommandRefused("USER first")
        return _offer("PLAIN", "", _decode(user), _decode(argument))

    def take_apop(self, argument: bytes) -> LoginOffered:
        """Obey APOP; raises as `take_password`."""
        if not self._stamp:
            raise CommandRefused(_UNKNOWN)
        self._user = None
        user, _, digest = argument.strip().rpartition(b" ")
        if not user or not _DIGEST.fullmatch(digest):
            raise CommandRefused("Bad arguments")
        return _offer("APOP", "", _decode(user), ApopDigest(self._stamp, digest.decode()))

    def authenticate(self, argument: bytes) -> Step:
        """Obey AUTH with an argument.

        Raises:
            CommandRefused: it makes no sense.
            WrongLogin: these credentials are nobody's.
        """
        self._user = None
        name, _, response = argument.strip().partition(b" ")
        mechanism = name.decode("ascii", "replace").upper()
        if mechanism not in self.mechanisms:
            if mechanism in self._settings.mechanisms and mechanism in sasl.SENDS_PASSWORD:
                self._check_may_send_passwords()
            raise CommandRefused("Mechanism is not offered")
        settings = self._settings
        channel = sasl.open_channel(
            settings.hostname, settings.mechanisms, self._read_bindings(), settings.make_nonce
        )
        self._mechanism = mechanism
        exchange = EXCHANGES[mechanism](channel)
        if not response:
            return self._take_step(exchange, None)
        return self._respond(exchange, b"" if response == b"=" else response)

    def respond(self, line: bytes) -> Step | None:
        """Go on with AUTH; returns and raises as `authenticate`; None = the login is complete."""
        exchange, self._exchange = self._exchange, None
        if self._is_proved:
            if line:
                raise LoginAbandoned
            self._is_proved = False
            return None
        if exchange is None or line == b"*":
            raise CommandRefused("Authentication cancelled")
        return self._respond(exchange, line)

    def take_verifier(self, verifier: ScramVerifier) -> str:
        """Answer `VerifierWanted`; gives the next challenge."""
        assert isinstance(self._exchange, ScramExchange)
        return sasl.encode_challenge(self._exchange.take_verifier(verifier).data)

    def succeed(self) -> str | None:
        """Say that the login was right; gives the last challenge, which the client must acknowledge."""
        answer, self._answer = self._answer, None
        self._is_proved = answer is not None
        return None if answer is None else sasl.encode_challenge(answer)

    def _check_may_send_passwords(self) -> None:
        if not self.may_send_passwords:
            raise CommandRefused("Start TLS first, passwords are not sent in clear")

    def _respond(self, exchange: ServerExchange, response: bytes) -> Step:
        try:
            return self._take_step(exchange, sasl.decode_response(response))
        except sasl.BadBase64Error:
            raise CommandRefused("Not valid base64") from None
        except sasl.BadResponseError:
            raise CommandRefused("Not a valid response") from None

    def _take_step(self, exchange: ServerExchange, response: bytes | None) -> Step:
        step = exchange.respond(response)
        match step:
            case Challenge(data):
                self._exchange = exchange
                return sasl.encode_challenge(data)
            case VerifierWanted():
                self._exchange = exchange
                return step
        self._answer = step.answer
        return _offer(self._mechanism, step.authorization, step.user, step.proof)


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise WrongLogin from None


def _offer(mechanism: str, authorization: str, user: str, proof: Proof) -> LoginOffered:
    if "\0" in user or (isinstance(proof, str) and "\0" in proof):
        raise WrongLogin
    return LoginOffered(mechanism, authorization, user, proof)
