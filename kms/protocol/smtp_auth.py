"""AUTH within SMTP (RFC 4954): who may begin, base64, cancelling, and what each fault is answered.

Flow: `smtp_server` makes one exchange per AUTH command and feeds it lines until it gives a `LoginOffered` or
breaks off; `sasl` knows the mechanisms.
"""

from __future__ import annotations

import attrs

from kms.domain import reply
from kms.domain.reply import Reply
from kms.protocol import sasl
from kms.protocol.smtp_commands import ProtocolViolation, parse_auth
from kms.protocol.smtp_events import LoginOffered

MAX_RESPONSE_OCTETS = 12288


@attrs.define
class AuthExchange:
    """One running exchange.

    After a `ProtocolViolation` or a `LoginOffered` it is over.
    """

    _mechanism: str
    _exchange: sasl.ServerExchange

    def take_line(self, line: bytes) -> Reply | LoginOffered:
        """Take the client's answer to a challenge.

        Returns:
            The next challenge, as a reply to send; or what the exchange has brought.

        Raises:
            ProtocolViolation: cancelled, or not to be understood.
        """
        if line == b"*":
            raise ProtocolViolation(reply.AUTHENTICATION_CANCELLED)
        return self.respond(line)

    def respond(self, base64_text: bytes | None) -> Reply | LoginOffered:
        """Take a response, or None for the lack of an initial one; as `take_line`."""
        try:
            response = None if base64_text is None else sasl.decode_response(base64_text)
            step = self._exchange.respond(response)
        except sasl.BadBase64Error:
            raise ProtocolViolation(reply.BAD_BASE64) from None
        except sasl.BadResponseError:
            raise ProtocolViolation(reply.BAD_LOGIN_DATA) from None
        if isinstance(step, sasl.Challenge):
            return reply.challenge(sasl.encode_challenge(step.data))
        return LoginOffered(self._mechanism, step.authorization, step.user, step.password)


def begin_auth(
    argument: str, mechanisms: tuple[str, ...], may_send_passwords: bool
) -> tuple[AuthExchange, Reply | LoginOffered]:
    """Begin what AUTH asks for.

    Args:
        argument: of the command.
        mechanisms: those of the service.
        may_send_passwords: the line is encrypted, or plain passwords are allowed on it.

    Returns:
        The exchange, and its first step as by `AuthExchange.take_line`.

    Raises:
        ProtocolViolation: it may not begin, or its initial response is faulty.
    """
    if not mechanisms:
        raise ProtocolViolation(reply.AUTH_NOT_OFFERED)
    mechanism, initial_response = parse_auth(argument)
    if mechanism not in mechanisms:
        raise ProtocolViolation(reply.UNKNOWN_MECHANISM)
    if mechanism in sasl.SENDS_PASSWORD and not may_send_passwords:
        raise ProtocolViolation(reply.ENCRYPTION_REQUIRED)
    exchange = AuthExchange(mechanism, sasl.EXCHANGES[mechanism]())
    return exchange, exchange.respond(initial_response)
