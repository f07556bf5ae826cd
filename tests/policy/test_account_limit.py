"""The limits of one login, each at its border."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kms.domain.account import Account
from kms.policy.account_limit import (
    DAY,
    HOUR,
    AccountRules,
    SentTally,
    find_broken_size,
    find_reached_rates,
    find_reached_recipients,
)
from kms.policy.limits import Limit, Mode

RULES = AccountRules(
    messages_per_hour=3, messages_per_day=10, max_message_octets=1000, new_recipients_per_day=5
)
HOURLY, DAILY = Limit.ACCOUNT_MESSAGES_PER_HOUR, Limit.ACCOUNT_MESSAGES_PER_DAY


def test_an_accounts_own_values_take_the_place_of_the_servers() -> None:
    own = RULES.of(Account("anna", "example.org", messages_per_hour=0, max_message_octets=5))
    assert (own.messages_per_hour, own.messages_per_day, own.max_message_octets) == (0, 10, 5)
    assert RULES.of(Account("anna", "example.org")) == RULES


@pytest.mark.parametrize(
    ("in_hour", "in_day", "reached"),
    [(2, 9, []), (3, 9, [HOURLY]), (2, 10, [DAILY]), (3, 10, [HOURLY, DAILY])],
)
def test_one_message_too_many_reaches_a_limit(in_hour: int, in_day: int, reached: list[Limit]) -> None:
    assert [one.limit for one in find_reached_rates(in_hour, in_day, RULES)] == reached
    assert find_reached_rates(in_hour, in_day, AccountRules()) == []


@pytest.mark.parametrize(("octets", "is_broken"), [(None, False), (1000, False), (1001, True)])
def test_a_message_may_be_too_large(octets: int | None, is_broken: bool) -> None:
    assert bool(find_broken_size(octets, RULES)) is is_broken
    assert find_broken_size(octets, AccountRules()) == []


def test_one_new_recipient_too_many_reaches_a_limit() -> None:
    assert find_reached_recipients(4, RULES) == []
    (reached,) = find_reached_recipients(5, RULES)
    assert (reached.count, reached.most, reached.mode) == (5, 5, Mode.ENFORCE)
    assert find_reached_recipients(99, AccountRules()) == []


def test_a_limit_may_only_observe() -> None:
    rules = AccountRules(messages_per_hour=1, observed=frozenset({HOURLY}))
    (reached,) = find_reached_rates(1, 1, rules)
    assert reached.mode is Mode.OBSERVE


@pytest.mark.parametrize(
    ("rules", "counts"),
    [
        (AccountRules(), False),
        (AccountRules(messages_per_hour=1), True),
        (AccountRules(messages_per_day=1), True),
        (AccountRules(max_message_octets=1, new_recipients_per_day=1), False),
    ],
)
def test_messages_are_counted_where_a_limit_wants_it(rules: AccountRules, counts: bool) -> None:
    assert rules.counts_messages is counts


class TestSentMessages:
    def test_count_within_a_true_sliding_span(self) -> None:
        tally = SentTally()
        for at in (0.0, 100.0, 200.0):
            tally.add("anna", at)
        assert tally.count("anna", 3599, HOUR) == 3
        assert tally.count("anna", 3600, HOUR) == 2
        assert tally.count("anna", 3600, DAY) == 3
        assert tally.count("bert", 3600, DAY) == 0

    def test_that_were_not_accepted_are_taken_back(self) -> None:
        tally = SentTally()
        tally.add("anna", 1.0)
        tally.add("anna", 2.0)
        tally.take_back("anna", 2.0)
        tally.take_back("anna", 3.0)
        tally.take_back("bert", 3.0)
        assert tally.count("anna", 5, timedelta(hours=1)) == 1

    def test_are_forgotten_after_a_day(self) -> None:
        tally = SentTally()
        tally.add("anna", 0.0)
        tally.add("bert", 10.0)
        tally.sweep(86400)
        assert len(tally) == 1
        tally.add("bert", 86410.0)
        assert tally.count("bert", 86410, timedelta(days=9)) == 1
