"""A file system that holds nothing but kms: one call then syncs all files of a batch.

`syncfs` writes out whatever anybody has written to the file system, so it is used only where the mailboxes, or the
data folder as a whole, are a mount of their own. Linux reports errors of the write-back through it since 5.8.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

_FIRST_KERNEL = (5, 8)


class OwnFileSystem:
    """Syncs the whole file system that holds `folder`; errors since this object was made are reported once."""

    def __init__(self, folder: Path, syncfs: Callable[[int], int]) -> None:
        self._syncfs = syncfs
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def sync(self) -> None:
        """Return when everything written so far, files and folders, is on disk; raises OSError."""
        if self._syncfs(self._descriptor) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


def find_own_file_system(root: Path) -> OwnFileSystem | None:
    """Look whether the mailboxes (`root`) or the folder above them are a mount of their own; None if not."""
    syncfs = _find_syncfs()
    if syncfs is None or not any(os.path.ismount(folder) for folder in (root, root.parent)):
        return None
    return OwnFileSystem(root, syncfs)


def _find_syncfs() -> Callable[[int], int] | None:
    if os.uname().sysname != "Linux" or _kernel_version(os.uname().release) < _FIRST_KERNEL:
        return None
    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int,)
    function.restype = ctypes.c_int
    return function


def _kernel_version(release: str) -> tuple[int, ...]:
    """Read `6.1.0-13-amd64` as (6, 1); what is no version counts as old."""
    numbers = release.split(".")[:2]
    return tuple(int(number) for number in numbers) if all(map(str.isdecimal, numbers)) else ()
