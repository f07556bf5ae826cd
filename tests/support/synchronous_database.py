"""The database without threads: every operation is a transaction of its own, done before the call returns."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail

from kms.service.database import Database
from kms.store.schema import IN_MEMORY, StoreError, open_database

_T = TypeVar("_T")
_R = TypeVar("_R")


class SynchronousDatabase(Database):
    """Commits at once, or when `release` is called.

    Attributes:
        connection: to look at what is stored.
        failures: what the next operations fail with, one each; None lets one pass.
        is_held: True keeps operations waiting until `release`.
        calls: how many operations were asked for.
    """

    def __init__(self, path: Path | str = IN_MEMORY) -> None:
        self.connection = open_database(path)
        self.failures: deque[Exception | None] = deque()
        self.is_held = False
        self.calls = 0
        self._held: deque[tuple[Deferred[Any], Callable[[], Any]]] = deque()

    def start(self) -> None:
        """Nothing is to be started."""

    def stop(self) -> Deferred[None]:
        """Close the file."""
        self.connection.close()
        stopped: Deferred[None] = Deferred()
        stopped.callback(None)
        return stopped

    @property
    def pending(self) -> int:
        """How many operations wait for `release`."""
        return len(self._held)

    def run(self, operation: Callable[[Connection], _R]) -> Deferred[_R]:
        """See `Database`."""
        return self._do(lambda: operation(self.connection))

    def read(self, operation: Callable[[Connection], _R]) -> Deferred[_R]:
        """See `Database`."""
        return self._do(lambda: operation(self.connection))

    def run_batched(
        self, operation: Callable[[Connection, list[_T]], Sequence[_R]], item: _T, is_urgent: bool = True
    ) -> Deferred[_R]:
        """See `Database`; a batch has one item, and all is urgent."""
        return self._do(lambda: operation(self.connection, [item])[0])

    def release(self, most: int = 1_000_000) -> None:
        """Do operations that were held, in their order."""
        while self._held and most:
            deferred, operation = self._held.popleft()
            most -= 1
            self._transact(operation).chainDeferred(deferred)

    def _do(self, operation: Callable[[], _R]) -> Deferred[_R]:
        self.calls += 1
        if not self.is_held:
            return self._transact(operation)
        waiting: Deferred[_R] = Deferred()
        self._held.append((waiting, operation))
        return waiting

    def _transact(self, operation: Callable[[], _R]) -> Deferred[_R]:
        failure = self.failures.popleft() if self.failures else None
        if failure is not None:
            return fail(failure)
        done: Deferred[_R] = Deferred()
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = operation()
        except Exception as error:
            self.connection.execute("ROLLBACK")
            return fail(StoreError(str(error)) if isinstance(error, sqlite3.Error) else error)
        self.connection.execute("COMMIT")
        done.callback(result)
        return done
