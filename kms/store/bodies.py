"""Contents of messages that are too large for the database: one file each, in the spool.

A file lies at `spool/<two characters>/<queue id>`, mode 0600. It is written and synced, its folder too,
before the row that names it is committed; it is unlinked only after the row's end was committed. So a row
without its file is damage, and a file without a row is a rest of a crash that `sweep` removes: nobody was
told 250 for it.

All calls here can wait for the disk: the service makes them in a thread.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from sqlite3 import Connection

import attrs

from kms.domain.content import CHUNK_OCTETS, Content, FileContent, InlineContent
from kms.domain.queue_entry import format_queue_id, parse_queue_id
from kms.store.fault import Step, reach
from kms.store.schema import StoreError, sync_folder
from kms.store.write_back import start_write_back

_WRITE_BACK_OCTETS = 1024 * 1024  # so often the disk is set to work while the message still comes

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class BodyDamaged(OSError):
    """A body file is not what was written: its text says why."""


def body_path(spool: Path, number: int) -> Path:
    """Where the content of entry `number` lies; the last characters spread it over 1,024 folders."""
    queue_id = format_queue_id(number).rjust(2, "0")
    return spool / queue_id[-2:] / queue_id


class BodyWriter:
    """Writes one body file.

    Raises OSError from any call (disk full, no right); the caller then calls `abort`, and answers 4yz.

    Args:
        spool: the folder that holds all body files; must exist.
        number: of the entry that the content will belong to; never used before.
    """

    __slots__ = ("_crc32", "_descriptor", "_is_new_folder", "_octets", "_path", "_spool", "_started_octets")

    def __init__(self, spool: Path, number: int) -> None:
        self._spool = spool
        self._path = body_path(spool, number)
        self._octets = 0
        self._started_octets = 0
        self._crc32 = 0
        reach(Step.BODY_OPEN)
        self._is_new_folder = _make_folder(self._path.parent)
        self._descriptor = os.open(self._path, _NEW, 0o600)

    @property
    def octets(self) -> int:
        """How much was written."""
        return self._octets

    def write(self, data: bytes) -> None:
        """Append `data`."""
        reach(Step.BODY_WRITE)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self._crc32 = zlib.crc32(data, self._crc32)
        self._octets += len(data)
        if self._octets - self._started_octets >= _WRITE_BACK_OCTETS:
            self._started_octets = self._octets
            start_write_back(self._descriptor)

    def finish(self) -> FileContent:
        """Sync file and folder; after this the content is on stable storage."""
        reach(Step.BODY_SYNC)
        os.fsync(self._descriptor)
        self._close()
        reach(Step.BODY_FOLDER_SYNC)
        sync_folder(self._path.parent)
        if self._is_new_folder:
            sync_folder(self._spool)
        reach(Step.BODY_STORED)
        return FileContent(str(self._path), self._octets, self._crc32)

    def abort(self) -> None:
        """Remove what was written; also after a failed `finish`, and more than once."""
        self._close()
        with suppress(OSError):
            self._path.unlink()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _make_folder(path: Path) -> bool:
    """Make one folder where it is missing; True when this call made it."""
    try:
        path.mkdir(0o700)
    except FileExistsError:
        return False
    return True


def read_chunks(content: FileContent) -> Iterator[bytes]:
    """Read a body file in chunks of at most `CHUNK_OCTETS`.

    Raises:
        BodyDamaged: at the first chunk when the file is no plain file of ours or has another size; after the
            last one when the octets are not those that were written, so that a sender must not end the data.
        OSError: the file cannot be opened or read.
    """
    descriptor = _open(content)
    try:
        crc32, left = 0, content.octets
        while left:
            chunk = os.read(descriptor, min(left, CHUNK_OCTETS))
            if not chunk:
                raise BodyDamaged("the body file became shorter while it was read")
            crc32, left = zlib.crc32(chunk, crc32), left - len(chunk)
            yield chunk
        if content.crc32 is not None and crc32 != content.crc32:
            raise BodyDamaged("the body file holds other octets than were written")
    finally:
        os.close(descriptor)


def read_head(content: Content, most_octets: int) -> bytes:
    """Read the first octets of a content, where its header is.

    Raises as `read_chunks` does, except that changed octets go unseen.
    """
    if isinstance(content, InlineContent):
        return content.data[:most_octets]
    descriptor = _open(content)
    try:
        head = b""
        wanted = min(most_octets, content.octets)
        while len(head) < wanted:
            chunk = os.read(descriptor, wanted - len(head))
            if not chunk:
                raise BodyDamaged("the body file became shorter while it was read")
            head += chunk
        return head
    finally:
        os.close(descriptor)


def _open(content: FileContent) -> int:
    descriptor = os.open(content.path, _READ)
    facts = os.fstat(descriptor)
    wrong = ""
    if not stat.S_ISREG(facts.st_mode):
        wrong = "the body file is not a plain file"
    elif facts.st_uid != os.geteuid():
        wrong = "the body file belongs to another user"
    elif facts.st_size != content.octets:
        wrong = f"the body file has {facts.st_size} octets instead of {content.octets}"
    if wrong:
        os.close(descriptor)
        raise BodyDamaged(wrong)
    return descriptor


def find_damage(content: FileContent) -> str:
    """Read a whole body file; returns why it cannot be used, or "" when it is what was written."""
    try:
        for _ in read_chunks(content):
            pass
    except BodyDamaged as error:
        return str(error)
    except FileNotFoundError:
        return "the body file is missing"
    except OSError as error:
        return f"the body file cannot be read: {error.strerror}"
    return ""


def remove_body(path: str | Path) -> None:
    """Unlink a body file whose row is gone; one that is gone already is well. Raises OSError."""
    reach(Step.BODY_UNLINK)
    with suppress(FileNotFoundError):
        os.unlink(path)
    reach(Step.BODY_UNLINKED)


@attrs.frozen
class Swept:
    """What `sweep` found.

    Attributes:
        removed: paths of the files that no row named.
        missing: numbers of the entries whose file is not there.
    """

    removed: tuple[str, ...]
    missing: tuple[int, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each entry without its file, which will be set aside when it is claimed."""
        return tuple(f"The body file of {format_queue_id(number)} is missing" for number in self.missing)


