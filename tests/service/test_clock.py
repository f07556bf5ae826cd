from __future__ import annotations

from datetime import UTC, datetime, timedelta

from twisted.internet.task import Clock

from kms.service.clock import ClockOf, SystemClock, Turns


def test_the_machines_clock_gives_instants_in_utc() -> None:
    now = SystemClock(Clock()).now()
    assert now.tzinfo is UTC
    assert now.year > 2020
    assert abs(SystemClock(Clock()).epoch_seconds() - now.timestamp()) < 60


def test_the_machines_monotonic_clock_never_goes_back() -> None:
    clock = SystemClock(Clock())
    seconds = [clock.monotonic() for _ in range(100)]
    assert seconds == sorted(seconds)


def test_timers_run_on_the_reactor() -> None:
    reactor = Clock()
    calls: list[str] = []
    SystemClock(reactor).call_later(5, lambda: calls.append("machine"))
    ClockOf(reactor).call_later(6, lambda: calls.append("reactor"))
    reactor.advance(5)
    assert calls == ["machine"]
    reactor.advance(1)
    assert calls == ["machine", "reactor"]


def test_a_clock_of_a_reactor_moves_instants_and_intervals_alike() -> None:
    reactor = Clock()
    clock = ClockOf(reactor)
    assert clock.now() == datetime(1970, 1, 1, tzinfo=UTC)
    reactor.advance(90)
    assert clock.now() - datetime(1970, 1, 1, tzinfo=UTC) == timedelta(seconds=90)
    assert clock.monotonic() == 90
    reactor.advance(0.9)
    assert clock.epoch_seconds() == 90


def test_whoever_never_ends_has_to_wait_between_its_turns() -> None:
    reactor = Clock()
    turns = Turns(ClockOf(reactor))
    taken: list[float] = []

    def go_on(_: object) -> None:
        taken.append(reactor.seconds())
        turns.next().addCallback(go_on)

    turns.next().addCallback(go_on)
    reactor.advance(0)
    assert taken == [0.0] * 10
    reactor.pump([0.001] * 12)
    assert [round(at, 3) for at in taken[10:]] == [0.005, 0.01]
