"""Finds out how much TLS a next hop must have: asks for its TLSA records, and lets policy/hop_tls.py decide.

Promises: what cannot be known now defers, and is never taken for "nothing" (RFC 7672 2.1.2). Records are asked for
only where DNSSEC has proved the way to the host, its addresses too, or that it is an alias: elsewhere there can be
none, and there are servers that fail at such a question (RFC 7672 2.2.2). Never raises.

Flow: remote_delivery.py awaits `demand` when a hop's turn comes.
"""

from __future__ import annotations

from collections.abc import Sequence

from kms.domain.dns_answer import Addresses, Alias, LookupFailed, NoRecords, TlsaAnswer, TlsaRecords
from kms.domain.next_hop import NextHop
from kms.domain.private_address import parse_address
from kms.domain.published_tls import PublishedTls
from kms.domain.reply import Reply
from kms.policy.hop_tls import demand_tls
from kms.ports import Resolver


async def demand(resolver: Resolver, hop: NextHop) -> NextHop | Reply:
    """Give the hop with the TLS that it must have, or a 4yz reply that says why it must not be used now."""
    published = hop.published
    if published is None:
        return hop
    base, answer = await _find_tlsa(resolver, hop, published)
    return demand_tls(hop, published, base, answer)


async def _find_tlsa(resolver: Resolver, hop: NextHop, published: PublishedTls) -> tuple[str, TlsaAnswer]:
    """Find the TLSA records, and the name under which they stand."""
    host = hop.host
    if not published.may_have_dane or parse_address(host) is not None:
        return host, NoRecords()
    bases = await _find_bases(resolver, host)
    if isinstance(bases, LookupFailed):
        return host, bases
    for base in bases:
        answer = await resolver.lookup_tlsa(base, hop.port)
        if isinstance(answer, LookupFailed) or (isinstance(answer, TlsaRecords) and answer.is_secure):
            return base, answer
    return host, NoRecords()


async def _find_bases(resolver: Resolver, host: str) -> Sequence[str] | LookupFailed:
    """Find the names under which TLSA records may stand, best first (RFC 7672 2.2.2, 2.2.3).

    Where all is proved: the name that the host is an alias of, then its own. Where an alias leads out of what is
    signed: its own alone, if DNSSEC proves that it is that alias.
    """
    addresses = await resolver.lookup_addresses(host)
    if isinstance(addresses, LookupFailed):
        return addresses
    if not isinstance(addresses, Addresses):
        return ()
    if addresses.is_secure:
        return tuple(dict.fromkeys((addresses.canonical or host, host)))
    if not addresses.canonical:
        return ()
    alias = await resolver.lookup_alias(host)
    if isinstance(alias, LookupFailed):
        return alias
    return (host,) if isinstance(alias, Alias) and alias.is_secure else ()
