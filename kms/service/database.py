"""The database's threads: one that writes, in group commits, and one that reads.

Promises: a Deferred of `run` or `run_batched` fires only after the COMMIT that made its operation durable,
and one operation's failure fails no other. What cannot be committed (a full disk) fails the whole group with
StoreError; the thread goes on, and works again once the disk does. All Deferreds of a group fire in the
reactor, in the order of their calls, by a single `callFromThread`.

Flow: services hand in plain operations of `kms.store`; the writer gathers them for 0.3 ms, or until as many
wait as lately came together, and gives each kind of batched operation all its items in one call.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from kms.service.job_thread import Job, JobThread
from kms.store.fault import Step, reach
from kms.store.schema import StoreError, open_database, open_reader, reserve_log

__all__ = ["Database", "StoreError"]

_GATHER_SECONDS = 0.0003

T = TypeVar("T")
R = TypeVar("R")


class Database:
    """The one SQLite database of a server.

    Args:
        path: its file.
        reactor: in which all calls are made and all Deferreds fire.
    """

    _log = Logger()

    def __init__(self, path: Path | str, reactor: IReactorFromThreads) -> None:
        self._path = path
        self._reactor = reactor
        self._writer: JobThread | None = None
        self._reader: JobThread | None = None

    def start(self) -> None:
        """Open and migrate the database and start the threads; after the fork. Raises StoreError."""
        connection = open_database(self._path)
        try:
            reserve_log(self._path)
        except OSError as error:  # a full disk must not hinder the start: mail can be read, deleted and sent
            self._log.warn("The log of {path} stays short: {error}", path=self._path, error=error)
        try:
            reading = open_reader(self._path)
        except StoreError:
            connection.close()
            raise
        writing = _Writing(connection, self._log)
        self._writer = JobThread(
            "kms-database-writer", self._reactor, writing.work, writing.close, _GATHER_SECONDS
        )
        self._reader = JobThread(
            "kms-database-reader", self._reactor, lambda jobs: _read(reading, jobs), reading.close
        )
        self._writer.start()
        self._reader.start()

    def stop(self) -> Deferred[None]:
        """Do what is queued, bring the log into the database file, close; fires when both threads ended."""
        threads = [thread for thread in (self._reader, self._writer) if thread is not None]
        self._reader = self._writer = None
        stopped: Deferred[Any] = DeferredList([thread.stop() for thread in threads])
        return stopped.addCallback(lambda _: None)

    def run(self, operation: Callable[[Connection], R]) -> Deferred[R]:
        """Run one operation in the next group.

        Its own changes are undone when it raises, and only those.

        Returns:
            Fires with what it returned once that is durable; fails with what it raised, or with StoreError.
        """
        return self._submit(self._writer, Job(operation, None, is_batched=False))

    def run_batched(
        self, operation: Callable[[Connection, list[T]], Sequence[R]], item: T, is_urgent: bool = True
    ) -> Deferred[R]:
        """Run an operation in the next group on all items that wait for it, in one call.

        Of the batched operations between two single ones (`run`), those of one kind run together, in the
        order in which each kind came first. When a call raises, its changes are undone, and it is called for
        each item alone.

        Args:
            operation: gives one result for each item, in their order.
            item: what this caller wants done.
            is_urgent: somebody waits for it; the others come behind all that are, few in each group.
        """
        return self._submit(self._writer, Job(operation, item, is_batched=True), is_urgent)

    def read(self, operation: Callable[[Connection], R]) -> Deferred[R]:
        """Run an operation that only reads, in the reader's thread, on one snapshot of what is committed."""
        return self._submit(self._reader, Job(operation, None, is_batched=False))

    @property
    def pending(self) -> int:
        """How many operations the writer has not answered."""
        return 0 if self._writer is None else self._writer.pending

    def _submit(self, thread: JobThread | None, job: Job, is_urgent: bool = True) -> Deferred[Any]:
        if thread is None:
            job.fail(StoreError("The database is not running"))
            job.answer()
        else:
            thread.submit(job, is_urgent)
        return job.deferred


