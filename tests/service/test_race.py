from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kms.service.clock import ClockOf
from kms.service.race import Race


class Track:
    """Ways that end when the test says so."""

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        self.begun: list[Deferred[None]] = []
        self.cancelled: list[int] = []
        self.race = Race(ClockOf(self.clock), [self.begin] * count)
        self.results: list[object] = []
        self.ended = self.race.run()
        self.ended.addBoth(self.results.append)

    def begin(self) -> Deferred[None]:
        number = len(self.begun)
        way: Deferred[None] = Deferred(lambda _: self.cancelled.append(number))
        self.begun.append(way)
        return way

    def fail(self, number: int) -> None:
        self.begun[number].errback(Failure(OSError(str(number))))


def test_the_next_begins_a_quarter_of_a_second_later() -> None:
    track = Track(3)
    counts = []
    for _ in range(6):
        counts.append(len(track.begun))
        track.clock.advance(0.125)
    assert counts == [1, 1, 2, 2, 3, 3]
    assert track.clock.getDelayedCalls() == []


def test_the_first_to_succeed_wins_and_the_others_are_cancelled() -> None:
    track = Track(4)
    track.clock.pump([0.25, 0.25])
    track.begun[1].callback(None)
    assert track.results == [1]
    assert track.cancelled == [0, 2]
    assert track.race.failures == {}
    track.clock.advance(10)
    assert len(track.begun) == 3


def test_one_that_succeeds_in_time_has_no_rival() -> None:
    track = Track(2)
    track.clock.advance(0.2)
    track.begun[0].callback(None)
    track.clock.advance(1)
    assert (track.results, len(track.begun)) == ([0], 1)


def test_a_failure_begins_the_next_at_once_and_gives_it_its_own_time() -> None:
    track = Track(3)
    track.clock.advance(0.2)
    track.fail(0)
    assert len(track.begun) == 2
    track.clock.advance(0.2)
    assert len(track.begun) == 2
    track.clock.advance(0.05)
    assert len(track.begun) == 3


def test_when_all_fail_nobody_has_won() -> None:
    track = Track(2)
    track.fail(0)
    track.fail(1)
    assert track.results == [None]
    assert sorted(track.race.failures) == [0, 1]
    assert track.clock.getDelayedCalls() == []


def test_one_that_still_runs_may_win_after_the_last_has_failed() -> None:
    track = Track(2)
    track.clock.advance(0.25)
    track.fail(1)
    assert track.results == []
    track.begun[0].callback(None)
    assert track.results == [0]


def test_what_cannot_even_begin_has_failed() -> None:
    def explode() -> None:
        raise RuntimeError("no")

    results: list[object] = []
    race = Race(ClockOf(Clock()), [explode, lambda: None])
    race.run().addBoth(results.append)
    assert results == [1]
    assert race.failures[0].check(RuntimeError)


def test_where_nobody_waits_any_more_all_end() -> None:
    track = Track(3)
    track.clock.advance(0.25)
    track.ended.cancel()
    assert track.cancelled == [0, 1]
    assert isinstance(track.results[0], Failure)
    assert track.results[0].check(CancelledError)
    assert track.clock.getDelayedCalls() == []
