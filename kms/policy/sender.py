"""Does the domain of a sender exist? DNS answers in, refusal out.

What cannot be known now is answered 451 and never 5xx, so a fault of the DNS loses no mail.

Flow: asked at MAIL where `sender_domain_must_exist` is on. `<>`, senders in local domains and address
literals have no domain to look up, and are not brought here.
"""

from __future__ import annotations

from typing import assert_never

from kms.domain import reply
from kms.domain.dns_answer import (
    AddressAnswer,
    Addresses,
    LookupFailed,
    MailExchangers,
    MxAnswer,
    NoRecords,
    NoSuchDomain,
)
from kms.domain.reply import Reply


def needs_addresses(mx: MxAnswer) -> bool:
    """Tell whether the MX answer alone decides nothing, so that A and AAAA must be looked up too."""
    return isinstance(mx, NoRecords)


def judge_sender_domain(mx: MxAnswer, addresses: AddressAnswer | None) -> Reply | None:
    """Refuse a sender whose domain has neither MX nor A nor AAAA, or takes no mail.

    Args:
        mx: the domain's mail exchangers.
        addresses: its addresses; None = not looked up, which is right unless `needs_addresses`.

    Returns:
        None where the domain exists; a 5yz reply where it does not or has a null MX (RFC 7505); a 4yz reply
        where the DNS does not say.
    """
    match mx:
        case MailExchangers():
            return reply.SENDER_DOMAIN_NULL_MX if mx.is_null else None
        case NoSuchDomain():
            return reply.SENDER_DOMAIN_UNKNOWN
        case LookupFailed():
            return reply.SENDER_DOMAIN_TROUBLE
        case NoRecords():
            return _judge_addresses(addresses)
        case _:
            assert_never(mx)


def _judge_addresses(addresses: AddressAnswer | None) -> Reply | None:
    match addresses:
        case Addresses():
            return None
        case NoSuchDomain() | NoRecords():
            return reply.SENDER_DOMAIN_UNKNOWN
        case LookupFailed() | None:
            return reply.SENDER_DOMAIN_TROUBLE
        case _:
            assert_never(addresses)
