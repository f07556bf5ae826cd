"""Finds where the mail of a domain goes: asks the DNS, and lets policy/routing.py decide.

The addresses of a few hosts are looked up at once, never of many: a domain with twenty mail exchangers and a
dead DNS must not take the descriptors of all others. Never raises.

What a domain publishes about TLS is noted at its hops; remote_delivery.py asks more when a hop's turn comes.

Flow: the queue runner awaits `find` once for each destination of a message.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from random import Random

import attrs
from twisted.internet.defer import Deferred as Awaited
from twisted.internet.defer import gatherResults

from kms.domain.address import Mailbox
from kms.domain.dns_answer import AddressAnswer, Addresses, MailExchanger, MailExchangers, MxAnswer
from kms.domain.next_hop import NextHop
from kms.domain.outcome import Deferred, Failed
from kms.domain.published_tls import PublishedTls, StsMode
from kms.policy.mta_sts import is_listed
from kms.policy.routing import (
    Route,
    RoutingRules,
    choose_hops,
    rank_exchangers,
    route_without_dns,
)
from kms.ports import Resolver
from kms.service.sts_policies import StsPolicies

LOOKUPS_AT_ONCE = 5


def is_machine_address(address: str) -> bool:
    """Tell whether an IP address is one of this machine's.

    The kernel is asked which address it would speak from: to itself it speaks from the very same. Nothing is
    sent. (Trying to bind would be fooled by `ip_nonlocal_bind`.)
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return bool(ipaddress.ip_address(probe.getsockname()[0]) == ipaddress.ip_address(address))
    except OSError:
        return False


class RouteFinder:
    """Finds routes by the DNS and the rules.

    Args:
        resolver: asks the DNS.
        rules: read at each call, so that a changed configuration may replace them.
        random: spreads the load over servers of equal preference.
        is_own_address: tells whether an address is this machine's; asked only where we listen on the port of
            direct delivery at every address.

    Attributes:
        sts: knows the MTA-STS policies; None = there are none.
    """

    def __init__(
        self,
        resolver: Resolver,
        rules: RoutingRules,
        random: Random,
        is_own_address: Callable[[str], bool] = is_machine_address,
    ) -> None:
        self.rules = rules
        self._resolver = resolver
        self._random = random
        self._is_own_address = is_own_address
        self.sts: StsPolicies | None = None

    async def find(self, domain: str, sender: Mailbox | None = None) -> Route | Deferred | Failed:
        """Find the next hops for mail of `sender` to `domain`; an address literal is a domain too."""
        rules = self.rules
        known = route_without_dns(domain, rules, sender)
        if known is not None:
            return self.note_dane(known) if isinstance(known, Route) else known
        answer = await self._resolver.lookup_mx(domain)
        ranked = rank_exchangers(domain, answer, rules, self._random.shuffle)
        if isinstance(ranked, Deferred | Failed):
            return ranked
        addresses = await self._look_up_hosts(ranked)
        route = choose_hops(ranked, addresses, rules, self._find_own(addresses, rules))
        if not isinstance(route, Route) or not (rules.mta_sts or rules.dane):
            return route
        return await self._note_published(domain, answer, route)

    def may_be_private(self) -> bool:
        """Say whether a loopback or private address that the DNS names may be connected to."""
        return self.rules.allow_private_hosts

    def note_dane(self, route: Route) -> Route:
        """Note that DANE is wanted at hops that no MX record names: each host stands for itself (RFC 7672 2.2.2)."""
        if not self.rules.dane:
            return route
        return attrs.evolve(route, hops=tuple(map(_note_dane, route.hops)))

    async def _note_published(self, domain: str, answer: MxAnswer, route: Route) -> Route:
        """Note at the hops what may be published about TLS; a DNS answer without proof ends DANE (RFC 7672 2.2.1)."""
        rules = self.rules
        policy = await self.sts.find(domain) if rules.mta_sts and self.sts is not None else None
        may_have_dane = rules.dane and (not isinstance(answer, MailExchangers) or answer.is_secure)
        if policy is None and not may_have_dane:
            return route
        mode = StsMode.NONE if policy is None else policy.mode
        hops = (
            attrs.evolve(
                hop,
                published=PublishedTls(
                    domain, may_have_dane, mode, policy is not None and is_listed(hop.host, policy)
                ),
            )
            for hop in route.hops
        )
        return attrs.evolve(route, hops=tuple(hops))

    async def _look_up_hosts(self, exchangers: Sequence[MailExchanger]) -> dict[str, AddressAnswer]:
        hosts = list(dict.fromkeys(record.host for record in exchangers))
        answers: dict[str, AddressAnswer] = {}
        for start in range(0, len(hosts), LOOKUPS_AT_ONCE):
            batch = hosts[start : start + LOOKUPS_AT_ONCE]
            lookups = [Awaited.fromCoroutine(self._resolver.lookup_addresses(host)) for host in batch]
            answers.update(zip(batch, await gatherResults(lookups, consumeErrors=True), strict=True))
        return answers

    def _find_own(self, addresses: dict[str, AddressAnswer], rules: RoutingRules) -> frozenset[str]:
        if rules.direct_port not in rules.own_wildcard_ports:
            return frozenset()
        return frozenset(
            address
            for answer in addresses.values()
            if isinstance(answer, Addresses)
            for address in answer.addresses
            if self._is_own_address(address)
        )


def _note_dane(hop: NextHop) -> NextHop:
    if hop.is_lmtp:
        return hop
    return attrs.evolve(hop, published=PublishedTls(hop.host, may_have_dane=True))