class _TransactionLost(Exception):
    """The transaction as a whole cannot go on, because of `error`: SQLite may have rolled it back by itself."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class _Writing:
    """Runs groups of jobs in one transaction each."""

    def __init__(self, connection: Connection, log: Logger) -> None:
        self._connection = connection
        self._log = log

    def work(self, jobs: Sequence[Job]) -> None:
        """Give every job its result, or the error that hindered the whole group."""
        try:
            if not self._run_together(jobs):
                self._connection.execute("BEGIN IMMEDIATE")
                reach(Step.BEGUN)
                self._run_all(jobs)
            reach(Step.BEFORE_COMMIT)
            self._connection.execute("COMMIT")
            reach(Step.AFTER_COMMIT)
        except Exception as error:
            cause = error.error if isinstance(error, _TransactionLost) else error
            self._log.error("A transaction of {jobs} operations failed: {error}", jobs=len(jobs), error=cause)
            self._roll_back()
            for job in jobs:
                job.fail(cause)

    def _run_together(self, jobs: Sequence[Job]) -> bool:
        """Begin a transaction and run a group of batched jobs, several, without savepoints.

        Returns:
            False where that raised, or where one is not batched: no transaction is open, and care is to be taken.
        """
        if len(jobs) < 2 or not all(job.is_batched for job in jobs):
            return False
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            reach(Step.BEGUN)
            done = [
                (same, _results(operation, self._connection, same))
                for operation, same in _by_operation(jobs).items()
            ]
        except Exception:  # whose fault it was comes out, and is told, when they are run one by one
            self._roll_back()
            return False
        for same, results in done:
            for job, result in zip(same, results, strict=True):
                job.result = result
        return True

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._log.error("A transaction could not be rolled back: {error}", error=error)

    def close(self) -> None:
        """Bring the log into the database file, as far as readers let it, and close."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            self._log.error("The last checkpoint failed: {error}", error=error)
        self._connection.close()

    def _run_all(self, jobs: Sequence[Job]) -> None:
        """Run jobs in order; batched ones are put together, but never past a single one."""
        batches: dict[Callable[..., Any], list[Job]] = {}
        for job in jobs:
            if job.is_batched:
                batches.setdefault(job.operation, []).append(job)
            else:
                self._run_batches(batches)
                self._run_alone(job)
        self._run_batches(batches)

    def _run_batches(self, batches: dict[Callable[..., Any], list[Job]]) -> None:
        for operation, jobs in batches.items():
            try:
                results = self._guard(partial(_results, operation, self._connection, jobs))
            except _TransactionLost:
                raise
            except Exception as error:
                if len(jobs) == 1:
                    jobs[0].fail(error)
                    continue
                for job in jobs:
                    self._run_alone(job)
            else:
                for job, result in zip(jobs, results, strict=True):
                    job.result = result
        batches.clear()

    def _run_alone(self, job: Job) -> None:
        try:
            if job.is_batched:
                job.result = self._guard(partial(_results, job.operation, self._connection, [job]))[0]
            else:
                job.result = self._guard(partial(job.operation, self._connection))
        except _TransactionLost:
            raise
        except Exception as error:
            job.fail(error)

    def _guard(self, call: Callable[[], R]) -> R:
        """Run `call` in a savepoint, which is rolled back when it raises."""
        self._control("SAVEPOINT job")
        try:
            result = call()
        except Exception as error:
            if not self._connection.in_transaction:
                raise _TransactionLost(error) from error
            self._control("ROLLBACK TO job")
            self._control("RELEASE job")
            raise
        self._control("RELEASE job")
        return result

    def _control(self, statement: str) -> None:
        """Run a statement without which nothing is known of the transaction."""
        try:
            self._connection.execute(statement)
        except sqlite3.Error as error:
            raise _TransactionLost(error) from error


def _by_operation(jobs: Sequence[Job]) -> dict[Callable[..., Any], list[Job]]:
    """Put batched jobs together that are of one kind, in the order in which each kind came first."""
    kinds: dict[Callable[..., Any], list[Job]] = {}
    for job in jobs:
        kinds.setdefault(job.operation, []).append(job)
    return kinds


def _results(operation: Callable[..., Any], connection: Connection, jobs: Sequence[Job]) -> Sequence[Any]:
    results: Sequence[Any] = operation(connection, [job.item for job in jobs])
    if len(results) != len(jobs):
        raise RuntimeError(f"{operation} gave {len(results)} results for {len(jobs)} items")
    return results


def _read(connection: Connection, jobs: Sequence[Job]) -> None:
    """Run reading jobs, each on a snapshot of its own."""
    for job in jobs:
        try:
            connection.execute("BEGIN")
            try:
                job.result = job.operation(connection)
            finally:
                connection.execute("ROLLBACK")
        except Exception as error:
            job.fail(error)
