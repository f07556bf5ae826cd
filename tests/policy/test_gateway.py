"""What makes a trusted address look like a NAT gateway."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from kms.domain.address_group import build_groups
from kms.policy import gateway
from kms.policy.gateway import GatewayMemory, GatewayRules, find_house

OFFICE = ip_address("192.0.2.7")
GROUP = build_groups({"office": ["192.0.2.0/24"]})["office"]
HOUR = 3600.0


@pytest.mark.parametrize(
    ("name", "house"),
    [
        ("mail.example.com", "example.com"),
        ("MAIL.Sales.Example.COM.", "example.com"),
        ("example.com", "example.com"),
        ("mx.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("mx1.company.de", "company.de"),
        ("laptop-7", "laptop-7"),
        ("[192.168.1.20]", "[192.168.1.20]"),
        ("", ""),
    ],
)
def test_names_of_one_house_are_one(name: str, house: str) -> None:
    assert find_house(name) == house


@pytest.mark.parametrize(
    ("rules", "is_watched"),
    [
        (GatewayRules(GROUP), True),
        (GatewayRules(GROUP, alarm=0), False),
        (GatewayRules(None), False),
        (GatewayRules(build_groups({"other": ["10.0.0.0/8"]})["other"]), False),
    ],
)
def test_trusted_addresses_are_watched(rules: GatewayRules, is_watched: bool) -> None:
    assert rules.is_watched(OFFICE) is is_watched


def test_many_unrelated_hello_names_are_an_offence() -> None:
    memory = GatewayMemory()
    assert [memory.note(OFFICE, f"pc{number}", "", number, 3) for number in range(4)] == [0, 0, 3, 3]
    assert memory.has_offended(OFFICE, 5)


def test_many_unrelated_sender_domains_are_an_offence() -> None:
    memory = GatewayMemory()
    domains = ["a.example", "mail.b.example", "c.example"]
    assert [memory.note(OFFICE, "mx", domain, 0, 3) for domain in domains] == [0, 0, 3]


def test_a_server_with_the_senders_of_its_house_is_none() -> None:
    memory = GatewayMemory()
    for number in range(100):
        assert memory.note(OFFICE, f"mx{number}.example.com", f"site{number}.example.com", number, 3) == 0
    assert not memory.has_offended(OFFICE, 100)


def test_names_count_for_an_hour() -> None:
    memory = GatewayMemory()
    memory.note(OFFICE, "a", "", 0, 3)
    memory.note(OFFICE, "b", "", 1, 3)
    assert memory.note(OFFICE, "c", "", HOUR, 3) == 0


def test_an_offence_lasts_for_an_hour_after_the_last_one() -> None:
    memory = GatewayMemory()
    for name in "abc":
        memory.note(OFFICE, name, "", 0, 3)
    memory.note(OFFICE, "a", "", 60, 3)
    assert memory.has_offended(OFFICE, HOUR + 59)
    memory.sweep(HOUR + 59)
    assert memory.has_offended(OFFICE, HOUR + 59)
    assert not memory.has_offended(OFFICE, HOUR + 60)
    memory.sweep(HOUR + 60)
    assert memory._offended == {}


def test_a_mail_that_is_not_noted_yet_can_be_counted_with() -> None:
    memory = GatewayMemory()
    memory.note(OFFICE, "a", "x.example", 0, 3)
    assert memory.count_with(OFFICE, "a", "x.example", 1) == 1
    assert memory.count_with(OFFICE, "b", "", 1) == 2
    assert memory.count_with(OFFICE, "a", "mx.y.test", 1) == 2
    assert memory.count_with(OFFICE, "", "", 1) == 1


def test_offenders_are_bounded_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_MOST_ADDRESSES", 2)
    memory = GatewayMemory()
    for number in range(3):
        memory.note(ip_address(f"192.0.2.{number}"), "a", "", number, 1)
    assert [memory.has_offended(ip_address(f"192.0.2.{n}"), 5) for n in range(3)] == [False, True, True]
