"""Twenty forms of damage: each is found, and set aside by the queue and by the repair; the others go out."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection

import attrs
import pytest

from kms.domain.content import FileContent
from kms.store.bodies import BodyWriter, body_path
from kms.store.fsck import find_faults, repair
from kms.store.queue_store import QueueStore
from kms.store.schema import open_database
from tests.support.queue_entries import NOW, make_new

SMALL, LARGE, GOOD = 11, 12, 13
BODY = b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 1000


@attrs.frozen
class Place:
    """A data folder whose queue has a small, a large and a good message."""

    path: Path
    connection: Connection

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    def body(self) -> Path:
        return body_path(self.spool, LARGE)

    def change(self, columns: str, number: int = SMALL) -> None:
        self.connection.execute(f"UPDATE message SET {columns} WHERE number = {number}")

    def change_recipient(self, columns: str) -> None:
        self.connection.execute(f"UPDATE recipient SET {columns} WHERE number = {SMALL}")

    def sql(self, statement: str) -> None:
        self.connection.execute(statement)

    def sentences(self, is_offline: bool = True) -> list[str]:
        return [fault.what for fault in find_faults(self.connection, self.path, NOW, is_offline)]


def write_body(spool: Path, number: int) -> FileContent:
    writer = BodyWriter(spool, number)
    writer.write(BODY)
    return writer.finish()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "spool").mkdir()
    with closing(open_database(tmp_path / "kms.sqlite3")) as connection:
        found = Place(tmp_path, connection)
        large = write_body(found.spool, LARGE)
        items = [make_new(SMALL), make_new(LARGE, content=large), make_new(GOOD)]
        QueueStore(found.spool).add(connection, items)
        yield found


def replace_body(place: Place, make: Callable[[Path], object]) -> None:
    place.body().unlink()
    make(place.body())


DAMAGES: dict[str, tuple[int, Callable[[Place], object]]] = {
    "body cut": (LARGE, lambda place: os.truncate(place.body(), 100)),
    "body of zero length": (LARGE, lambda place: os.truncate(place.body(), 0)),
    "body too long": (LARGE, lambda place: place.body().write_bytes(BODY + b"x")),
    "body missing": (LARGE, lambda place: place.body().unlink()),
    "body of random octets": (LARGE, lambda place: place.body().write_bytes(os.urandom(len(BODY)))),
    "one octet of the body changed": (LARGE, lambda place: place.body().write_bytes(BODY[:-3] + b"X\r\n")),
    "body a symbolic link": (
        LARGE,
        lambda place: replace_body(place, lambda path: path.symlink_to("/etc/passwd")),
    ),
    "body a folder": (LARGE, lambda place: replace_body(place, Path.mkdir)),
    "body a pipe": (LARGE, lambda place: replace_body(place, os.mkfifo)),
    "content missing": (SMALL, lambda place: place.sql(f"DELETE FROM content WHERE number = {SMALL}")),
    "content changed": (
        SMALL,
        lambda place: place.sql(f"UPDATE content SET data = x'00' WHERE number = {SMALL}"),
    ),
    "wrong checksum": (SMALL, lambda place: place.change("crc32 = crc32 + 1")),
    "wrong size": (SMALL, lambda place: place.change("octets = octets + 1")),
    "negative size": (SMALL, lambda place: place.change("octets = -1")),
    "impossible flag": (SMALL, lambda place: place.change("is_8bit = 7")),
    "negative attempts": (SMALL, lambda place: place.change("attempts = -1")),
    "impossible arrival": (SMALL, lambda place: place.change("arrived_us = 9000000000000000000")),
    "control character in the sender": (SMALL, lambda place: place.change("reverse_local_part = char(10)")),
    "sender without a domain": (SMALL, lambda place: place.change("reverse_domain = NULL")),
    "no recipient": (SMALL, lambda place: place.sql(f"DELETE FROM recipient WHERE number = {SMALL}")),
    "recipient without a domain": (SMALL, lambda place: place.change_recipient("domain = ''")),
    "recipient with an impossible id": (SMALL, lambda place: place.change_recipient("recipient_id = 0")),
    "control character in a recipient": (SMALL, lambda place: place.change_recipient("local_part = char(0)")),
}


@pytest.fixture(params=DAMAGES)
def damaged(request: pytest.FixtureRequest, place: Place) -> int:
    """Do the damage; the number of the entry."""
    number, damage = DAMAGES[request.param]
    damage(place)
    return number


def test_a_whole_store_has_no_faults(place: Place) -> None:
    assert place.sentences() == []
    assert place.sentences(is_offline=False) == []


def test_the_queue_sets_a_damaged_entry_aside_and_the_others_go_out(place: Place, damaged: int) -> None:
    claimed, aside = QueueStore(place.spool).claim(place.connection, NOW, 10, "me", NOW + timedelta(hours=1))
    assert [bad.number for bad in aside] == [damaged]
    assert {item.entry.number for item in claimed} == {SMALL, LARGE, GOOD} - {damaged}
    assert place.connection.execute("SELECT count(*) FROM message").fetchone()[0] == 3, "nothing is deleted"


def test_a_damaged_entry_is_found_and_the_repair_sets_it_aside(place: Place, damaged: int) -> None:
    faults = find_faults(place.connection, place.path, NOW, is_offline=True)
    assert damaged in {fault.number for fault in faults}
    done = repair(place.connection, place.path, faults)
    assert len(done) == len(faults)
    assert place.sentences() == []
    rows = place.connection.execute(
        "SELECT number FROM message WHERE set_aside_reason IS NOT NULL"
    ).fetchall()
    assert rows == [(damaged,)]


def test_a_body_file_of_another_user_is_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: place.body().stat().st_uid + 1)
    assert any("belongs to another user" in sentence for sentence in place.sentences())


def test_what_belongs_to_nobody_is_moved_aside_and_not_deleted(place: Place) -> None:
    lost = write_body(place.spool, 99)
    place.sql(
        "INSERT INTO recipient (number, recipient_id, local_part, domain, original_local_part, original_domain)"
        " VALUES (77, 1, 'a', 'b.test', 'a', 'b.test')"
    )
    place.sql("INSERT INTO content VALUES (78, x'00ff41')")
    faults = find_faults(place.connection, place.path, NOW, is_offline=True)
    assert [fault.is_repairable for fault in faults] == [True] * 3
    assert not any("body file" in sentence for sentence in place.sentences(is_offline=False))
    repair(place.connection, place.path, faults)
    assert place.sentences() == []
    aside = {path.name: path.read_bytes() for path in (place.path / "aside").iterdir()}
    assert aside[Path(lost.path).name] == BODY
    assert b'"number": 77' in aside["recipient.jsonl"]
    assert b"\\u00ffA" in aside["content.jsonl"]


def test_a_second_repair_does_not_write_over_the_first(place: Place) -> None:
    for number in (77, 78):
        place.sql(f"INSERT INTO content VALUES ({number}, x'41')")
        repair(place.connection, place.path, find_faults(place.connection, place.path, NOW, is_offline=True))
    assert {path.name for path in (place.path / "aside").iterdir()} == {"content.jsonl", "content.jsonl.1"}


def test_an_old_file_in_tmp_is_a_rest_and_a_young_one_is_not(place: Place) -> None:
    tmp = place.path / "mailboxes/example.test/joe/Maildir/tmp"
    tmp.mkdir(parents=True)
    for name, age in (("old", timedelta(days=3)), ("young", timedelta(hours=1))):
        (tmp / name).write_bytes(b"x")
        os.utime(tmp / name, times=((NOW - age).timestamp(),) * 2)
    [fault] = find_faults(place.connection, place.path, NOW, is_offline=True)
    assert fault.path == str(tmp / "old")


def test_rows_that_only_tell_are_named_and_left_alone(place: Place) -> None:
    place.sql("INSERT INTO message_life VALUES (1, 1, 'accepted', 'no json')")
    place.sql("INSERT INTO decision VALUES (1, 9223372036854775807, 'c', 's', 'r', 'r', '{}', 0)")
    faults = find_faults(place.connection, place.path, NOW, is_offline=True)
    assert [fault.is_repairable for fault in faults] == [False, False]
    assert repair(place.connection, place.path, faults) == []


def test_a_damaged_database_is_told_and_nothing_else_is_looked_at(place: Place) -> None:
    for number in range(100, 160):
        QueueStore(place.spool).add(place.connection, [make_new(number, recipients=50)])
    place.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    path = place.path / "copy.sqlite3"
    data = bytearray((place.path / "kms.sqlite3").read_bytes())
    half = len(data) // 2
    data[half : half + 20_000] = os.urandom(20_000)
    path.write_bytes(data)
    with closing(sqlite3.connect(path)) as connection:
        faults = find_faults(connection, place.path, NOW, is_offline=True)
    assert faults
    assert all("database is damaged" in fault.what and not fault.is_repairable for fault in faults)
