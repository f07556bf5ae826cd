"""Finds where the mail of a domain goes: asks the DNS, and lets policy/routing.py decide.

The addresses of a few hosts are looked up at once, never of many: a domain with twenty mail exchangers and a
dead DNS must not take the descriptors of all others. Never raises.

Flow: the queue runner awaits `find` once for each destination of a message.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from random import Random

from twisted.internet.defer import Deferred as Awaited
from twisted.internet.defer import gatherResults

from kms.domain.address import Mailbox
from kms.domain.dns_answer import AddressAnswer, Addresses, MailExchanger
from kms.domain.outcome import Deferred, Failed
from kms.policy.routing import (
    Route,
    RoutingRules,
    choose_hops,
    rank_exchangers,
    route_without_dns,
)
from kms.ports import Resolver

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

    async def find(self, domain: str, sender: Mailbox | None = None) -> Route | Deferred | Failed:
        """Find the next hops for mail of `sender` to `domain`; an address literal is a domain too."""
        rules = self.rules
        known = route_without_dns(domain, rules, sender)
        if known is not None:
            return known
        ranked = rank_exchangers(domain, await self._resolver.lookup_mx(domain), rules, self._random.shuffle)
        if isinstance(ranked, Deferred | Failed):
            return ranked
        addresses = await self._look_up_hosts(ranked)
        return choose_hops(ranked, addresses, rules, self._find_own(addresses, rules))

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
