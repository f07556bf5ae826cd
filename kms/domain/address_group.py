"""Named sets of IP addresses, and the form in which a client's address is compared.

A group is ranges, sorted and joined, so a look-up takes one bisection however many entries it was made of.
Nested groups are resolved once, when the groups are built. An IPv4-mapped IPv6 address is everywhere the
IPv4 address; there are no DNS names.

Flow: the configuration builds the groups; relay control, limits and access rules ask `address in group`.
"""

from __future__ import annotations

import functools
import graphlib
import ipaddress
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

import attrs

ClientAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

LOCAL_CLIENTS = "Local clients"
LOCAL_CLIENTS_ENTRIES = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1",
    "fc00::/7",
    "fe80::/10",
)

_NESTED = "group:"
_MAPPED_FIRST = int(ipaddress.IPv6Address("::ffff:0:0"))
_MAPPED_LAST = _MAPPED_FIRST + 2**32 - 1


class AddressGroupError(ValueError):
    """The groups cannot be built. The message names group, entry and what is wrong.

    Attributes:
        group: name of the group at fault.
        entry: its entry; for a cycle the entry that closes it.
    """

    def __init__(self, group: str, entry: str, problem: str) -> None:
        super().__init__(f"address group {group!r}, entry {entry!r}: {problem}")
        self.group = group
        self.entry = entry
        self.problem = problem


@functools.lru_cache(maxsize=4096)
def parse_client_address(text: str) -> ClientAddress:
    """Read a client's address as the network told it.

    An IPv4-mapped IPv6 address becomes the IPv4 address, and a scope id is dropped.

    Raises:
        ValueError: it is no IP address.
    """
    return _unmapped(ipaddress.ip_address(text.partition("%")[0]))


@attrs.frozen
class AddressRanges:
    """Ranges of addresses of one IP version as numbers: sorted, apart from each other, both ends included."""

    firsts: tuple[int, ...]
    lasts: tuple[int, ...]

    @classmethod
    def join(cls, ranges: Iterable[tuple[int, int]]) -> AddressRanges:
        """Sort the ranges and join those that overlap or touch."""
        firsts: list[int] = []
        lasts: list[int] = []
        for first, last in sorted(ranges):
            if lasts and first <= lasts[-1] + 1:
                lasts[-1] = max(lasts[-1], last)
            else:
                firsts.append(first)
                lasts.append(last)
        return cls(tuple(firsts), tuple(lasts))

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self.firsts, number) - 1
        return place >= 0 and number <= self.lasts[place]


@attrs.frozen
class AddressGroup:
    """A named set of IP addresses.

    Attributes:
        name: as the configuration names it.
        ipv4: its IPv4 addresses; IPv4-mapped IPv6 ones are among them.
        ipv6: its other IPv6 addresses.
    """

    name: str
    ipv4: AddressRanges
    ipv6: AddressRanges

    def __contains__(self, address: ClientAddress) -> bool:
        address = _unmapped(address)
        return int(address) in (self.ipv4 if address.version == 4 else self.ipv6)


def build_groups(entries: Mapping[str, Sequence[str]]) -> dict[str, AddressGroup]:
    """Make the groups of a configuration.

    Args:
        entries: by group name. An entry is a host `192.0.2.1`, a network `192.0.2.0/24` or
            `192.0.2.0/255.255.255.0`, a range `192.0.2.10-192.0.2.20`, or `group:Other name`.

    Returns:
        All groups by name. `Local clients` (loopback, RFC 1918, RFC 4193, link-local) is among them even
        where `entries` does not define it.

    Raises:
        AddressGroupError: an entry is unreadable, names no group, or closes a cycle of groups.
    """
    entries = {
        name: [entry.strip() for entry in given]
        for name, given in {LOCAL_CLIENTS: LOCAL_CLIENTS_ENTRIES, **entries}.items()
    }
    nested = {name: _find_nested(name, entries) for name in entries}
    ranges: dict[str, list[tuple[int, int, int]]] = {}
    for name in _order(nested):
        own = [_parse_entry(name, entry) for entry in entries[name] if not entry.startswith(_NESTED)]
        ranges[name] = own + [one for other in nested[name] for one in ranges[other]]
    return {name: _make_group(name, ranges[name]) for name in entries}


def _find_nested(name: str, entries: Mapping[str, Sequence[str]]) -> list[str]:
    nested = []
    for entry in entries[name]:
        if entry.startswith(_NESTED):
            other = entry.removeprefix(_NESTED).strip()
            if other not in entries:
                raise AddressGroupError(name, entry, "there is no group of that name")
            nested.append(other)
    return nested


def _order(nested: dict[str, list[str]]) -> list[str]:
    try:
        return list(graphlib.TopologicalSorter(nested).static_order())
    except graphlib.CycleError as error:
        cycle: list[str] = error.args[1][::-1]
    chain = " -> ".join(cycle)
    raise AddressGroupError(cycle[0], f"{_NESTED}{cycle[1]}", f"the groups contain each other: {chain}")


def _parse_entry(name: str, entry: str) -> tuple[int, int, int]:
    """Give IP version, first and last address."""
    try:
        if "/" in entry:
            first, last = _parse_network(entry)
        elif "-" in entry:
            first, last = (ipaddress.ip_address(end.strip()) for end in entry.split("-", 1))
        else:
            first = last = ipaddress.ip_address(entry)
    except ValueError as error:
        raise AddressGroupError(name, entry, _explain(entry, error)) from None
    if first.version != last.version or int(first) > int(last):
        raise AddressGroupError(name, entry, "a range goes from a lower to a higher address of one kind")
    if getattr(first, "scope_id", None) or getattr(last, "scope_id", None):
        raise AddressGroupError(name, entry, "an address here has no %scope")
    return _unmapped_range(first.version, int(first), int(last))


def _parse_network(entry: str) -> tuple[ClientAddress, ClientAddress]:
    network = ipaddress.ip_network(entry)
    return network.network_address, network.broadcast_address


def _explain(entry: str, error: ValueError) -> str:
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return f"neither host, network, range nor group (no DNS names): {error}"
    return f"the network of that address is {network}; write that, or the address alone"


def _unmapped(address: ClientAddress) -> ClientAddress:
    if address.version == 4:
        return address
    return address.ipv4_mapped or address


def _unmapped_range(version: int, first: int, last: int) -> tuple[int, int, int]:
    if version == 6 and first >= _MAPPED_FIRST and last <= _MAPPED_LAST:
        return 4, first - _MAPPED_FIRST, last - _MAPPED_FIRST
    return version, first, last


def _make_group(name: str, ranges: list[tuple[int, int, int]]) -> AddressGroup:
    ipv4 = AddressRanges.join((first, last) for version, first, last in ranges if version == 4)
    ipv6 = AddressRanges.join((first, last) for version, first, last in ranges if version == 6)
    return AddressGroup(name, ipv4, ipv6)
