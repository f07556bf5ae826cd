from datetime import UTC, datetime, timedelta

import pytest

from kms.domain.queue_entry import QueueEntry
from kms.policy.forecast import ForecastKind, forecast
from kms.policy.retry import RetryRules
from tests.support.queue_entries import NOW, make_entry

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
RULES = RetryRules((HOUR,), bounce_after=4 * HOUR, warn_after=2 * HOUR)


def foresee(
    entry: QueueEntry, rules: RetryRules = RULES, *, smarthost: bool = False, hours: int = 24
) -> list[tuple[float, str]]:
    found = forecast(entry, rules, lambda _: smarthost, NOW, NOW + hours * HOUR)
    return [((event.at - NOW) / HOUR, event.kind.value) for event in found]


def test_an_entry_is_tried_warned_of_once_and_bounced() -> None:
    assert foresee(make_entry()) == [
        (0, "try"),
        (1, "try"),
        (2, "try"),
        (2, "warn"),
        (3, "try"),
        (4, "try"),
        (4, "bounce"),
    ]


def test_an_entry_that_is_long_due_is_tried_now() -> None:
    assert foresee(make_entry(due=-5 * HOUR), hours=1) == [(0, "try")]


def test_an_entry_that_is_due_later_is_tried_then() -> None:
    assert foresee(make_entry(due=30 * MINUTE), hours=1) == [(0.5, "try")]


def test_through_a_smarthost_it_is_tried_for_ever() -> None:
    kinds = [kind for _, kind in foresee(make_entry(), smarthost=True)]
    assert kinds.count("try") == 24
    assert kinds.count("warn") == 1
    assert "bounce" not in kinds


def test_recipients_that_are_given_up_leave_the_others() -> None:
    entry = make_entry(recipients=2)
    found = forecast(entry, RULES, lambda one: one.recipient_id == 1, NOW, NOW + 7 * HOUR)
    at_four = [event.kind for event in found if event.at >= NOW + 4 * HOUR]
    assert at_four[:2] == [ForecastKind.TRY, ForecastKind.BOUNCE]
    assert at_four.count(ForecastKind.TRY) == 3
    assert at_four.count(ForecastKind.BOUNCE) == 1


def test_intervals_of_no_length_end_all_the_same() -> None:
    rules = RetryRules((timedelta(0),), bounce_after=timedelta(seconds=3), warn_after=HOUR)
    assert [kind for _, kind in foresee(make_entry(), rules)] == ["try", "try", "try", "try", "bounce"]


@pytest.mark.parametrize("now", [datetime(2026, 11, 24, 12, tzinfo=UTC)])
def test_nothing_is_foreseen_beyond_the_end(now: datetime) -> None:
    assert list(forecast(make_entry(), RULES, lambda _: False, now, now)) == []
