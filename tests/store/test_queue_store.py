"""Damage in rows and contents: the entry is set aside with its reason, the others go on, nothing is deleted."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection

import pytest

from kms.domain.content import FileContent, InlineContent
from kms.store.bodies import BodyWriter
from kms.store.queue_rows import DamagedRow
from kms.store.queue_store import (
    NewEntry,
    QueueStore,
    SetAside,
    count,
    earliest_due,
    list_entries,
    load_entry,
    set_aside_unreachable,
)
from kms.store.schema import IN_MEMORY, MAX_US, from_us, open_database
from tests.support.queue_entries import NOW, make_entry, make_new

DAMAGED = 77


@pytest.fixture
def connection() -> Iterator[Connection]:
    with closing(open_database(IN_MEMORY)) as connection:
        yield connection


@pytest.fixture
def store(tmp_path: Path) -> QueueStore:
    return QueueStore(tmp_path)


def check_set_aside(store: QueueStore, connection: Connection, reason: str) -> None:
    """Entry `DAMAGED` is set aside for `reason`, once, and entry 1 is claimed."""
    claimed, aside = store.claim(connection, NOW, 10, "me", NOW)
    assert [item.entry.number for item in claimed] == [1]
    assert [item.number for item in aside] == [DAMAGED]
    assert reason in aside[0].reason
    assert store.claim(connection, NOW, 10, "me", NOW) == ([], [])
    assert list_entries(connection, 1, 10) == ([], aside)
    assert count(connection).set_aside == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE message SET octets = -1", "counter or flag"),
        ("UPDATE message SET octets = octets + 1", "other octets"),
        ("UPDATE message SET attempts = -1", "counter or flag"),
        ("UPDATE message SET fence = -1", "counter or flag"),
        ("UPDATE message SET is_8bit = 7", "counter or flag"),
        ("UPDATE message SET has_utf8_header = 2", "counter or flag"),
        ("UPDATE message SET returned = 'HALF', envelope_id = ''", "RET=HALF"),
        ("UPDATE recipient SET notify = 16, original_recipient = ''", "flags 16 of NOTIFY"),
        ("UPDATE message SET envelope_id = 'a' || char(10)", "parameter of DSN"),
        ("UPDATE recipient SET original_recipient = 'rfc822;a b'", "parameter of DSN"),
        ("UPDATE recipient SET notify = -1, original_recipient = ''", "flags -1 of NOTIFY"),
        ("UPDATE message SET due_us = -1", "instant -1"),
        ("UPDATE message SET arrived_us = 9000000000000000000", "instant 9000000000000000000"),
        ("UPDATE message SET warned_us = -5", "instant -5"),
        ("UPDATE message SET reverse_domain = NULL", "address is impossible"),
        (
            "UPDATE message SET reverse_local_part = 'a' || char(13) || char(10) || 'b'",
            "address is impossible",
        ),
        ("UPDATE message SET crc32 = crc32 + 1", "other octets"),
        ("UPDATE recipient SET domain = ''", "no domain"),
        ("UPDATE recipient SET local_part = char(0)", "address is impossible"),
        ("UPDATE recipient SET original_domain = char(10)", "address is impossible"),
        ("UPDATE recipient SET recipient_id = 0", "impossible id"),
        ("DELETE FROM recipient", "no recipient"),
        ("DELETE FROM content", "content is missing"),
        ("UPDATE content SET data = x'00'", "other octets"),
        ("UPDATE content SET data = zeroblob(length(data))", "other octets"),
    ],
)
def test_a_damaged_row_is_set_aside_and_the_others_go_on(
    store: QueueStore, connection: Connection, change: str, reason: str
) -> None:
    store.add(connection, [make_new(1), make_new(DAMAGED)])
    connection.execute(f"{change} WHERE number = {DAMAGED}")
    check_set_aside(store, connection, reason)


def test_an_impossible_number_is_set_aside(store: QueueStore, connection: Connection) -> None:
    store.add(connection, [make_new(1), make_new(DAMAGED)])
    for table in ("message", "recipient", "content"):
        connection.execute(f"UPDATE {table} SET number = -5 WHERE number = {DAMAGED}")
    _, aside = store.claim(connection, NOW, 10, "me", NOW)
    assert aside == [SetAside(-5, "the number -5 is impossible")]


def test_a_damaged_row_is_told_when_listed_before_it_is_claimed(
    store: QueueStore, connection: Connection
) -> None:
    store.add(connection, [make_new(1), make_new(2)])
    connection.execute("DELETE FROM recipient WHERE number = 2")
    assert list_entries(connection, 0, 9) == ([make_entry(1)], [SetAside(2, "there is no recipient")])
    with pytest.raises(DamagedRow):
        load_entry(connection, 2)


def test_an_entry_that_would_never_be_due_is_set_aside_at_start(
    store: QueueStore, connection: Connection
) -> None:
    store.add(connection, [make_new(1)])
    connection.execute("UPDATE message SET due_us = 9000000000000000000")
    assert earliest_due(connection) == from_us(MAX_US)
    (found,) = set_aside_unreachable(connection)
    assert (found.number, earliest_due(connection)) == (1, None)
    assert set_aside_unreachable(connection) == []


def test_rows_hold_no_value_of_another_type(store: QueueStore, connection: Connection) -> None:
    store.add(connection, [make_new(1)])
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE message SET due_us = 'soon'")


def _cut(path: Path) -> None:
    os.truncate(path, 10)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _scramble(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "missing"),
        (_cut, "10 octets instead of 70000"),
        (_empty, "0 octets instead of 70000"),
        (_scramble, "other octets"),
        (_link, "cannot be read"),
        (_replace_by_pipe, "not a plain file"),
        (_replace_by_folder, "not a plain file"),
    ],
)
def test_a_damaged_body_file_is_set_aside_and_the_others_go_on(
    store: QueueStore, connection: Connection, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    writer = BodyWriter(tmp_path, DAMAGED)
    writer.write(b"y" * 70_000)
    content = writer.finish()
    store.add(connection, [make_new(1), NewEntry(make_entry(DAMAGED, content=content), content, False)])
    damage(Path(content.path))
    check_set_aside(store, connection, reason)


def test_a_body_file_of_another_user_is_set_aside(
    store: QueueStore, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = BodyWriter(tmp_path, DAMAGED)
    writer.write(b"y")
    content = writer.finish()
    store.add(connection, [make_new(1), make_new(DAMAGED, content=content)])
    monkeypatch.setattr(os, "geteuid", lambda: -1)
    check_set_aside(store, connection, "another user")


def test_a_file_whose_checksum_is_unknown_is_taken_by_its_size(
    store: QueueStore, connection: Connection, tmp_path: Path
) -> None:
    writer = BodyWriter(tmp_path, 3)
    writer.write(b"y" * 9)
    content = FileContent(writer.finish().path, 9)
    store.add(connection, [make_new(3, content=content)])
    ((claimed,), _) = store.claim(connection, NOW, 10, "me", NOW)
    assert claimed.content == content


def test_a_content_that_sqlite_cannot_read_is_set_aside(store: QueueStore, tmp_path: Path) -> None:
    path = tmp_path / "kms.sqlite3"
    large = b"z" * 60_000
    with closing(open_database(path)) as connection:
        store.add(connection, [make_new(1), make_new(DAMAGED, content=InlineContent(large))])
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    first_overflow = data.index(b"z" * 8000) // 8192 * 8192
    path.write_bytes(data[:first_overflow] + b"\xff" * 8192 * 8 + data[first_overflow + 8192 * 8 :])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        check_set_aside(store, connection, "the content")
