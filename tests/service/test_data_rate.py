from __future__ import annotations

from itertools import accumulate

import pytest

from kms.service.data_rate import DataRate


def first_cut(octets_each_second: list[int], minimum: int = 100) -> int | None:
    """The second at which a sweep each second finds it too slow."""
    rate = DataRate()
    for second, octets in enumerate(accumulate(octets_each_second, initial=0)):
        if rate.is_below(minimum, float(second), octets):
            return second
    return None


def test_a_trickle_is_found_after_a_minute() -> None:
    assert first_cut([1] * 100) == 60


def test_exactly_the_minimum_is_enough() -> None:
    assert first_cut([100] * 600) is None
    assert first_cut([99] * 600) == 60


@pytest.mark.parametrize("seconds", [30, 61, 305])
def test_who_was_fast_gains_no_more_than_the_minute(seconds: int) -> None:
    cut = first_cut([10_000] * seconds + [0] * 200)
    assert cut is not None
    assert seconds + 59 <= cut <= seconds + 75


def test_bursts_are_fine_where_each_minute_has_enough() -> None:
    assert first_cut(([7_000] + [0] * 49) * 20) is None


def test_without_a_minimum_nothing_is_too_slow() -> None:
    assert first_cut([0] * 300, minimum=0) is None


def test_a_forgotten_minute_begins_anew() -> None:
    rate = DataRate()
    assert not rate.is_below(100, 0.0, 0)
    rate.forget()
    assert not rate.is_below(100, 61.0, 0)
    assert rate.is_below(100, 121.0, 0)
