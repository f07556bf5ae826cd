"""The sender's domain: what exists passes, what does not is refused, what cannot be known waits."""

from __future__ import annotations

import pytest

from kms.domain import reply
from kms.domain.dns_answer import (
    AddressAnswer,
    Addresses,
    LookupFailed,
    MailExchanger,
    MailExchangers,
    MxAnswer,
    NoRecords,
    NoSuchDomain,
)
from kms.policy.sender import judge_sender_domain, needs_addresses

SOME_MX = MailExchangers((MailExchanger(10, "mx.far.test"),))
NULL_MX = MailExchangers((MailExchanger(0, ""),))
FAILED = LookupFailed("SERVFAIL")
SOME_ADDRESS = Addresses(("192.0.2.1",))


@pytest.mark.parametrize(
    ("mx", "addresses", "refusal"),
    [
        (SOME_MX, None, None),
        (NULL_MX, None, reply.SENDER_DOMAIN_NULL_MX),
        (NoSuchDomain(), None, reply.SENDER_DOMAIN_UNKNOWN),
        (FAILED, None, reply.SENDER_DOMAIN_TROUBLE),
        (NoRecords(), SOME_ADDRESS, None),
        (NoRecords(), NoRecords(), reply.SENDER_DOMAIN_UNKNOWN),
        (NoRecords(), NoSuchDomain(), reply.SENDER_DOMAIN_UNKNOWN),
        (NoRecords(), FAILED, reply.SENDER_DOMAIN_TROUBLE),
        (NoRecords(), None, reply.SENDER_DOMAIN_TROUBLE),
        (FAILED, SOME_ADDRESS, reply.SENDER_DOMAIN_TROUBLE),
    ],
)
def test_the_domain_of_a_sender(
    mx: MxAnswer, addresses: AddressAnswer | None, refusal: reply.Reply | None
) -> None:
    assert judge_sender_domain(mx, addresses) == refusal


@pytest.mark.parametrize(
    ("mx", "needed"),
    [(SOME_MX, False), (NULL_MX, False), (NoSuchDomain(), False), (FAILED, False), (NoRecords(), True)],
)
def test_addresses_are_needed_only_where_there_is_no_mx(mx: MxAnswer, needed: bool) -> None:
    assert needs_addresses(mx) is needed
