"""The database of kms: how it is opened, its tables, and their migrations.

Promises: what is committed is on stable storage (`journal_mode = WAL` with `synchronous = FULL`; NORMAL does
not sync at COMMIT). A file that is no database, is damaged, or was made by a newer kms, is refused with one
clear sentence and left as it is. Instants are stored as integer microseconds since 1970, UTC.

Flow: `service.database` opens the writer's and the reader's connection here; `kmsctl` does so where no server
runs. Deleted mail is not overwritten (`secure_delete` is off): the file is readable by its owner only.
"""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Connection
from urllib.parse import quote

from kms.store.migrations import MIGRATIONS
from kms.store.queue_triggers import prepare_connection

IN_MEMORY = ":memory:"

__all__ = [
    "IN_MEMORY",
    "MAX_US",
    "MIGRATIONS",
    "StoreError",
    "from_us",
    "open_database",
    "open_reader",
    "reserve_log",
    "to_us",
]

MAX_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999: no stored instant lies beyond it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PREPARED = 1024  # one text for each number of rows, see many_rows
_PAGE_OCTETS = 8192
_LOG_PAGES = 2000  # then the log is brought into the database, and begun anew
_LOG_OCTETS = (_LOG_PAGES + 500) * _PAGE_OCTETS
_BUSY_SECONDS = 5.0
_MAGIC = b"SQLite format 3\0"
_WHOLE_CHECK_OCTETS = 64 * 1024 * 1024


class StoreError(Exception):
    """What is remembered cannot be read or written; the text is one sentence for the operator."""


def to_us(at: datetime) -> int:
    """Turn an aware instant into what the tables hold."""
    return (at - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Turn what the tables hold into an instant; raises OverflowError where no datetime can hold it."""
    return _EPOCH + timedelta(microseconds=us)


_SMALL_TABLES = ("message", "recipient", "account", "alias", "credential", "relay_window", "meta")


def open_database(path: Path | str) -> Connection:
    """Open the database for reading and writing, make it where there is none, and migrate it.

    The connection is in autocommit mode (who needs a transaction says BEGIN) and may be used by one thread at
    a time, whichever it is.

    Args:
        path: the file, or `IN_MEMORY`.

    Raises:
        StoreError: it cannot be opened, is damaged, or is newer than this kms; the file is untouched.
    """
    try:
        if path != IN_MEMORY:
            _prepare_file(Path(path))
        connection = sqlite3.connect(
            str(path),
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_PREPARED,
        )
        try:
            _configure(connection)
            _migrate(connection)
            prepare_connection(connection)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"The database {path} cannot be opened: {error}") from error
    return connection


def open_reader(path: Path | str) -> Connection:
    """Open a second connection that only reads; the database must exist. Raises StoreError."""
    try:
        connection = sqlite3.connect(
            _read_only(Path(path)),
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT count(*) FROM meta")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StoreError(f"The database {path} cannot be read: {error}") from error
    return connection


def reserve_log(path: Path | str) -> None:
    """Write the write-ahead log's file out to its usual size, with zeros behind what it holds.

    A commit that overwrites blocks is on disk several times sooner than one that makes the file longer. SQLite
    takes nothing behind its last valid frame for a frame: zeros fail its checksum.

    Args:
        path: of the database; it is open, and nobody writes meanwhile.

    Raises:
        OSError: the disk is full, or the log cannot be written; nothing is lost but speed, and no room is used.
    """
    descriptor = os.open(f"{path}-wal", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = before = os.fstat(descriptor).st_size
        try:
            while size < _LOG_OCTETS:
                size += os.pwrite(descriptor, bytes(min(1 << 20, _LOG_OCTETS - size)), size)
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def check_whole(connection: Connection) -> list[str]:
    """Check every page and index; takes long for a large database. Returns what is wrong; empty = nothing."""
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if found == ["ok"] else found


def _read_only(path: Path) -> str:
    return f"file:{quote(str(path.absolute()))}?mode=ro"


def _prepare_file(path: Path) -> None:
    """Make an empty file that only we can read, or look at the one that is there without touching it."""
    size = path.stat().st_size if path.exists() else 0
    if size:
        _check(path, size)
        return
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise StoreError(
            f"The database {path} is missing or empty, but its log {log} is not: restore the database from a "
            "backup, or move the log away to begin anew"
        )
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    sync_folder(path.parent)


def sync_folder(path: Path | str) -> None:
    """Make the names in a folder durable; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(path: Path, size: int) -> None:
    """Raise StoreError for a database that is not fit for use.

    The work is bounded: of a large database the contents are left out, which are most of it; one that cannot
    be read is found, and its entry set aside, when it is claimed.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise StoreError(f"The file {path} is no SQLite database: restore it from a backup")
    try:
        connection = sqlite3.connect(_read_only(path), uri=True, timeout=_BUSY_SECONDS)
        try:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            found = _find_damage(connection, is_whole=size <= _WHOLE_CHECK_OCTETS or version == 0)
        finally:
            connection.close()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_READONLY"):
            return  # a power cut in the middle of its making: whoever opens it for writing takes that back
        found, version = str(error), 0
    if found:
        raise StoreError(f"The database {path} is damaged ({found}): restore it from a backup")
    if version > len(MIGRATIONS):
        raise StoreError(f"The database {path} was made by a newer kms (its version is {version})")


def _find_damage(connection: Connection, is_whole: bool) -> str:
    checks = (
        ["PRAGMA quick_check(1)"] if is_whole else [f"PRAGMA quick_check({name})" for name in _SMALL_TABLES]
    )
    for check in checks:
        found = str(connection.execute(check).fetchone()[0])
        if found != "ok":
            return " ".join(found.replace("*** in database main ***", "").split())
    return ""


def _configure(connection: Connection) -> None:
    for pragma in (
        f"page_size = {_PAGE_OCTETS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        f"wal_autocheckpoint = {_LOG_PAGES}",
        "journal_size_limit = 67108864",
        "cache_size = -16384",
        "temp_store = MEMORY",
        "secure_delete = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _migrate(connection: Connection) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    for number in range(version, len(MIGRATIONS)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
