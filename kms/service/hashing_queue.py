"""Passwords that wait to be hashed: few threads, and clients take turns.

Promises: the reactor never hashes, and has the processor before the threads that do; so many guesses as one client
may send, another client's password is hashed after at most one of each client that waits; the queue is bounded,
and when it is full the client that has most in it loses its newest. A client is an IPv4 address, or a /64 of IPv6.
Flow: login_checker.py asks; the work is done in the hashing threads.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from kms.domain.address_group import ClientAddress

_R = TypeVar("_R")
_MOST_WAITING = 400  # some seconds of hashing
_NICENESS = 10  # where there are fewer processors than threads, mail comes first


class LoginsBusy(Exception):
    """Too many passwords wait to be checked; the client shall try again later (454, [SYS/TEMP])."""


class HashingThread(threading.Thread):
    """A thread to which the system gives the processor only when the others leave some of it (nice(2)).

    Not SCHED_IDLE: where other programs leave no processor at all, it could wait a second while it holds the
    interpreter's lock, and everybody with it.
    """

    def run(self) -> None:
        """See `threading.Thread`."""
        os.nice(_NICENESS)  # on Linux: of this thread alone
        super().run()


class HashingPool(ThreadPool):
    """Threads for a `HashingQueue`; none before there is work."""

    threadFactory = HashingThread

    def __init__(self, threads: int) -> None:
        super().__init__(0, threads, "hashing")


@attrs.frozen(eq=False)
class _Job:
    call: Callable[..., Any]
    args: tuple[object, ...]
    result: Deferred[Any]


class HashingQueue:
    """Runs slow calls in a pool.

    Args:
        pool: its threads.
        reactor: of the process.
        threads: how many calls are given to the pool at one time.
    """

    def __init__(self, pool: ThreadPool, reactor: IReactorFromThreads, threads: int) -> None:
        self._pool = pool
        self._reactor = reactor
        self._free = threads
        self._count = 0
        self._waiting: dict[int, deque[_Job]] = {}  # by client; whose turn is next stands first

    def run(self, client: ClientAddress, call: Callable[..., _R], *args: object) -> Deferred[_R]:
        """Run `call` when it is the client's turn; fails with LoginsBusy when it is put off."""
        job = _Job(call, args, Deferred())
        self._waiting.setdefault(_key(client), deque()).append(job)
        self._count += 1
        self._start()
        if self._count > _MOST_WAITING:
            self._put_one_off()
        return job.result

    def _put_one_off(self) -> None:
        key = max(self._waiting, key=lambda client: len(self._waiting[client]))
        self._count -= 1
        jobs = self._waiting[key]
        job = jobs.pop()
        if not jobs:
            del self._waiting[key]
        job.result.errback(LoginsBusy())

    def _start(self) -> None:
        while self._free and self._waiting:
            key, jobs = next(iter(self._waiting.items()))
            del self._waiting[key]
            job = jobs.popleft()
            if jobs:
                self._waiting[key] = jobs  # behind all others
            self._count -= 1
            self._free -= 1
            done = deferToThreadPool(self._reactor, self._pool, job.call, *job.args)
            done.addBoth(self._finish).chainDeferred(job.result)

    def _finish(self, result: _R) -> _R:
        self._free += 1
        self._start()
        return result


def _key(client: ClientAddress) -> int:
    number = int(client)
    return -(number >> 64) - 1 if isinstance(client, IPv6Address) else number
