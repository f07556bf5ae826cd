from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from kms.policy.destination_rate import DestinationRate

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def at(minutes: float) -> datetime:
    return NOW + minutes * MINUTE


def test_within_the_rate_all_may_go_at_once() -> None:
    rate = DestinationRate(2)
    assert [rate.earliest("a.test", number, 0, NOW) for number in (1, 2)] == [NOW, NOW]


def test_beyond_it_each_waits_until_another_is_an_hour_old() -> None:
    rate = DestinationRate(2)
    assert rate.earliest("a.test", 1, 0, NOW) == NOW
    assert rate.earliest("a.test", 2, 0, at(10)) == at(10)
    found = [rate.earliest("a.test", number, 0, at(20)) for number in (3, 4, 5, 6)]
    assert found == [at(60), at(70), at(120), at(130)]


def test_one_who_waits_keeps_his_turn_and_goes_when_it_has_come() -> None:
    rate = DestinationRate(1)
    rate.earliest("a.test", 1, 0, NOW)
    assert rate.earliest("a.test", 2, 0, at(1)) == at(60)
    assert rate.earliest("a.test", 3, 0, at(2)) == at(120)
    assert rate.earliest("a.test", 2, 0, at(30)) == at(60)
    assert rate.earliest("a.test", 2, 1, at(61)) == at(60)
    assert rate.earliest("a.test", 3, 0, at(61)) == at(120)


def test_the_recipients_of_one_attempt_are_one_message() -> None:
    rate = DestinationRate(1)
    assert {rate.earliest("a.test", 1, 0, at(second / 60)) for second in range(3)} == {NOW}


def test_a_further_attempt_is_a_further_message() -> None:
    rate = DestinationRate(1)
    rate.earliest("a.test", 1, 0, NOW)
    assert rate.earliest("a.test", 1, 1, at(30)) == at(60)
    assert rate.earliest("a.test", 1, 1, at(60)) == at(60)
    assert rate.earliest("a.test", 1, 2, at(130)) == at(130)


def test_each_domain_has_its_own_hour() -> None:
    rate = DestinationRate(1)
    assert rate.earliest("a.test", 1, 0, NOW) == rate.earliest("b.test", 1, 0, NOW) == NOW


def test_after_an_hour_a_domain_is_forgotten() -> None:
    rate = DestinationRate(1)
    for number in range(100):
        rate.earliest(f"{number}.test", number, 0, NOW)
    rate.earliest("a.test", 1, 0, at(30))
    assert len(rate) == 101
    rate.earliest("a.test", 2, 0, at(61))
    assert len(rate) == 1


def test_a_clock_that_goes_back_keeps_the_order() -> None:
    rate = DestinationRate(2)
    assert rate.earliest("a.test", 1, 0, NOW) == NOW
    assert rate.earliest("a.test", 2, 0, NOW) == NOW
    assert rate.earliest("a.test", 3, 0, at(-60)) == at(60)


@given(st.integers(1, 4), st.lists(st.integers(0, 30), max_size=60))
def test_in_no_hour_more_go_than_may(limit: int, waits: list[int]) -> None:
    rate = DestinationRate(limit)
    now, goes = NOW, []
    for number, wait in enumerate(waits):
        now += wait * MINUTE
        goes.append(rate.earliest("a.test", number, 0, now))
    assert goes == sorted(goes)
    for first in goes:
        assert sum(first <= other < first + HOUR for other in goes) <= limit
