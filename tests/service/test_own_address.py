from __future__ import annotations

from ipaddress import ip_address

import pytest
from twisted.internet.task import Clock

from kms.service import own_address
from kms.service.clock import ClockOf
from kms.service.own_address import OwnAddresses, is_own_address


@pytest.mark.parametrize(
    ("address", "is_own"),
    [("127.0.0.1", True), ("127.0.0.2", False), ("203.0.113.77", False), ("2001:db8::1", False)],
)
def test_this_machines_addresses_are_those_it_speaks_from(address: str, is_own: bool) -> None:
    assert is_own_address(ip_address(address)) is is_own


def test_answers_are_remembered_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def ask(address: object) -> bool:
        asked.append(address)
        return True

    monkeypatch.setattr(own_address, "is_own_address", ask)
    reactor = Clock()
    addresses = OwnAddresses(ClockOf(reactor))
    first = ip_address("192.0.2.1")
    assert addresses.has(first)
    assert addresses.has(first)
    assert asked == [first]
    reactor.advance(60)
    assert addresses.has(first)
    assert asked == [first] * 2


def test_answers_are_bounded_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_address, "_MOST_REMEMBERED", 2)
    addresses = OwnAddresses(ClockOf(Clock()))
    for number in range(5):
        addresses.has(ip_address(f"203.0.113.{number}"))
    assert len(addresses._known) <= 2
