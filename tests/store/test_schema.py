from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from kms.store import schema
from kms.store.queue_store import QueueStore, count, load_entry
from kms.store.schema import (
    IN_MEMORY,
    MAX_US,
    StoreError,
    check_whole,
    from_us,
    open_database,
    open_reader,
    reserve_log,
    to_us,
)
from tests.support.queue_entries import make_new


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kms.sqlite3"


def fill(path: Path, messages: int = 300) -> None:
    with closing(open_database(path)) as connection:
        QueueStore(path.parent).add(connection, [make_new(number) for number in range(1, messages + 1)])


def test_a_new_database_is_made_for_its_owner_only(path: Path) -> None:
    with closing(open_database(path)) as connection:
        assert count(connection).messages == 0
        assert check_whole(connection) == []
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o777 == 0o600


def test_commits_are_durable_and_pages_are_as_measured_best(path: Path) -> None:
    with closing(open_database(path)) as connection:
        values = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "page_size", "wal_autocheckpoint", "cache_size")
        }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "page_size": 8192,
        "wal_autocheckpoint": 2000,
        "cache_size": -16384,
    }


def test_what_was_written_is_there_after_reopening(path: Path) -> None:
    fill(path)
    with closing(open_database(path)) as connection:
        assert count(connection).messages == 300


def test_what_a_killed_process_committed_is_there(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    with closing(open_database(path)) as connection:
        QueueStore(tmp_path).add(connection, [make_new(1)])
        for name in ("kms.sqlite3", "kms.sqlite3-wal"):
            (copy / name).write_bytes((tmp_path / name).read_bytes())
    with closing(open_database(copy / "kms.sqlite3")) as connection:
        assert count(connection).messages == 1


def test_a_new_leased_entry_touches_no_index(path: Path) -> None:
    with closing(open_database(IN_MEMORY)) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT min(due_us) FROM message"
            " WHERE lease_owner = '' AND set_aside_reason IS NULL AND parked IS NULL"
        ).fetchall()
    assert "message_due" in str(plan)


@pytest.mark.parametrize("contents", [b"not a database at all, but long enough" * 100, b"x", bytes(5000)])
def test_what_is_no_database_is_refused_and_left_as_it_is(path: Path, contents: bytes) -> None:
    path.write_bytes(contents)
    with pytest.raises(StoreError, match="restore it from a backup"):
        open_database(path)
    assert path.read_bytes() == contents


