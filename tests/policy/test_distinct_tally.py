"""Distinct things within a sliding time, and the bounds of their memory."""

from __future__ import annotations

import tracemalloc

from kms.policy.distinct_tally import DistinctTally

HOUR = 3600.0


def tally(most_keys: int = 100, most_things: int = 100) -> DistinctTally:
    return DistinctTally(most_keys, most_things)


def test_the_same_thing_counts_once() -> None:
    counted = tally()
    assert counted.add("key", "a", 0, HOUR, 10)
    assert not counted.add("key", "a", 1, HOUR, 10)
    assert counted.add("key", "b", 2, HOUR, 10)
    assert counted.count("key", 3, HOUR) == 2
    assert counted.count("other", 3, HOUR) == 0


def test_a_thing_counts_for_the_window_and_no_longer() -> None:
    counted = tally()
    counted.add("key", "a", 0, HOUR, 10)
    counted.add("key", "b", 10, HOUR, 10)
    assert counted.count("key", HOUR - 1, HOUR) == 2
    assert counted.count("key", HOUR, HOUR) == 1
    assert counted.count("key", 11, 5) == 1
    assert counted.add("key", "a", HOUR, HOUR, 10)


def test_a_thing_can_be_asked_for() -> None:
    counted = tally()
    counted.add("key", "a", 0, HOUR, 10)
    assert counted.has("key", "a", HOUR - 1, HOUR)
    assert not counted.has("key", "a", HOUR, HOUR)
    assert not counted.has("key", "b", 1, HOUR)
    assert not counted.has("other", "a", 1, HOUR)


def test_of_one_key_the_newest_things_are_remembered() -> None:
    counted = tally()
    for number in range(5):
        counted.add("key", number, number, HOUR, 3)
    assert counted.count("key", 5, HOUR) == 3
    assert not counted.add("key", 4, 5, HOUR, 3)
    assert counted.add("key", 0, 5, HOUR, 3)


def test_the_key_longest_without_news_is_forgotten_first() -> None:
    counted = tally(most_keys=2)
    counted.add("a", 1, 0, HOUR, 10)
    counted.add("b", 1, 1, HOUR, 10)
    counted.add("a", 2, 2, HOUR, 10)
    counted.add("c", 1, 3, HOUR, 10)
    assert [counted.count(key, 4, HOUR) for key in "abc"] == [2, 0, 1]


def test_all_keys_together_have_a_bounded_number_of_things() -> None:
    counted = tally(most_things=4)
    for number in range(3):
        counted.add("a", number, number, HOUR, 10)
    for number in range(3):
        counted.add("b", number, 10 + number, HOUR, 10)
    assert len(counted) == 1
    assert counted.count("b", 20, HOUR) == 3


def test_the_sweep_forgets_what_is_over() -> None:
    counted = tally()
    counted.add("a", 1, 0, HOUR, 10)
    counted.add("b", 1, 10, HOUR, 10)
    counted.sweep(HOUR, HOUR)
    assert len(counted) == 1


def test_a_million_sources_cost_no_more_memory_than_the_bound() -> None:
    counted = DistinctTally(20_000, 60_000)
    tracemalloc.start()
    try:
        for number in range(100_000):
            for thing in range(number % 5):
                counted.add((str(number), "account"), thing.to_bytes(8), float(number), HOUR, 10)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(counted) <= 20_000
    assert used < 20e6, used
