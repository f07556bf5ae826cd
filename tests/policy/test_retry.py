"""When to try again, when to warn, when to give up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest

from kms.policy.retry import Expire, RetryAt, RetryRules, decide_retry

ARRIVED = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RULES = RetryRules(intervals=(15 * MINUTE, 30 * MINUTE, HOUR))


def decide(
    age: timedelta,
    *,
    attempts: int = 1,
    was_warned: bool = False,
    through_smarthost: bool = False,
    rules: RetryRules = RULES,
) -> RetryAt | Expire:
    return decide_retry(rules, ARRIVED, attempts, was_warned, through_smarthost, ARRIVED + age)


@pytest.mark.parametrize(
    ("attempts", "wait"), [(1, 15 * MINUTE), (2, 30 * MINUTE), (3, HOUR), (4, HOUR), (1000, HOUR)]
)
def test_the_intervals_follow_each_other_and_the_last_repeats(attempts: int, wait: timedelta) -> None:
    assert decide(HOUR, attempts=attempts) == RetryAt(ARRIVED + HOUR + wait, warn=False)


class TestWarning:
    def test_comes_when_the_time_is_reached(self) -> None:
        assert decide(4 * HOUR) == RetryAt(ARRIVED + 4 * HOUR + 15 * MINUTE, warn=True)

    def test_does_not_come_a_moment_before(self) -> None:
        assert decide(4 * HOUR - timedelta(seconds=1)) == RetryAt(
            ARRIVED + 4 * HOUR + 15 * MINUTE - timedelta(seconds=1), warn=False
        )

    def test_comes_once(self) -> None:
        assert decide(5 * HOUR, was_warned=True) == RetryAt(ARRIVED + 5 * HOUR + 15 * MINUTE, warn=False)

    def test_stays_for_mail_through_a_smarthost(self) -> None:
        assert decide(9 * DAY, through_smarthost=True) == RetryAt(ARRIVED + 9 * DAY + 15 * MINUTE, warn=True)


class TestGivingUp:
    def test_comes_when_the_time_is_reached(self) -> None:
        assert decide(4 * DAY) == Expire()
        assert decide(40 * DAY, was_warned=True) == Expire()

    def test_does_not_come_a_moment_before_but_the_next_try_is_then(self) -> None:
        at = decide(4 * DAY - timedelta(seconds=1), attempts=9, was_warned=True)
        assert at == RetryAt(ARRIVED + 4 * DAY, warn=False)

    def test_never_comes_for_mail_through_a_smarthost(self) -> None:
        decided = decide(400 * DAY, attempts=3, was_warned=True, through_smarthost=True)
        assert decided == RetryAt(ARRIVED + 400 * DAY + HOUR, warn=False)

    def test_comes_through_a_smarthost_where_the_rules_say_so(self) -> None:
        rules = attrs.evolve(RULES, limits_apply_to_smarthost=True)
        assert decide(4 * DAY, through_smarthost=True, rules=rules) == Expire()
        almost = decide(4 * DAY - MINUTE, attempts=3, was_warned=True, through_smarthost=True, rules=rules)
        assert almost == RetryAt(ARRIVED + 4 * DAY, warn=False)

    def test_follows_changed_rules_for_mail_already_queued(self) -> None:
        assert decide(HOUR, rules=attrs.evolve(RULES, bounce_after=HOUR)) == Expire()


def test_a_clock_that_went_back_warns_and_bounces_nobody() -> None:
    assert decide(-2 * DAY) == RetryAt(ARRIVED - 2 * DAY + 15 * MINUTE, warn=False)
