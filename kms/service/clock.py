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


def next_turn(clock: Clock) -> Deferred[None]:
    """Fires in the reactor's next turn: whoever has much to do lets others go first."""
    turn: Deferred[None] = Deferred()
    clock.call_later(0, lambda: turn.callback(None))
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
