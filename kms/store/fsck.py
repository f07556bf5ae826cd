"""Looks whether the store is what kms would have left: queue rows, contents, body files, Maildir rests.

Promises: `find_faults` changes nothing; `repair` deletes nothing: an entry that cannot be used is set aside in its
table, a file that belongs to nobody is moved into `aside/` of the data folder, orphan rows are copied there as JSON
lines first. Each finding is a sentence for the operator.
Flow: `kmsctl queue fsck` calls it on the locked store, or the control service on a snapshot while the server runs.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import attrs

from kms.domain.content import FileContent
from kms.domain.queue_entry import format_queue_id
from kms.store.bodies import body_files, body_path, find_damage
from kms.store.maildir_janitor import OLDEST
from kms.store.queue_items import SetAside
from kms.store.queue_leases import set_aside
from kms.store.queue_rows import SELECT_MESSAGE, DamagedRow, read_entry
from kms.store.queue_view import recipients_of
from kms.store.schema import check_whole, from_us, sync_folder

ASIDE = "aside"
_PAGE = 500
_ORPHANS = "SELECT * FROM {} WHERE number NOT IN (SELECT number FROM message)"


@attrs.frozen
class Fault:
    """One thing that is not as it should be.

    Attributes:
        what: a sentence.
        number: of the entry that cannot be used; 0 where the fault is no entry's.
        path: of the file that belongs to nobody; "" where there is none.
        table: that holds rows without an entry; "" where there is none.
    """

    what: str
    number: int = 0
    path: str = ""
    table: str = ""

    @property
    def is_repairable(self) -> bool:
        """`repair` can take it out of the way."""
        return bool(self.number or self.path or self.table)

    def describe(self) -> dict[str, Any]:
        """Give it as JSON."""
        return {"what": self.what, "is_repairable": self.is_repairable}


def find_faults(connection: Connection, data_dir: Path, now: datetime, is_offline: bool) -> list[Fault]:
    """Look at everything.

    Args:
        data_dir: with `spool` and `mailboxes`.
        now: files in a Maildir's tmp that are younger than 36 hours may be somebody's.
        is_offline: nobody receives or delivers meanwhile, so a body file without an entry is a rest; a running
            server may just be writing it.
    """
    broken = [Fault(f"the database is damaged: {line}") for line in check_whole(connection)]
    if broken:
        return broken
    faults = [*_entry_faults(connection, data_dir / "spool"), *_orphan_rows(connection)]
    if is_offline:
        faults += _orphan_files(connection, data_dir / "spool")
    return [*faults, *_tmp_rests(data_dir / "mailboxes", now), *_unreadable_facts(connection)]


def _entry_faults(connection: Connection, spool: Path) -> Iterator[Fault]:
    last = -(2**63)
    while True:
        rows = connection.execute(
            SELECT_MESSAGE + "WHERE number > ? AND set_aside_reason IS NULL ORDER BY number LIMIT ?",
            (last, _PAGE),
        ).fetchall()
        if not rows:
            return
        recipients = recipients_of(connection, [row[0] for row in rows])
        for row in rows:
            try:
                read_entry(row, recipients.get(row[0], ()))
                damage = _content_damage(connection, spool, row)
            except (DamagedRow, sqlite3.DatabaseError) as error:
                damage = str(error)
            if damage:
                yield Fault(f"{_name(row[0])}: {damage}", number=row[0])
        last = rows[-1][0]


def _content_damage(connection: Connection, spool: Path, row: tuple[Any, ...]) -> str:
    number, octets, crc32, is_in_file = row[0], row[5], row[6], row[13]
    if is_in_file:
        return find_damage(FileContent(str(body_path(spool, number)), octets, crc32))
    found = connection.execute("SELECT data FROM content WHERE number = ?", (number,)).fetchone()
    if found is None:
        return "the content is missing"
    if len(found[0]) != octets or (crc32 is not None and zlib.crc32(found[0]) != crc32):
        return "the content holds other octets than were written"
    return ""


def _name(number: int) -> str:
    return format_queue_id(number) if number > 0 else f"the entry with the number {number}"


def _orphan_rows(connection: Connection) -> Iterator[Fault]:
    for table in ("recipient", "content"):
        query = f"SELECT count(*) FROM ({_ORPHANS.format(table)})"
        count = connection.execute(query).fetchone()[0]
        if count:
            yield Fault(f"{count} rows of the table {table} belong to no message", table=table)


def _orphan_files(connection: Connection, spool: Path) -> Iterator[Fault]:
    named = {row[0] for row in connection.execute("SELECT number FROM message WHERE is_in_file = 1")}
    for entry, number in body_files(spool):
        if number not in named:
            yield Fault(f"the body file {entry.path} belongs to no message", path=entry.path)


def _tmp_rests(mailboxes: Path, now: datetime) -> Iterator[Fault]:
    oldest = (now - OLDEST).timestamp()
    for folder in sorted(mailboxes.glob("*/*/Maildir")):
        for path in sorted((*folder.glob("tmp/*"), *folder.glob(".*/tmp/*"))):
            if not path.is_symlink() and path.is_file() and path.stat().st_mtime < oldest:
                yield Fault(f"the file {path} was never delivered, and is a rest", path=str(path))


def _unreadable_facts(connection: Connection) -> Iterator[Fault]:
    for table in ("decision", "message_life"):
        count = sum(
            not _is_readable(at_us, facts)
            for at_us, facts in connection.execute(f"SELECT at_us, facts FROM {table}")
        )
        if count:
            yield Fault(f"{count} rows of the table {table} cannot be read; they only tell, and do no harm")


def _is_readable(at_us: int, facts: str) -> bool:
    try:
        from_us(at_us)
        json.loads(facts)
    except (ValueError, OverflowError):
        return False
    return True


# Repair: offline only


def repair(connection: Connection, data_dir: Path, faults: list[Fault]) -> list[str]:
    """Take what can be taken out of the way, deleting nothing; the caller commits.

    Returns:
        A sentence for each thing that was done; what is not repairable stays.
    """
    return [act(connection, data_dir, fault) for fault in faults for act in _acts_for(fault)]


def _acts_for(fault: Fault) -> list[Callable[[Connection, Path, Fault], str]]:
    chosen = ((fault.number, _set_aside), (fault.path, _move_file), (fault.table, _move_rows))
    return [act for is_its, act in chosen if is_its]


def _set_aside(connection: Connection, data_dir: Path, fault: Fault) -> str:
    set_aside(connection, [SetAside(fault.number, f"fsck: {fault.what}")])
    return f"{_name(fault.number)} was set aside"


def _move_file(connection: Connection, data_dir: Path, fault: Fault) -> str:
    path = Path(fault.path)
    target = _free_name(_aside_folder(data_dir), path.name)
    os.rename(path, target)
    sync_folder(path.parent)
    sync_folder(target.parent)
    return f"{path} was moved to {target}"


def _move_rows(connection: Connection, data_dir: Path, fault: Fault) -> str:
    target = _free_name(_aside_folder(data_dir), f"{fault.table}.jsonl")
    found = connection.execute(_ORPHANS.format(fault.table))
    names = [column[0] for column in found.description]
    with open(target, "x", encoding="utf-8", opener=_open_for_owner) as file:
        for row in found:
            values = [value.decode("latin-1") if isinstance(value, bytes) else value for value in row]
            file.write(json.dumps(dict(zip(names, values, strict=True))) + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(target.parent)
    connection.execute(f"DELETE FROM {fault.table} WHERE number NOT IN (SELECT number FROM message)")
    return f"rows of {fault.table} were moved to {target}"


def _open_for_owner(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _aside_folder(data_dir: Path) -> Path:
    folder = data_dir / ASIDE
    folder.mkdir(0o700, exist_ok=True)
    sync_folder(data_dir)
    return folder


def _free_name(folder: Path, name: str) -> Path:
    numbered = (folder / (f"{name}.{number}" if number else name) for number in range(1_000_000))
    return next(path for path in numbered if not os.path.lexists(path))
