"""Address groups: what is in, what is out, and what is no group."""

from __future__ import annotations

import ipaddress

import pytest

from kms.domain.address_group import (
    LOCAL_CLIENTS,
    AddressGroup,
    AddressGroupError,
    build_groups,
    parse_client_address,
)


def group(*entries: str) -> AddressGroup:
    return build_groups({"Tested": list(entries)})["Tested"]


def holds(tested: AddressGroup, address: str) -> bool:
    return ipaddress.ip_address(address) in tested


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("192.0.2.1", ["192.0.2.1"], ["192.0.2.0", "192.0.2.2", "::c000:201"]),
        ("192.0.2.0/24", ["192.0.2.0", "192.0.2.255"], ["192.0.1.255", "192.0.3.0"]),
        ("192.0.2.0/255.255.255.0", ["192.0.2.0", "192.0.2.255"], ["192.0.1.255", "192.0.3.0"]),
        ("192.0.2.10-192.0.2.20", ["192.0.2.10", "192.0.2.15", "192.0.2.20"], ["192.0.2.9", "192.0.2.21"]),
        ("192.0.2.10 - 192.0.2.10", ["192.0.2.10"], ["192.0.2.9", "192.0.2.11"]),
        ("  192.0.2.1 ", ["192.0.2.1"], ["192.0.2.2"]),
        ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], ["::", "::1"]),
        ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"], ["2001:db9::"]),
        ("2001:db8::1-2001:db8::f", ["2001:db8::1", "2001:db8::f"], ["2001:db8::", "2001:db8::10"]),
        ("::1", ["::1"], ["0.0.0.1", "::2"]),
        ("::/0", ["::", "::1", "2001:db8::1"], ["192.0.2.1", "::ffff:192.0.2.1"]),
        ("::ffff:192.0.2.1", ["192.0.2.1", "::ffff:192.0.2.1"], ["192.0.2.2", "::c000:201"]),
        ("::ffff:192.0.2.0/120", ["192.0.2.0", "192.0.2.255"], ["192.0.3.0"]),
        ("::ffff:192.0.2.1-::ffff:192.0.2.3", ["192.0.2.1", "192.0.2.3"], ["192.0.2.0", "192.0.2.4"]),
    ],
)
def test_an_entry_holds(entry: str, inside: list[str], outside: list[str]) -> None:
    tested = group(entry)
    assert [address for address in inside if not holds(tested, address)] == []
    assert [address for address in outside if holds(tested, address)] == []


def test_an_empty_group_holds_nobody() -> None:
    assert not holds(group(), "127.0.0.1")
    assert not holds(group(), "::1")


def test_ranges_that_overlap_or_touch_are_joined() -> None:
    tested = group("10.0.0.5-10.0.0.9", "10.0.0.0/30", "10.0.0.4", "10.0.0.6", "10.0.1.0/24")
    assert tested.ipv4.firsts == (
        int(ipaddress.ip_address("10.0.0.0")),
        int(ipaddress.ip_address("10.0.1.0")),
    )
    assert holds(tested, "10.0.0.9")
    assert not holds(tested, "10.0.0.10")


def test_a_group_can_hold_another() -> None:
    groups = build_groups(
        {
            "All": ["group: Branch", "192.0.2.1"],
            "Branch": ["group:Deep", "10.1.0.0/16"],
            "Deep": ["2001:db8::/32"],
        }
    )
    assert all(holds(groups["All"], address) for address in ("192.0.2.1", "10.1.2.3", "2001:db8::1"))
    assert not holds(groups["Branch"], "192.0.2.1")


def test_a_group_may_be_held_twice() -> None:
    groups = build_groups(
        {
            "Top": ["group:Left", "group:Right"],
            "Left": ["group:Low"],
            "Right": ["group:Low"],
            "Low": ["10.0.0.1"],
        }
    )
    assert holds(groups["Top"], "10.0.0.1")


def test_a_chain_of_thousands_of_groups_is_no_trouble() -> None:
    chain = {f"g{number}": [f"group:g{number + 1}"] for number in range(3000)}
    assert holds(build_groups({**chain, "g3000": ["10.0.0.1"]})["g0"], "10.0.0.1")


class TestLocalClients:
    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.1.1",
            "172.31.0.1",
            "192.168.7.7",
            "169.254.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ],
    )
    def test_are_predefined(self, address: str) -> None:
        assert holds(build_groups({})[LOCAL_CLIENTS], address)

    @pytest.mark.parametrize("address", ["192.0.2.1", "172.32.0.1", "100.64.0.1", "2001:db8::1", "::2"])
    def test_are_nobody_else(self, address: str) -> None:
        assert not holds(build_groups({})[LOCAL_CLIENTS], address)

    def test_can_be_redefined(self) -> None:
        redefined = build_groups({LOCAL_CLIENTS: ["192.0.2.1"]})[LOCAL_CLIENTS]
        assert holds(redefined, "192.0.2.1")
        assert not holds(redefined, "127.0.0.1")

    def test_can_be_held_by_another_group(self) -> None:
        assert holds(group("group:Local clients"), "127.0.0.1")


class TestErrors:
    @pytest.mark.parametrize(
        "entry",
        [
            "",
            "mail.example.test",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.0/33",
            "192.0.2.0/x",
            "192.0.2.1-",
            "-192.0.2.1",
            "192.0.2.1-192.0.2.2-192.0.2.3",
            "192.0.2.2-192.0.2.1",
            "192.0.2.1-2001:db8::1",
            "2001:db8::1-192.0.2.1",
            "fe80::1%eth0",
            "fe80::1-fe80::2%eth0",
            "fe80::%eth0/64",
            "2001:db8::g",
        ],
    )
    def test_name_group_and_entry(self, entry: str) -> None:
        with pytest.raises(AddressGroupError, match="Tested") as caught:
            group("10.0.0.1", entry)
        assert (caught.value.group, caught.value.entry) == ("Tested", entry)
        assert repr(entry) in str(caught.value)

    def test_say_what_a_network_with_a_host_in_it_should_be(self) -> None:
        with pytest.raises(AddressGroupError, match=r"192\.168\.1\.0/24"):
            group("192.168.1.5/24")

    def test_name_a_missing_group(self) -> None:
        with pytest.raises(AddressGroupError, match="'group:Nobody': there is no group of that name"):
            group("group:Nobody")

    def test_name_the_whole_cycle(self) -> None:
        with pytest.raises(AddressGroupError, match="contain each other") as caught:
            build_groups({"A": ["group:B"], "B": ["10.0.0.1", "group:C"], "C": ["group:A"]})
        chain = caught.value.problem.rpartition(": ")[2].split(" -> ")
        assert chain[0] == chain[-1]
        assert "->".join(chain) in "A->B->C->A->B->C->A"
        assert caught.value.group == chain[0]
        assert caught.value.entry == f"group:{chain[1]}"

    def test_name_a_group_that_holds_itself(self) -> None:
        with pytest.raises(AddressGroupError, match="Tested -> Tested"):
            group("group:Tested")


class TestClientAddress:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
            ("fe80::1%eth0", "fe80::1"),
        ],
    )
    def test_is_brought_into_one_form(self, text: str, address: str) -> None:
        assert str(parse_client_address(text)) == address

    @pytest.mark.parametrize("text", ["", "unknown", "192.0.2", "192.0.2.1:25", "[::1]"])
    def test_is_an_ip_address(self, text: str) -> None:
        with pytest.raises(ValueError, match="does not appear"):
            parse_client_address(text)
