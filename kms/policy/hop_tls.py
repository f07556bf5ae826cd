"""How much TLS a hop must have, of our own setting and of what its side publishes: DANE, then MTA-STS, then ours.

Never weaker than our own setting: what is published adds to it. A host with TLSA records is not held to an MTA-STS
policy, for DNSSEC has proved more; where none of them is usable, the policy counts beside the TLS that they demand
(RFC 7672 2.2, RFC 8461 2).

Flow: service/hop_protection.py has asked the DNS, and calls `demand_tls`.
"""

from __future__ import annotations

import attrs

from kms.domain import reply
from kms.domain.dns_answer import LookupFailed, TlsaAnswer, TlsaRecords
from kms.domain.next_hop import NextHop, TlsPolicy
from kms.domain.published_tls import UNVERIFIED, DaneDemand, PublishedTls, StsMode, TlsAuthority
from kms.domain.reply import Reply
from kms.policy.dane import choose_usable


def demand_tls(hop: NextHop, published: PublishedTls, base: str, answer: TlsaAnswer) -> NextHop | Reply:
    """Give the hop the TLS that it must have.

    Args:
        base: the name under which `answer` was found.
        answer: TLSA records of the hop; `NoRecords` where DANE does not apply.

    Returns:
        The hop to connect to, or a 4yz reply that says why not.
    """
    if isinstance(answer, LookupFailed):
        return reply.TLSA_LOOKUP_FAILED
    if isinstance(answer, TlsaRecords) and answer.is_secure:
        usable = choose_usable(answer.records)
        if usable:
            dane = DaneDemand(usable, base, tuple(dict.fromkeys((base, published.domain))))
            return attrs.evolve(hop, tls=TlsPolicy.REQUIRE, dane=dane, tls_by=TlsAuthority.DANE)
        if hop.tls is TlsPolicy.OPPORTUNISTIC:
            hop = attrs.evolve(hop, tls=TlsPolicy.REQUIRE, tls_by=TlsAuthority.DANE_UNUSABLE)
    return _obey_sts(hop, published)


def _obey_sts(hop: NextHop, published: PublishedTls) -> NextHop | Reply:
    match published.sts:
        case StsMode.ENFORCE if not published.is_listed:
            return reply.NOT_IN_STS_POLICY
        case StsMode.ENFORCE:
            return attrs.evolve(hop, tls=TlsPolicy.VERIFY, tls_by=TlsAuthority.STS)
        case StsMode.TESTING if hop.tls_by is TlsAuthority.OURSELVES:
            return attrs.evolve(hop, tls_by=TlsAuthority.STS_TESTING)
        case _:
            return hop


def find_testing_fault(hop: NextHop, tls: str | None) -> str | None:
    """Say what a policy in testing would have refused of a delivery; None = nothing, or no such policy.

    Args:
        hop: as `demand_tls` gave it.
        tls: of the outcome.
    """
    if hop.published is None or hop.published.sts is not StsMode.TESTING or hop.dane is not None:
        return None
    if not hop.published.is_listed:
        return reply.NOT_IN_STS_POLICY.text
    if tls is None:
        return "no TLS"
    return UNVERIFIED if UNVERIFIED in tls else None
