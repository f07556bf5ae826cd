"""AUTH within SMTP (RFC 4954): who may begin, base64, cancelling, and what each fault is answered.

Flow: `smtp_server` makes one exchange per AUTH command and feeds it lines until it gives a `LoginOffered` or
breaks off; `sasl` and `sasl_scram` know the mechanisms. Where a mechanism ends with a proof of the server's own
(SCRAM), a right login is answered by that first, and by 235 when the client has acknowledged it.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from kms.domain import reply
from kms.domain.reply import Reply
from kms.domain.scram import ScramVerifier
from kms.protocol import sasl
from kms.protocol.sasl_scram import EXCHANGES, ScramExchange
from kms.protocol.smtp_commands import ProtocolViolation, parse_auth
from kms.protocol.smtp_events import LoginOffered, VerifierWanted
from kms.protocol.smtp_settings import SmtpServerSettings

MAX_RESPONSE_OCTETS = 12288

Bindings = Mapping[str, bytes]
"""Of a TLS channel, by name (RFC 5056)."""

Outcome = Reply | LoginOffered | VerifierWanted
"""A reply to send: 334, or 235 and the exchange is over; or a question."""


@attrs.define
class AuthExchange:
    """One running exchange.

    After a `ProtocolViolation`, a 235 or a refused `LoginOffered` it is over.

    Attributes:
        user: who logs in, as the client wrote it; None until it has said so.
    """

    _mechanism: str
    _exchange: sasl.ServerExchange
    _initial_response: bytes | None = attrs.field(default=None, repr=False)
    user: str | None = None
    _answer: bytes | None = attrs.field(default=None, repr=False)
    _success: Reply | None = None

    def begin(self) -> Outcome:
        """Take the first step; raises as `take_line`."""
        return self._respond(self._initial_response)

    def take_line(self, line: bytes) -> Outcome:
        """Take the client's answer to a challenge.

        Raises:
            ProtocolViolation: cancelled, or not to be understood.
        """
        if line == b"*":
            raise ProtocolViolation(reply.AUTHENTICATION_CANCELLED)
        if self._success is None:
            return self._respond(line)
        if line:
            raise ProtocolViolation(reply.BAD_LOGIN_DATA)
        return self._success

    def _respond(self, base64_text: bytes | None) -> Outcome:
        try:
            response = None if base64_text is None else sasl.decode_response(base64_text)
            step = self._exchange.respond(response)
        except sasl.BadBase64Error:
            raise ProtocolViolation(reply.BAD_BASE64) from None
        except sasl.BadResponseError:
            raise ProtocolViolation(reply.BAD_LOGIN_DATA) from None
        match step:
            case sasl.Challenge(data):
                return _challenge(data)
            case sasl.VerifierWanted(user):
                return VerifierWanted(user, self._take_verifier)
        self.user, self._answer = step.user, step.answer
        return LoginOffered(self._mechanism, step.authorization, step.user, step.proof)

    def _take_verifier(self, verifier: ScramVerifier) -> Reply:
        assert isinstance(self._exchange, ScramExchange)
        return _challenge(self._exchange.take_verifier(verifier).data)

    def succeed(self, success: Reply) -> Reply:
        """Answer a `LoginOffered` that was right; gives the last challenge, or `success` where there is none."""
        if self._answer is None:
            return success
        self._success = success
        return _challenge(self._answer)


def begin_auth(
    argument: str, settings: SmtpServerSettings, may_send_passwords: bool, bindings: Bindings
) -> AuthExchange:
    """Begin what AUTH asks for; its first step is the exchange's `begin`.

    Args:
        argument: of the command.
        settings: of the service.
        may_send_passwords: the line is encrypted, or plain passwords are allowed on it.
        bindings: of the TLS channel.

    Raises:
        ProtocolViolation: it may not begin.
    """
    channel = sasl.open_channel(settings.hostname, settings.mechanisms, bindings, settings.make_nonce)
    if not settings.mechanisms:
        raise ProtocolViolation(reply.AUTH_NOT_OFFERED)
    mechanism, initial_response = parse_auth(argument)
    if mechanism not in settings.mechanisms or (mechanism == sasl.SCRAM_PLUS and not channel.offers_plus):
        raise ProtocolViolation(reply.UNKNOWN_MECHANISM)
    if mechanism in sasl.SENDS_PASSWORD and not may_send_passwords:
        raise ProtocolViolation(reply.ENCRYPTION_REQUIRED)
    return AuthExchange(mechanism, EXCHANGES[mechanism](channel), initial_response)


def _challenge(data: bytes) -> Reply:
    return reply.challenge(sasl.encode_challenge(data))
