"""A thread that takes jobs from the reactor in groups, and answers them there.

The reactor hands over a job by appending to a deque, and wakes the thread only when it waits for one; the
thread hands back a whole group by a single `callFromThread`. Everything else of a job happens in the thread.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from kms.store.schema import StoreError

_LARGE_GROUP = 64
_MOST_AT_LEISURE = 64  # of a group


class Job:
    """One operation that waits or is done; `result` is then its value or a Failure."""

    __slots__ = ("deferred", "is_batched", "item", "operation", "result")

    def __init__(self, operation: Callable[..., Any], item: Any, is_batched: bool) -> None:
        self.operation = operation
        self.item = item
        self.is_batched = is_batched
        self.deferred: Deferred[Any] = Deferred()
        self.result: Any = None

    def fail(self, error: Exception) -> None:
        """Note that the operation failed; errors of SQLite become StoreError."""
        if isinstance(error, sqlite3.Error):
            wrapped = StoreError(f"The database failed: {error}")
            wrapped.__cause__ = error
            error = wrapped
        self.result = Failure(error)

    def answer(self) -> None:
        """Fire the Deferred; in the reactor."""
        if isinstance(self.result, Failure):
            self.deferred.errback(self.result)
        else:
            self.deferred.callback(self.result)


class JobThread:
    """A thread that works on jobs in groups, and answers them in the reactor.

    Args:
        name: of the thread.
        reactor: answers are fired in it; `submit` and `stop` must be called in it.
        work: gives every job of a group its result; must not raise.
        close: called in the thread at its end.
        gather_seconds: how long a small group waits for more jobs.
    """

    def __init__(
        self,
        name: str,
        reactor: IReactorFromThreads,
        work: Callable[[Sequence[Job]], None],
        close: Callable[[], None],
        gather_seconds: float = 0.0,
    ) -> None:
        self._reactor = reactor
        self._work = work
        self._close = close
        self._gather_seconds = gather_seconds
        self._jobs: deque[Job] = deque()
        self._leisure: deque[Job] = deque()
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._wakes_at = 0  # so many jobs wake the thread; 0 while it works
        self._usual = 1
        self._stopping = threading.Event()
        self._stopped: Deferred[None] = Deferred()
        self._thread = threading.Thread(target=self._run, name=name)
        self.pending = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, job: Job, is_urgent: bool = True) -> None:
        """Queue a job; its Deferred fires when its group is done.

        Args:
            is_urgent: somebody waits for it. Of the others few go into one group, behind those.
        """
        self.pending += 1
        (self._jobs if is_urgent else self._leisure).append(job)
        if 0 < self._wakes_at <= len(self._jobs) + len(self._leisure):
            self._wakes_at = 0
            self._wakes.put(None)

    def stop(self) -> Deferred[None]:
        """Work on all that is queued, then end; fires when the thread has ended."""
        self._stopping.set()
        self._wakes.put(None)
        return self._stopped

    def _run(self) -> None:
        while True:
            self._wait(1, None)
            if self._gather_seconds:
                self._wait(self._usual, self._gather_seconds)
            jobs = [self._jobs.popleft() for _ in range(len(self._jobs))]
            jobs += [self._leisure.popleft() for _ in range(min(len(self._leisure), _MOST_AT_LEISURE))]
            if jobs:
                self._usual = min(max(len(jobs), self._usual * 7 // 8, 1), _LARGE_GROUP)
                self._work(jobs)
                self._reactor.callFromThread(self._answer, jobs)
            elif self._stopping.is_set():
                break
        self._close()
        self._reactor.callFromThread(self._end)

    def _wait(self, wanted: int, seconds: float | None) -> None:
        """Wait until `wanted` jobs are there, or for `seconds`, or until `stop`.

        May return early: a token can be left from a wait that ended for another reason meanwhile.
        """
        self._wakes_at = wanted
        if len(self._jobs) + len(self._leisure) < wanted and not self._stopping.is_set():
            with suppress(Empty):
                self._wakes.get(timeout=seconds)
        self._wakes_at = 0

    def _answer(self, jobs: Sequence[Job]) -> None:
        self.pending -= len(jobs)
        for job in jobs:
            job.answer()

    def _end(self) -> None:
        self._thread.join()
        self._stopped.callback(None)