@pytest.mark.parametrize("limit", [schema._WHOLE_CHECK_OCTETS, 0])
def test_a_damaged_database_is_refused_and_left_as_it_is(
    path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_WHOLE_CHECK_OCTETS", limit)
    fill(path)
    data = bytearray(path.read_bytes())
    for page in range(1, len(data) // 8192):
        data[page * 8192 : page * 8192 + 100] = os.urandom(100)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"kms\.sqlite3 is damaged \(.*restore it"):
        open_database(path)
    assert path.read_bytes() == data


def test_a_database_that_was_cut_is_refused(path: Path) -> None:
    fill(path, 3000)
    os.truncate(path, 8192 * 5)
    with pytest.raises(StoreError, match="damaged"):
        open_database(path)
    assert path.stat().st_size == 8192 * 5


def test_a_large_sound_database_is_opened_by_its_small_tables(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_WHOLE_CHECK_OCTETS", 0)
    fill(path)
    with closing(open_database(path)) as connection:
        assert count(connection).messages == 300


def test_a_database_of_a_newer_kms_is_refused(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(StoreError, match="newer kms"):
        open_database(path)


def test_a_log_whose_database_is_gone_is_not_thrown_away(path: Path) -> None:
    log = path.with_name("kms.sqlite3-wal")
    log.write_bytes(b"mail")
    with pytest.raises(StoreError, match="its log"):
        open_database(path)
    path.touch()
    with pytest.raises(StoreError, match="its log"):
        open_database(path)
    assert log.read_bytes() == b"mail"


def test_an_empty_file_becomes_a_new_database(path: Path) -> None:
    path.touch()
    open_database(path).close()
    assert path.stat().st_size > 0


def test_a_folder_that_is_missing_is_told(path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        open_database(path / "deeper")


def test_a_failed_migration_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)
    steps = (*schema.MIGRATIONS, ("CREATE TABLE fresh (a INTEGER)", "nonsense"))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", steps)
        with pytest.raises(StoreError, match="nonsense"):
            open_database(path)
    with closing(open_database(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'fresh'").fetchone() is None


def test_a_new_migration_is_made_on_top(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE fresh (a INTEGER)",)))
    with closing(open_database(path)) as connection:
        assert connection.execute("SELECT count(*) FROM fresh").fetchone() == (0,)
        assert count(connection).messages == 300


def test_the_reader_cannot_write(path: Path) -> None:
    fill(path)
    with closing(open_reader(path)) as connection:
        assert count(connection).messages == 300
        with pytest.raises(sqlite3.OperationalError):
            connection.execute("DELETE FROM message")


def test_the_reader_needs_a_database(path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        open_reader(path)


def test_the_reader_needs_a_database_of_kms(path: Path) -> None:
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(StoreError, match="cannot be read"):
        open_reader(path)


def test_the_full_check_names_what_is_wrong(path: Path) -> None:
    fill(path, 3000)
    data = bytearray(path.read_bytes())
    data[8192 * 6 : 8192 * 20] = os.urandom(8192 * 14)
    path.write_bytes(data)
    with closing(sqlite3.connect(path)) as connection:
        assert check_whole(connection)


def test_the_full_check_of_nonsense_is_an_answer(path: Path) -> None:
    path.write_bytes(b"nonsense" * 1000)
    with closing(sqlite3.connect(path)) as connection:
        assert check_whole(connection) == ["file is not a database"]


@pytest.mark.parametrize(
    "at",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2026, 11, 24, 12, 0, 0, 123457, tzinfo=UTC),
        datetime(2040, 1, 1, 5, tzinfo=timezone(timedelta(hours=5))),
        datetime.max.replace(tzinfo=UTC),
    ],
)
def test_instants_are_kept_to_the_microsecond(at: datetime) -> None:
    assert from_us(to_us(at)) == at
    assert to_us(at) <= MAX_US


def test_the_log_is_written_out_to_its_usual_size_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kms.sqlite3"
    connection = open_database(path)
    connection.execute("INSERT INTO meta VALUES ('before', 1)")
    reserve_log(path)
    size = (tmp_path / "kms.sqlite3-wal").stat().st_size
    assert size > 16 * 1024 * 1024
    connection.execute("INSERT INTO meta VALUES ('after', 2)")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("kms.sqlite3", "kms.sqlite3-wal"):  # what a crash leaves
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    connection.close()
    with closing(open_database(copy / "kms.sqlite3")) as recovered:
        assert recovered.execute("SELECT key FROM meta ORDER BY value").fetchall() == [
            ("before",),
            ("after",),
        ]


def test_a_full_disk_is_not_filled_further_with_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kms.sqlite3"
    real = os.pwrite

    def write(descriptor: int, data: bytes, offset: int) -> int:
        if offset > 4_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    with closing(open_database(path)):
        size = (tmp_path / "kms.sqlite3-wal").stat().st_size
        monkeypatch.setattr(os, "pwrite", write)
        with pytest.raises(OSError, match="No space left"):
            reserve_log(path)
        assert (tmp_path / "kms.sqlite3-wal").stat().st_size == size


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        reserve_log(tmp_path / "missing.sqlite3")


def test_a_queue_of_the_first_version_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        with closing(open_database(path)) as connection:
            connection.execute(
                "INSERT INTO message VALUES (7, NULL, NULL, 1, 1, 2, NULL, 0, 1, NULL, 0, '', 0, 0, NULL)"
            )
            connection.execute("INSERT INTO recipient VALUES (7, 1, 'a', 'b.test', 'c', 'd.test', 'later')")
    with closing(open_database(path)) as connection:
        entry = load_entry(connection, 7)
    assert entry is not None
    assert (entry.envelope.is_8bit, entry.envelope.has_utf8_header, entry.envelope.request) == (
        True,
        False,
        None,
    )
    assert entry.envelope.recipients[0].request is None
    assert entry.last_status == {1: "later"}


def test_a_database_whose_making_was_cut_short_is_made_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "cut").mkdir()
    with closing(sqlite3.connect(tmp_path / "kms.sqlite3", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE other (text TEXT)")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO other VALUES (?)", [("x" * 3000,)] * 200)
        for name in ("kms.sqlite3", "kms.sqlite3-journal"):
            shutil.copy(tmp_path / name, tmp_path / "cut" / name)
    with closing(open_database(tmp_path / "cut" / "kms.sqlite3")) as connection:
        assert connection.execute("SELECT count(*) FROM other").fetchone() == (0,)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
