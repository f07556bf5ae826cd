from __future__ import annotations

from ipaddress import ip_address

import pytest

from kms.service.own_address import is_own_address


@pytest.mark.parametrize(
    ("address", "is_own"),
    [("127.0.0.1", True), ("127.0.0.2", False), ("192.0.2.77", False), ("2001:db8::1", False)],
)
def test_this_machines_addresses_are_those_it_speaks_from(address: str, is_own: bool) -> None:
    assert is_own_address(ip_address(address)) is is_own
