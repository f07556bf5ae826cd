"""When a limit that trips is worth an alarm, and what the alarm says."""

from __future__ import annotations

import pytest

from kms.domain.alarm_sentence import BUILT_IN_ALARM_SENTENCES
from kms.policy import alarm
from kms.policy.alarm import TripMemory, make_account_alarm, make_gateway_alarm, make_trip_alarm
from kms.policy.limits import Limit

HOUR = 3600.0
describe, advise = BUILT_IN_ALARM_SENTENCES.describe, BUILT_IN_ALARM_SENTENCES.advise
CLIENT = "192.0.2.7"


def trips(memory: TripMemory, times: list[float], after: int = 3, who: str = CLIENT) -> list[int]:
    return [memory.trip("messages_per_hour", who, at, after) for at in times]


def test_it_is_due_once_when_a_limit_trips_so_often_within_an_hour() -> None:
    assert trips(TripMemory(), [0, 10, 20, 30, 40]) == [0, 0, 3, 0, 0]


def test_trips_further_apart_do_not_add_up() -> None:
    assert trips(TripMemory(), [0, 1800, 3600, 5400, 7000]) == [0, 0, 0, 0, 3]


def test_it_is_due_again_only_after_a_quiet_hour() -> None:
    memory = TripMemory()
    trips(memory, [0, 1, 2])
    assert trips(memory, [HOUR, HOUR + 1, 2 * HOUR]) == [0, 0, 0]
    assert trips(memory, [3 * HOUR, 3 * HOUR + 1, 3 * HOUR + 2]) == [0, 0, 3]


def test_each_client_and_each_limit_has_its_own() -> None:
    memory = TripMemory()
    assert trips(memory, [0, 1]) == [0, 0]
    assert trips(memory, [2], who="192.0.2.8") == [0]
    assert memory.trip("unknown_recipients", CLIENT, 3, 3) == 0


def test_with_zero_there_are_none() -> None:
    assert trips(TripMemory(), [0, 1, 2, 3], after=0) == [0, 0, 0, 0]


def test_they_are_bounded_in_memory_and_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm, "_MOST_KEYS", 2)
    memory = TripMemory()
    for number in range(3):
        memory.trip("x", str(number), float(number), 3)
    assert len(memory) == 2
    memory.sweep(HOUR + 1)
    assert len(memory) == 1
    memory.sweep(HOUR + 2)
    assert len(memory) == 0


@pytest.mark.parametrize("limit", Limit)
def test_every_limit_says_what_to_do(limit: Limit) -> None:
    made = make_trip_alarm(limit, CLIENT, 3)
    assert describe(made) == f"The limit {limit.value} has stopped 192.0.2.7 3 times within an hour"
    assert "." in advise(made)


def test_one_trip_is_once() -> None:
    assert " once within" in describe(make_trip_alarm(Limit.FAILED_LOGINS, CLIENT, 1))


def test_an_account_and_a_gateway_have_their_own_advice() -> None:
    account = make_account_alarm(Limit.ACCOUNT_MESSAGES_PER_DAY, "anna@example.org")
    assert describe(account) == "The account anna@example.org has reached its limit account_messages_per_day"
    assert "stolen" in advise(account)
    gateway = make_gateway_alarm(CLIENT, 20, is_suspended=True)
    assert "20 unrelated names" in describe(gateway)
    assert "not trusted" in advise(gateway)
    assert "not trusted" not in advise(make_gateway_alarm(CLIENT, 20, is_suspended=False))
