from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address

import pytest

from kms.config.relay_settings import limit_names
from kms.domain.address_group import build_groups
from kms.policy.limits import ClientLimits, Limit, Mode, client_key, is_reached, mode_of

OFFICE = build_groups({"office": ["192.0.2.0/24"]})["office"]


def test_every_limit_of_the_ini_file_has_its_member() -> None:
    assert sorted(limit.value for limit in Limit) == sorted(limit_names())


@pytest.mark.parametrize("value", [0, False, 0.0, timedelta(0)])
def test_nothing_is_off_even_where_it_is_to_be_observed(value: float | timedelta) -> None:
    assert mode_of(Limit.FAILED_LOGINS, value, frozenset({Limit.FAILED_LOGINS})) is Mode.OFF


def test_a_limit_is_enforced_unless_it_is_named_in_observe() -> None:
    observed = frozenset({Limit.MAX_RECIPIENTS})
    assert mode_of(Limit.MAX_RECIPIENTS, 100, observed) is Mode.OBSERVE
    assert mode_of(Limit.FAILED_LOGINS, 10, observed) is Mode.ENFORCE


def test_the_limits_of_a_client_know_their_mode() -> None:
    limits = ClientLimits(messages_per_hour=0, observed=frozenset({Limit.UNKNOWN_RECIPIENTS}))
    assert limits.mode(Limit.MESSAGES_PER_HOUR) is Mode.OFF
    assert limits.mode(Limit.UNKNOWN_RECIPIENTS) is Mode.OBSERVE
    assert limits.mode(Limit.CONNECTIONS_PER_CLIENT) is Mode.ENFORCE
    assert limits.mode(Limit.CLIENT_MUST_HAVE_PTR) is Mode.OFF


@pytest.mark.parametrize(
    ("count", "limit", "reached"), [(2, 3, False), (3, 3, True), (4, 3, True), (9, 0, False)]
)
def test_a_limit_of_n_lets_n_through(count: int, limit: int, reached: bool) -> None:
    assert is_reached(count, limit) is reached


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
    ],
)
def test_ipv4_counts_by_address_and_ipv6_by_64(address: str, key: str) -> None:
    assert client_key(ip_address(address)) == key


def test_the_exempt_group_is_exempt_and_without_one_nobody_is() -> None:
    member, stranger = ip_address("192.0.2.7"), ip_address("203.0.113.9")
    assert ClientLimits(exempt_group=OFFICE).is_exempt(member)
    assert not ClientLimits(exempt_group=OFFICE).is_exempt(stranger)
    assert not ClientLimits().is_exempt(member)
