"""What all SMTP server sessions of one service have in common, and how EHLO announces it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import attrs

from kms.domain import reply
from kms.domain.reply import Reply
from kms.protocol import sasl
from kms.protocol.sasl_scram import EXCHANGES
from kms.protocol.smtp_content import BareNewlines


def _check_mechanisms(_instance: object, _field: object, value: tuple[str, ...]) -> None:
    unknown = set(value) - set(EXCHANGES)
    if unknown:
        raise ValueError(f"unknown SASL mechanisms: {sorted(unknown)}")


@attrs.frozen(cache_hash=True)
class SmtpServerSettings:
    """The settings of one service.

    Attributes:
        hostname: what the server calls itself.
        max_message_octets: 0 = no limit; a larger content is read to its end and refused.
        max_failed_commands: how many are answered 5yz before the next gets 421; 0 = no limit.
        bare_newlines: what to do with a CR or LF that stands alone in a content.
        mechanisms: of AUTH, best first; empty = AUTH is not offered.
        needs_authentication: MAIL only after AUTH (submission, RFC 6409 4.3).
        offers_starttls: there is a certificate.
        make_nonce: gives another text each time, for AUTH.
        is_lmtp: LMTP is spoken (RFC 2033): LHLO in the place of EHLO and HELO, and an answer for each recipient.
        offers_dsn: RET, ENVID, NOTIFY and ORCPT are taken, and kept with the message (RFC 3461).
        max_recipients: of one message, as announced by LIMITS (RFC 9422); who counts them is the listener's
            matter; 0 = no limit.
        observes_failed_commands: their limit refuses nothing; `sign` is told, once, that it would.
    """

    hostname: str
    max_message_octets: int = 0
    max_failed_commands: int = 10
    bare_newlines: BareNewlines = BareNewlines.REJECT
    mechanisms: tuple[str, ...] = attrs.field(default=("PLAIN", "LOGIN"), validator=_check_mechanisms)
    needs_authentication: bool = False
    offers_starttls: bool = False
    make_nonce: Callable[[], str] = sasl.make_nonce
    is_lmtp: bool = False
    offers_dsn: bool = False
    max_recipients: int = 0
    observes_failed_commands: bool = False


@functools.lru_cache(maxsize=64)
def compose_ehlo(
    settings: SmtpServerSettings, is_encrypted: bool, may_send_passwords: bool, may_bind: bool = False
) -> Reply:
    """Answer EHLO or LHLO: only what works to the end is announced (RFC 5321 4.1.1.1).

    RFC 1870 4: SIZE 0 = no fixed limit.

    Args:
        settings: of the service.
        is_encrypted: TLS is on, so STARTTLS is not offered.
        may_send_passwords: mechanisms that show the password are offered.
        may_bind: SCRAM can be bound to the TLS channel.
    """
    mechanisms = sasl.list_offered(settings.mechanisms, may_send_passwords, may_bind)
    extensions = ["PIPELINING", f"SIZE {settings.max_message_octets}", "8BITMIME", "ENHANCEDSTATUSCODES"]
    extensions.append("SMTPUTF8")
    if settings.offers_dsn:
        extensions.append("DSN")
    extensions.append("CHUNKING")
    if settings.offers_starttls and not is_encrypted:
        extensions.append("STARTTLS")
    if mechanisms:
        extensions.append("AUTH " + " ".join(mechanisms))
    if settings.max_recipients:
        extensions.append(f"LIMITS RCPTMAX={settings.max_recipients}")
    return reply.hello(settings.hostname, (*extensions, "HELP"))
