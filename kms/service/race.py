"""Several ways to one thing, tried with staggered starts; the first that succeeds wins (RFC 8305 5).

The next way is begun a quarter of a second after the last, or at once when one fails. When one has won, or nobody
waits any more, the others are cancelled.
Flow: dialer.py races the addresses of a host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from kms.service.clock import Clock

STAGGER_SECONDS = 0.25


class Race:
    """One race.

    Args:
        clock: for the starts.
        ways: begin each; they fail when cancelled.

    Attributes:
        failures: by the number of the way; the cancelled are not among them.
    """

    def __init__(self, clock: Clock, ways: Sequence[Callable[[], Any]]) -> None:
        self.failures: dict[int, Failure] = {}
        self._clock = clock
        self._ways = ways
        self._begun = 0
        self._running: dict[int, Deferred[Any]] = {}
        self._timer: IDelayedCall | None = None
        self._is_over = False
        self._ended: Deferred[int | None] = Deferred(lambda _: self._stop())

    def run(self) -> Deferred[int | None]:
        """Begin; fires with the number of the winner, or None when all have failed."""
        self._begin_next()
        return self._ended

    def _begin_next(self) -> None:
        self._cancel_timer()
        if self._begun == len(self._ways):
            if not self._running:
                self._is_over = True
                self._ended.callback(None)
            return
        number = self._begun
        self._begun += 1
        running = self._running[number] = maybeDeferred(self._ways[number])
        running.addCallbacks(self._won, self._lost, callbackArgs=(number,), errbackArgs=(number,))
        if not self._is_over and self._timer is None and self._begun < len(self._ways):
            self._timer = self._clock.call_later(STAGGER_SECONDS, self._begin_next)

    def _won(self, _: object, number: int) -> None:
        del self._running[number]
        self._stop()
        self._ended.callback(number)

    def _lost(self, failure: Failure, number: int) -> None:
        if self._is_over:
            return  # cancelled
        del self._running[number]
        self.failures[number] = failure
        self._begin_next()

    def _stop(self) -> None:
        self._is_over = True
        self._cancel_timer()
        for running in list(self._running.values()):
            running.cancel()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
