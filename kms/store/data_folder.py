"""The data folder: its subfolders, all readable by their owner only, and the lock that one server holds.

Flow: after the fork and before the database is opened, the server opens the folder, which takes the lock;
`kmsctl` does so too where it works on the store itself. The lock goes with the process that holds it, so a
killed server leaves none behind.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from kms.store.schema import StoreError, sync_folder

SUBFOLDERS = ("spool", "mailboxes", "log", "tls", "dkim")

_LOCK = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class DataFolder:
    """One data folder, and the exclusive right to work on it between `open` and `close`.

    Args:
        path: the folder; made with `SUBFOLDERS` where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def open(self) -> None:
        """Make what is missing, close it to other users, and take the lock.

        Raises:
            StoreError: a folder cannot be made, is none, or belongs to another user; or another process holds
                the lock.
        """
        try:
            self._prepare()
            self._descriptor = os.open(self._path / "lock", _LOCK, 0o600)
        except OSError as error:
            raise StoreError(f"The data folder {self._path} cannot be used: {error}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            self._release()
            if isinstance(error, BlockingIOError):
                raise StoreError(
                    f"Another server runs on the data folder {self._path} (process {holder})"
                ) from None
            raise StoreError(f"The data folder {self._path} cannot be locked: {error}") from error
        self._write_holder(f"{os.getpid()}\n")

    def close(self) -> None:
        """Give the right up; more than once, or without `open`, does no harm."""
        if self._descriptor >= 0:
            self._write_holder("")
            self._release()

    def _prepare(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self._path, *(self._path / name for name in SUBFOLDERS)):
            folder.mkdir(0o700, exist_ok=True)
            if folder.stat().st_mode & 0o077:
                folder.chmod(0o700)
        sync_folder(self._path)
        sync_folder(self._path.parent)

    def _write_holder(self, text: str) -> None:
        """Write the process number, which is for people only: a full disk must not hinder a start."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode("ascii"), 0)

    def _release(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