def sweep(connection: Connection, spool: Path, started_at: datetime) -> Swept:
    """Remove the body files that no entry names and that are older than this process.

    Only plain files named like a queue id, in their own folder, are ever removed; anything else in the spool
    is somebody's and stays.

    Args:
        spool: the folder of all body files.
        started_at: when this process started; younger files may belong to a message that is being received.
    """
    named = {row[0] for row in connection.execute("SELECT number FROM message WHERE is_in_file = 1")}
    removed = []
    for entry, number in body_files(spool):
        if number in named:
            named.discard(number)
        elif entry.stat(follow_symlinks=False).st_mtime < started_at.timestamp():
            remove_body(entry.path)
            removed.append(entry.path)
    return Swept(tuple(removed), tuple(sorted(named)))


def require_database(database: Path, spool: Path) -> None:
    """Raise StoreError where body files lie beside a database that is missing or empty.

    A new one would know nothing of them, and `sweep` would take them for rests.
    """
    is_there = database.exists() and database.stat().st_size > 0
    if not is_there and any(body_files(spool)):
        raise StoreError(
            f"The database {database} is missing or empty, but {spool} holds mail: restore the database from a "
            f"backup, or move {spool} away to begin anew"
        )


def body_files(spool: Path) -> Iterator[tuple[os.DirEntry[str], int]]:
    """All files in the spool that lie where a body file belongs, each with its entry's number."""
    with os.scandir(spool) as folders:
        for folder in folders:
            if len(folder.name) != 2 or not folder.is_dir(follow_symlinks=False):
                continue
            with os.scandir(folder.path) as files:
                for entry in files:
                    number = parse_queue_id(entry.name)
                    if number is None or not entry.is_file(follow_symlinks=False):
                        continue
                    if body_path(spool, number) == spool / folder.name / entry.name:
                        yield entry, number
