"""The real threads on a real file; the reactor is trial's."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from typing import Any, cast

import pytest
from twisted.internet import reactor  # noqa: TID251 - the threads answer in a real one
from twisted.internet.defer import CancelledError, Deferred, DeferredList, gatherResults
from twisted.internet.interfaces import IReactorFromThreads
from twisted.trial.unittest import TestCase

from kms.service import database as database_module
from kms.service import job_thread
from kms.service.database import Database, StoreError
from kms.store.queue_store import NumberSource, QueueStore, Settlement, count
from kms.store.schema import open_database
from tests.support.queue_entries import NOW, make_new


def make_table(connection: Connection) -> None:
    connection.execute("CREATE TABLE note (text TEXT UNIQUE)")


def insert(text: str) -> Callable[[Connection], str]:
    def operation(connection: Connection) -> str:
        connection.execute("INSERT INTO note VALUES (?)", (text,))
        return text

    return operation


def insert_all(connection: Connection, texts: list[str]) -> list[str]:
    connection.executemany("INSERT INTO note VALUES (?)", [(text,) for text in texts])
    return [text.upper() for text in texts]


def insert_twice(connection: Connection, texts: list[str]) -> list[int]:
    insert_all(connection, [text * 2 for text in texts])
    return [len(text) for text in texts]


def notes(connection: Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT text FROM note ORDER BY rowid")]


class DatabaseTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / "kms.sqlite3"
        with closing(open_database(self.path)) as connection:
            make_table(connection)
        self.database = Database(self.path, cast(IReactorFromThreads, reactor))
        self.database.start()
        self.addCleanup(self.stop)

    def stop(self) -> Deferred[None]:
        return self.database.stop()

    async def test_a_log_that_cannot_be_written_out_does_not_hinder_the_start(self) -> None:
        await self.database.stop()

        def fail(path: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(database_module, "reserve_log", fail)  # type: ignore[no-untyped-call]
        self.database.start()
        assert await self.database.run(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)

    def stored(self) -> list[str]:
        """What another process would see at this moment."""
        with closing(sqlite3.connect(self.path)) as connection:
            return notes(connection)

    def hold_writer(self) -> threading.Event:
        """Keep the writer busy until the event is set, so that what follows comes in one group."""
        begun, release = threading.Event(), threading.Event()

        def operation(connection: Connection) -> None:
            begun.set()
            assert release.wait(10)

        self.database.run(operation)
        assert begun.wait(10)
        return release

    async def test_an_answer_comes_after_the_commit_and_in_the_reactor(self) -> None:
        seen = []

        def look(text: str) -> str:
            seen.append((self.stored(), threading.current_thread()))
            return text

        assert await self.database.run(insert("a")).addCallback(look) == "a"
        assert seen == [(["a"], threading.current_thread())]

    async def test_a_batched_operation_gets_all_that_waits_in_one_call(self) -> None:
        calls: list[list[str]] = []

        def operation(connection: Connection, texts: list[str]) -> list[str]:
            calls.append(texts)
            return insert_all(connection, texts)

        release = self.hold_writer()
        waiting = [self.database.run_batched(operation, text) for text in "abc"]
        release.set()
        assert await gatherResults(waiting) == ["A", "B", "C"]
        assert calls == [["a", "b", "c"]]
        assert self.stored() == ["a", "b", "c"]

    async def test_what_nobody_waits_for_comes_last_and_few_at_a_time(self) -> None:
        self.patch(job_thread, "_MOST_AT_LEISURE", 2)  # type: ignore[no-untyped-call]
        calls: list[list[str]] = []

        def operation(connection: Connection, texts: list[str]) -> list[str]:
            calls.append(texts)
            return insert_all(connection, texts)

        release = self.hold_writer()
        at_leisure = [self.database.run_batched(operation, text, is_urgent=False) for text in "abcde"]
        urgent = [self.database.run_batched(operation, text) for text in "xyz"]
        release.set()
        assert await gatherResults([*at_leisure, *urgent]) == list("ABCDEXYZ")
        assert calls == [["x", "y", "z", "a", "b"], ["c", "d"], ["e"]]

    async def test_a_stop_waits_for_what_nobody_waits_for(self) -> None:
        self.patch(job_thread, "_MOST_AT_LEISURE", 2)  # type: ignore[no-untyped-call]
        release = self.hold_writer()
        at_leisure = [self.database.run_batched(insert_all, text, is_urgent=False) for text in "abcde"]
        stopped = self.database.stop()
        release.set()
        await stopped
        assert await gatherResults(at_leisure) == list("ABCDE")
        assert self.stored() == list("abcde")

    async def test_answers_come_in_the_order_of_the_calls(self) -> None:
        order: list[str] = []
        release = self.hold_writer()
        waiting = [
            self.database.run_batched(insert_all, "a"),
            self.database.run(insert("b")),
            self.database.run_batched(insert_all, "c"),
        ]
        for deferred in waiting:
            deferred.addCallback(lambda text: order.append(text.lower()))
        release.set()
        await gatherResults(waiting)
        assert order == ["a", "b", "c"]

    async def test_no_batched_operation_passes_a_single_one(self) -> None:
        release = self.hold_writer()
        waiting: list[Deferred[Any]] = [
            self.database.run_batched(insert_all, "a"),
            self.database.run(lambda connection: connection.execute("DELETE FROM note").rowcount),
            self.database.run_batched(insert_all, "b"),
        ]
        release.set()
        assert await gatherResults(waiting) == ["A", 1, "B"]
        assert self.stored() == ["b"]

    async def test_a_failing_operation_fails_alone_and_leaves_nothing(self) -> None:
        def broken(connection: Connection) -> None:
            insert("rest")(connection)
            raise LookupError("broken")

        release = self.hold_writer()
        before = self.database.run(insert("a"))
        caught = self.assertFailure(self.database.run(broken), LookupError)
        after = self.database.run(insert("b"))
        release.set()
        await before
        await caught
        await after
        assert self.stored() == ["a", "b"]

    async def test_of_a_failing_batch_only_the_guilty_item_fails(self) -> None:
        release = self.hold_writer()
        waiting = [self.database.run_batched(insert_all, text) for text in ("a", "b", "a", "c")]
        release.set()
        results = await DeferredList(waiting, consumeErrors=True)
        assert [success for success, _ in results] == [True, True, False, True]
        error = results[2][1].value  # type: ignore[attr-defined]
        assert isinstance(error, StoreError)
        assert isinstance(error.__cause__, sqlite3.IntegrityError)
        assert self.stored() == ["a", "b", "c"]

    async def test_of_a_group_of_several_kinds_only_the_guilty_item_fails_and_nothing_is_done_twice(
        self,
    ) -> None:
        release = self.hold_writer()
        waiting: list[Deferred[Any]] = [
            self.database.run_batched(insert_all, "a"),
            self.database.run_batched(insert_twice, "c"),
            self.database.run_batched(insert_all, "b"),
            self.database.run_batched(insert_twice, "c"),
            self.database.run_batched(insert_all, "d"),
        ]
        release.set()
        results = await DeferredList(waiting, consumeErrors=True)
        assert [success for success, _ in results] == [True, True, True, False, True]
        assert [result for success, result in results if success] == ["A", 1, "B", "D"]
        assert self.stored() == ["a", "b", "d", "cc"]

    async def test_a_batch_of_one_that_fails_is_not_run_twice(self) -> None:
        calls = []

        def broken(connection: Connection, items: list[int]) -> list[int]:
            calls.append(items)
            raise LookupError

        await self.assertFailure(self.database.run_batched(broken, 1), LookupError)
        assert calls == [[1]]

    async def test_an_operation_that_gives_too_few_results_fails_and_leaves_nothing(self) -> None:
        def forgetful(connection: Connection, texts: list[str]) -> list[str]:
            insert_all(connection, texts)
            return []

        await self.assertFailure(self.database.run_batched(forgetful, "a"), RuntimeError)
        assert self.stored() == []

    async def test_a_failed_commit_fails_the_group_and_the_next_one_works(self) -> None:
        await self.make_commits_fail()
        release = self.hold_writer()
        waiting: list[Deferred[Any]] = [
            self.database.run(insert("a")),
            self.database.run_batched(insert_all, "b"),
            self.database.run(lambda connection: connection.execute("INSERT INTO child VALUES (99)")),
        ]
        release.set()
        results = await DeferredList(waiting, consumeErrors=True)
        assert [success for success, _ in results] == [False, False, False]
        assert all(isinstance(failure.value, StoreError) for _, failure in results)
        assert self.stored() == []
        await self.database.run(insert("a"))
        assert self.stored() == ["a"]

    async def test_a_failed_commit_fails_a_group_of_one_kind_and_is_not_tried_again(self) -> None:
        await self.make_commits_fail()
        calls = []

        def adopt(connection: Connection, parents: list[int]) -> list[None]:
            calls.append(parents)
            connection.executemany("INSERT INTO child VALUES (?)", [(parent,) for parent in parents])
            return [None] * len(parents)

        release = self.hold_writer()
        waiting: list[Deferred[Any]] = [self.database.run_batched(adopt, parent) for parent in (98, 99)]
        release.set()
        results = await DeferredList(waiting, consumeErrors=True)
        assert [success for success, _ in results] == [False, False]
        assert all(isinstance(failure.value, StoreError) for _, failure in results)
        assert calls == [[98, 99]]
        await self.database.run(insert("a"))
        assert self.stored() == ["a"]

    async def make_commits_fail(self) -> None:
        """From now on a transaction that puts an orphan into the table `child` fails at its COMMIT."""
        await self.database.run(
            lambda connection: connection.execute(
                "CREATE TABLE child (parent INTEGER REFERENCES message (number) DEFERRABLE INITIALLY DEFERRED)"
            )
        )
        await self.stop()
        # Foreign keys can be switched on only outside of a transaction: by the hand of the connection's maker.
        self.database = Database(self.path, cast(IReactorFromThreads, reactor))
        self.patch_open("PRAGMA foreign_keys = ON")
        self.database.start()

    def patch_open(self, pragma: str) -> None:
        def opened(path: Path) -> Connection:
            connection = open_database(path)
            connection.execute(pragma)
            return connection

        self.replace("open_database", opened)

    def replace(self, name: str, value: object) -> None:
        self.addCleanup(setattr, database_module, name, getattr(database_module, name))
        setattr(database_module, name, value)

    async def test_a_full_disk_is_told_and_the_thread_works_again_afterwards(self) -> None:
        def limit(pages: int) -> Callable[[Connection], object]:
            return lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()

        await self.database.run(limit(1))
        results = await DeferredList(
            [self.database.run_batched(insert_all, "x" * 50_000 + str(n)) for n in range(3)],
            consumeErrors=True,
        )
        assert [success for success, _ in results] == [False] * 3
        assert all("full" in str(failure.value) for _, failure in results)  # type: ignore[attr-defined]
        await self.database.run(limit(1_000_000))
        await self.database.run(insert("a"))
        assert self.stored() == ["a"]

    async def test_a_transaction_that_sqlite_threw_away_fails_as_a_whole(self) -> None:
        def throw_away(connection: Connection) -> None:
            connection.execute("ROLLBACK")
            raise LookupError("gone")

        release = self.hold_writer()
        waiting: list[Deferred[Any]] = [self.database.run(insert("a")), self.database.run(throw_away)]
        release.set()
        results = await DeferredList(waiting, consumeErrors=True)
        assert [success for success, _ in results] == [False, False]
        assert self.stored() == []
        await self.database.run_batched(insert_all, "b")
        assert self.stored() == ["b"]

    async def test_a_savepoint_that_cannot_be_undone_fails_the_group(self) -> None:
        def spoil(connection: Connection) -> None:
            insert("rest")(connection)
            connection.execute("RELEASE job")
            raise LookupError("spoilt")

        release = self.hold_writer()
        waiting: list[Deferred[Any]] = [self.database.run(insert("a")), self.database.run(spoil)]
        release.set()
        results = await DeferredList(waiting, consumeErrors=True)
        assert [success for success, _ in results] == [False, False]
        assert self.stored() == []

    async def test_a_batch_that_threw_the_transaction_away_fails_as_a_whole(self) -> None:
        def throw_away(connection: Connection, items: list[int]) -> list[int]:
            connection.execute("ROLLBACK")
            raise LookupError("gone")

        release = self.hold_writer()
        waiting = [self.database.run_batched(throw_away, number) for number in range(3)]
        release.set()
        results = await DeferredList(waiting, consumeErrors=True)
        assert [success for success, _ in results] == [False] * 3

    async def test_a_locked_database_is_told_and_works_when_it_is_free(self) -> None:
        await self.database.run(lambda connection: connection.execute("PRAGMA busy_timeout = 1").fetchone())
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await self.assertFailure(self.database.run(insert("a")), StoreError)
            other.execute("ROLLBACK")
        await self.database.run(insert("a"))
        assert self.stored() == ["a"]

    async def test_reading_sees_what_is_committed_and_changes_nothing(self) -> None:
        release = self.hold_writer()
        written = self.database.run(insert("a"))
        assert await self.database.read(notes) == []
        release.set()
        await written
        assert await self.database.read(notes) == ["a"]
        await self.assertFailure(self.database.read(insert("b")), StoreError)
        await self.assertFailure(self.database.read(lambda connection: [][0]), IndexError)
        assert await self.database.read(notes) == ["a"]

    async def test_a_cancelled_call_disturbs_no_other(self) -> None:
        release = self.hold_writer()
        given_up, kept = self.database.run(insert("a")), self.database.run(insert("b"))
        caught = self.assertFailure(given_up, CancelledError)
        given_up.cancel()
        release.set()
        assert await kept == "b"
        await caught

    async def test_it_tells_how_much_waits(self) -> None:
        release = self.hold_writer()
        waiting = [self.database.run_batched(insert_all, str(number)) for number in range(2_000)]
        assert self.database.pending == 2_001
        release.set()
        await gatherResults(waiting)
        assert self.database.pending == 0

    async def test_stopping_does_what_is_queued_and_empties_the_log(self) -> None:
        waiting = [self.database.run(insert(str(number))) for number in range(20)]
        stopped = self.database.stop()
        await gatherResults(waiting)
        await stopped
        assert len(self.stored()) == 20
        log = self.path.with_name("kms.sqlite3-wal")
        assert not log.exists() or log.stat().st_size == 0
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("kms-database")]

    async def test_a_stopped_database_takes_nothing(self) -> None:
        await self.database.stop()
        await self.database.stop()
        await self.assertFailure(self.database.run(insert("a")), StoreError)
        await self.assertFailure(self.database.run_batched(insert_all, "a"), StoreError)
        await self.assertFailure(self.database.read(notes), StoreError)
        assert self.database.pending == 0

    async def test_a_damaged_database_is_told_at_the_start(self) -> None:
        path = self.folder / "other.sqlite3"
        path.write_bytes(b"nonsense")
        database = Database(path, cast(IReactorFromThreads, reactor))
        with pytest.raises(StoreError):
            database.start()
        await database.stop()

    async def test_a_reader_that_cannot_open_is_told_at_the_start(self) -> None:
        def fail(path: Path) -> Connection:
            raise StoreError("no reader")

        self.replace("open_reader", fail)
        database = Database(self.folder / "other.sqlite3", cast(IReactorFromThreads, reactor))
        with pytest.raises(StoreError):
            database.start()
        await database.stop()

    async def test_many_messages_go_through_the_queue_at_once(self) -> None:
        queue, numbers = QueueStore(self.folder), NumberSource(0)

        async def pass_through() -> bool:
            number = numbers.next(NOW)
            await self.database.run_batched(queue.add, make_new(number, is_leased=True))
            return (await self.database.run_batched(queue.settle, Settlement(number, 0, (1,)))).was_taken

        done = await gatherResults([Deferred.fromCoroutine(pass_through()) for _ in range(500)])
        assert all(done)
        assert (await self.database.read(count)).messages == 0
