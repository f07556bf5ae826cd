"""The only place that reads the time.

Instants come from the wall clock (they are promises that survive a restart), intervals from the monotonic one
(so that no jump of the wall clock ends or stretches them). Tests give `ClockOf(task.Clock())`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

_TURNS_WITHOUT_PAUSE = 10
_PAUSE_SECONDS = 0.005
monotonic_seconds = time.monotonic
"""What timers count by: see thin_reactor.py."""


class Clock(Protocol):
    """What a service may ask of the time."""

    def now(self) -> datetime:
        """The wall clock's instant, aware, in UTC."""
        ...

    def epoch_seconds(self) -> int:
        """The same in whole seconds since 1970, for log stamps."""
        ...

    def monotonic(self) -> float:
        """Seconds since some start; never jumps."""
        ...

    def call_later(self, seconds: float, call: Callable[[], object]) -> IDelayedCall:
        """Call once, `seconds` from now, on the reactor."""
        ...


class Turns:
    """When a session that has much to do may go on: others come first, and who never ends has to wait.

    A reactor that always has something to do starves the other threads, the database's above all: whoever asks it
    without end gets pauses, in which it rests.
    """

    __slots__ = ("_clock", "_taken")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken = 0

    def next(self) -> Deferred[None]:
        """Fires when the session may go on: the first times in the reactor's next turn, then after a pause."""
        self._taken += 1
        turn: Deferred[None] = Deferred()
        seconds = 0.0 if self._taken <= _TURNS_WITHOUT_PAUSE else _PAUSE_SECONDS
        self._clock.call_later(seconds, lambda: turn.callback(None))
        return turn


class SystemClock:
    """The machine's clocks; timers run on the reactor."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def now(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC)

    def epoch_seconds(self) -> int:
        """See `Clock`."""
        return int(time.time())

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def call_later(self, seconds: float, call: Callable[[], object]) -> IDelayedCall:
        """See `Clock`."""
        return self._reactor.callLater(seconds, call)


class ClockOf:
    """A clock that follows a Twisted clock in everything: `task.Clock` moves instants and intervals alike."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def now(self) -> datetime:
        """See `Clock`."""
        return datetime.fromtimestamp(self._reactor.seconds(), UTC)

    def epoch_seconds(self) -> int:
        """See `Clock`."""
        return int(self._reactor.seconds())

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._reactor.seconds()

    def call_later(self, seconds: float, call: Callable[[], object]) -> IDelayedCall:
        """See `Clock`."""
        return self._reactor.callLater(seconds, call)
