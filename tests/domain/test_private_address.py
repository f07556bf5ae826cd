import ipaddress

import pytest

from kms.domain.private_address import is_private, parse_address, unwrap


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "127.255.0.1",
        "169.254.169.254",
        "172.31.255.255",
        "192.168.0.1",
        "239.1.1.1",
        "255.255.255.255",
        "::",
        "::1",
        "fd00::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::10.0.0.1",
    ],
)
def test_these_are_no_places_on_the_internet(text: str) -> None:
    assert is_private(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1",
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "2001:db8::1",
        "::ffff:192.0.2.1",
        "64:ff9b::192.0.2.1",
    ],
)
def test_these_are_ordinary_addresses(text: str) -> None:
    assert not is_private(ipaddress.ip_address(text))


def test_an_address_is_read_bare_or_as_a_literal() -> None:
    assert parse_address("192.0.2.1") == ipaddress.ip_address("192.0.2.1")
    assert parse_address("[192.0.2.1]") == ipaddress.ip_address("192.0.2.1")
    assert parse_address("[ipv6:2001:DB8::1]") == ipaddress.ip_address("2001:db8::1")
    assert parse_address("2001:db8::1") == ipaddress.ip_address("2001:db8::1")
    assert parse_address("far.test") is None
    assert parse_address("[]") is None


def test_an_ipv6_address_may_stand_for_an_ipv4_address() -> None:
    assert unwrap(ipaddress.ip_address("::ffff:192.0.2.1")) == ipaddress.ip_address("192.0.2.1")
    assert unwrap(ipaddress.ip_address("2001:db8::1")) == ipaddress.ip_address("2001:db8::1")
