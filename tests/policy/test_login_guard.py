"""Who may have a password checked, and how long it takes."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest

from kms.domain.account import Account, Directory
from kms.policy.limits import Limit, Mode
from kms.policy.login_guard import (
    MOST_ADDRESSES_COUNTED,
    LoginFacts,
    LoginRules,
    LoginVerdict,
    find_delay,
    find_full_limits,
    judge_login,
    name_account,
)

RULES = LoginRules(failed_logins=3, failed_logins_per_address=6)
OBSERVED = attrs.evolve(RULES, observed=frozenset({Limit.FAILED_LOGINS, Limit.FAILED_LOGINS_PER_ADDRESS}))
OFF = LoginRules(failed_logins=0, failed_logins_per_address=0)


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (LoginFacts(), LoginVerdict.CHECK),
        (LoginFacts(pair_failures=2, address_failures=5, minute_failures=5), LoginVerdict.CHECK),
        (LoginFacts(is_pair_blocked=True), LoginVerdict.REFUSED_PAIR),
        (LoginFacts(is_address_blocked=True), LoginVerdict.REFUSED_ADDRESS),
        (LoginFacts(is_pair_blocked=True, is_address_blocked=True), LoginVerdict.REFUSED_ADDRESS),
        (LoginFacts(minute_failures=30), LoginVerdict.REFUSED_PACE),
        (LoginFacts(pair_checks=2), LoginVerdict.CHECK),
        (LoginFacts(pair_checks=3), LoginVerdict.WAIT),
        (LoginFacts(pair_failures=2, pair_checks=1), LoginVerdict.WAIT),
        (LoginFacts(address_failures=4, address_checks=1), LoginVerdict.CHECK),
        (LoginFacts(address_failures=4, address_checks=2), LoginVerdict.WAIT),
        (LoginFacts(pair_failures=9, address_failures=9), LoginVerdict.CHECK),
        (LoginFacts(pair_failures=9, address_failures=9, address_checks=1), LoginVerdict.WAIT),
    ],
)
def test_a_login_is_checked_refused_or_waits(facts: LoginFacts, verdict: LoginVerdict) -> None:
    assert judge_login(facts, RULES) is verdict


@pytest.mark.parametrize("rules", [OFF, OBSERVED])
def test_limits_that_are_off_or_observed_refuse_nothing(rules: LoginRules) -> None:
    facts = LoginFacts(
        20, 20, 0, pair_checks=20, address_checks=20, is_pair_blocked=True, is_address_blocked=True
    )
    assert judge_login(facts, rules) is LoginVerdict.CHECK


@pytest.mark.parametrize("rules", [OFF, OBSERVED])
def test_thirty_guesses_a_minute_are_the_most_whatever_is_set(rules: LoginRules) -> None:
    assert judge_login(LoginFacts(minute_failures=30), rules) is LoginVerdict.REFUSED_PACE
    assert judge_login(LoginFacts(minute_failures=20, address_checks=10), rules) is LoginVerdict.WAIT


def test_a_full_limit_begins_a_block_the_pairs_first() -> None:
    full = find_full_limits(LoginFacts(pair_failures=3, address_failures=6), RULES)
    assert full == [
        (Limit.FAILED_LOGINS, Mode.ENFORCE),
        (Limit.FAILED_LOGINS_PER_ADDRESS, Mode.ENFORCE),
    ]
    assert find_full_limits(LoginFacts(pair_failures=2, address_failures=5), RULES) == []
    assert find_full_limits(LoginFacts(pair_failures=99, address_failures=99), OFF) == []


def test_a_limit_that_is_observed_is_full_too() -> None:
    full = find_full_limits(LoginFacts(pair_failures=3), OBSERVED)
    assert full == [(Limit.FAILED_LOGINS, Mode.OBSERVE)]


@pytest.mark.parametrize(
    ("addresses", "seconds"), [(0, 0), (3, 0), (4, 0.5), (13, 5), (1000, 5), (MOST_ADDRESSES_COUNTED, 5)]
)
def test_guesses_from_many_addresses_slow_an_account_down(addresses: int, seconds: float) -> None:
    assert find_delay(addresses, RULES) == timedelta(seconds=seconds)
    assert find_delay(addresses, OBSERVED) == find_delay(addresses, OFF) == timedelta(0)


DOMAINS = Directory(("example.org", "second.example"), domain_aliases={"example.net": "example.org"})


@pytest.mark.parametrize("known", [{}, {"anna@example.org": Account("anna", "example.org")}])
@pytest.mark.parametrize("login", ["anna", "Anna@example.org", "ANNA@Example.NET"])
def test_all_spellings_of_a_login_count_as_one_whether_it_exists_or_not(
    known: dict[str, Account], login: str
) -> None:
    assert name_account(attrs.evolve(DOMAINS, accounts=known), login) == "anna@example.org"


@pytest.mark.parametrize(
    ("login", "name"),
    [
        ("anna@second.example", "anna@second.example"),
        ("a@B@@", "a@b@@"),
        ("jo\u0308rg", "j\u00f6rg@example.org"),
        ("", "@example.org"),
        ("x" * 1000, "x" * 320 + "@example.org"),
    ],
)
def test_any_text_gives_a_bounded_name(login: str, name: str) -> None:
    assert name_account(DOMAINS, login) == name
