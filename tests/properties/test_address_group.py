"""A group holds exactly the addresses that its entries name, however they are mixed."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from kms.domain.address_group import build_groups, parse_client_address

# A small corner of each family, so that ranges meet often; the last one is the first again, in IPv6 clothes.
BASES = {
    "v4": int(ipaddress.IPv4Address("192.0.2.0")),
    "v6": int(ipaddress.IPv6Address("2001:db8::")),
    "mapped": int(ipaddress.IPv6Address("::ffff:192.0.2.0")),
}
OFFSETS = st.integers(0, 60)
FAMILIES = st.sampled_from(sorted(BASES))
RANGES = st.tuples(FAMILIES, OFFSETS, OFFSETS).map(lambda range_: (range_[0], *sorted(range_[1:])))


def print_address(family: str, offset: int) -> str:
    number = BASES[family] + offset
    return str(ipaddress.IPv4Address(number) if family == "v4" else ipaddress.IPv6Address(number))


@settings(max_examples=200, deadline=None)
@given(st.lists(RANGES, max_size=8), st.integers(0, 8))
def test_a_group_holds_what_its_entries_name_and_nothing_else(
    ranges: list[tuple[str, int, int]], split: int
) -> None:
    entries = [
        f"{print_address(family, first)}-{print_address(family, last)}" for family, first, last in ranges
    ]
    groups = build_groups({"A": [*entries[:split], "group:B"], "B": entries[split:]})
    for family in BASES:
        for offset in range(-1, 62):
            kin = {"v6"} if family == "v6" else {"v4", "mapped"}
            expected = any(one in kin and first <= offset <= last for one, first, last in ranges)
            assert (parse_client_address(print_address(family, offset)) in groups["A"]) is expected
