from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection

import pytest

from kms.domain.content import CHUNK_OCTETS, FileContent, InlineContent
from kms.domain.queue_entry import format_queue_id
from kms.store.bodies import (
    BodyDamaged,
    BodyWriter,
    body_path,
    find_damage,
    read_chunks,
    read_head,
    remove_body,
    require_database,
    sweep,
)
from kms.store.queue_store import QueueStore
from kms.store.schema import IN_MEMORY, StoreError, open_database
from tests.support.queue_entries import NOW, make_new

DATA = bytes(range(256)) * 1000
NUMBER = 1_795_000_000_000_000


@pytest.fixture
def connection() -> Iterator[Connection]:
    with closing(open_database(IN_MEMORY)) as connection:
        yield connection


def write(spool: Path, number: int = NUMBER, data: bytes = DATA) -> FileContent:
    writer = BodyWriter(spool, number)
    writer.write(data[:1000])
    writer.write(data[1000:])
    assert writer.octets == len(data)
    return writer.finish()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    content = write(tmp_path)
    chunks = list(read_chunks(content))
    assert b"".join(chunks) == DATA
    assert max(map(len, chunks)) <= CHUNK_OCTETS
    assert content.octets == len(DATA)
    assert find_damage(content) == ""


def test_a_file_lies_under_its_queue_id_for_its_owner_only(tmp_path: Path) -> None:
    path = Path(write(tmp_path).path)
    queue_id = format_queue_id(NUMBER)
    assert path == tmp_path / queue_id[-2:] / queue_id == body_path(tmp_path, NUMBER)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_short_queue_id_has_a_folder_too(tmp_path: Path) -> None:
    assert body_path(tmp_path, 5) == tmp_path / "05" / "05"
    assert Path(write(tmp_path, 5).path).is_file()


def test_file_and_folders_are_synced_before_the_content_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    path = Path(write(tmp_path).path)
    assert synced == [str(path), str(path.parent), str(tmp_path)]
    synced.clear()
    writer = BodyWriter(tmp_path, NUMBER + 1024)
    writer.finish()
    assert synced == [str(body_path(tmp_path, NUMBER + 1024)), str(path.parent)]


def test_a_number_is_never_written_twice(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(FileExistsError):
        BodyWriter(tmp_path, NUMBER)


def test_an_aborted_file_is_gone(tmp_path: Path) -> None:
    writer = BodyWriter(tmp_path, NUMBER)
    writer.write(DATA)
    writer.abort()
    writer.abort()
    assert not body_path(tmp_path, NUMBER).exists()
    with pytest.raises(OSError):
        writer.write(DATA)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = BodyWriter(tmp_path, NUMBER)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space"):
            writer.finish()
    writer.abort()
    assert list(body_path(tmp_path, NUMBER).parent.iterdir()) == []


def test_a_write_that_takes_only_a_part_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:777])))
    content = write(tmp_path)
    assert b"".join(read_chunks(content)) == DATA


def test_changed_octets_are_told_after_the_last_chunk(tmp_path: Path) -> None:
    content = write(tmp_path)
    Path(content.path).write_bytes(DATA[:-1] + b"?")
    chunks = read_chunks(content)
    assert sum(len(next(chunks)) for _ in range(0, len(DATA), CHUNK_OCTETS)) == len(DATA)
    with pytest.raises(BodyDamaged, match="other octets"):
        next(chunks)


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    content = write(tmp_path)
    chunks = read_chunks(content)
    next(chunks)
    os.truncate(content.path, 10)
    with pytest.raises(BodyDamaged, match="shorter"):
        list(chunks)


def test_the_head_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write(tmp_path)
    real = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, octets: real(descriptor, min(octets, 100)))
    assert read_head(content, 777) == DATA[:777]
    assert read_head(content, 10**9) == DATA


def test_the_head_of_a_content_in_memory_needs_no_file() -> None:
    assert read_head(InlineContent(DATA), 777) == DATA[:777]


def test_a_head_that_is_cut_meanwhile_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write(tmp_path)
    monkeypatch.setattr(os, "read", lambda descriptor, octets: b"")
    with pytest.raises(BodyDamaged, match="shorter"):
        read_head(content, 777)


def test_removing_twice_does_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path).path
    remove_body(path)
    remove_body(path)
    assert not Path(path).exists()


def test_files_that_no_row_names_are_swept(tmp_path: Path, connection: Connection) -> None:
    kept, orphan, gone = write(tmp_path, NUMBER), write(tmp_path, NUMBER + 1), write(tmp_path, NUMBER + 2)
    QueueStore(tmp_path).add(
        connection, [make_new(NUMBER, content=kept), make_new(NUMBER + 2, content=gone), make_new(4)]
    )
    os.unlink(gone.path)
    for content in (kept, orphan):
        os.utime(content.path, (0, 0))
    swept = sweep(connection, tmp_path, NOW)
    assert swept.removed == (orphan.path,)
    assert swept.missing == (NUMBER + 2,)
    assert swept.problems == (f"The body file of {format_queue_id(NUMBER + 2)} is missing",)
    assert Path(kept.path).exists()
    assert not Path(orphan.path).exists()


def test_a_file_younger_than_the_process_is_left(tmp_path: Path, connection: Connection) -> None:
    content = write(tmp_path)
    os.utime(content.path, (NOW.timestamp(), NOW.timestamp()))
    assert sweep(connection, tmp_path, NOW).removed == ()
    assert sweep(connection, tmp_path, NOW + timedelta(seconds=1)).removed == (content.path,)


def test_what_is_not_ours_in_the_spool_is_left(tmp_path: Path, connection: Connection) -> None:
    queue_id = format_queue_id(NUMBER)
    folder = tmp_path / queue_id[-2:]
    (folder / format_queue_id(NUMBER + 1024)).mkdir(parents=True)
    for path in (
        tmp_path / queue_id,
        folder / "notes.txt",
        folder / format_queue_id(NUMBER + 1),
        tmp_path / "ABC" / queue_id,
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
        os.utime(path, (0, 0))
    (tmp_path / "ZZ").symlink_to(folder)
    (folder / queue_id).symlink_to(folder / "notes.txt")
    before = sorted(tmp_path.rglob("*"))
    assert sweep(connection, tmp_path, NOW).removed == ()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("is_empty", [True, False])
def test_body_files_without_their_database_are_not_taken_for_rests(tmp_path: Path, is_empty: bool) -> None:
    spool, database = tmp_path / "spool", tmp_path / "kms.sqlite3"
    spool.mkdir()
    if is_empty:
        database.touch()
    require_database(database, spool)
    write(spool)
    with pytest.raises(StoreError, match=r"holds mail: restore the database .* or move .*spool away"):
        require_database(database, spool)
    database.write_bytes(b"x")
    require_database(database, spool)
