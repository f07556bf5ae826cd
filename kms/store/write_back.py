"""Starts writing a file out to the disk, without waiting: a sync that comes later then finds little left to do."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_WRITE = 2  # SYNC_FILE_RANGE_WRITE of sync_file_range(2)


def _find_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):  # another system than Linux: the sync then starts and waits
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    return function


_sync_file_range = _find_sync_file_range()


def start_write_back(descriptor: int) -> None:
    """Start it for all of a file that was written so far; what goes wrong is told by the sync."""
    if _sync_file_range is not None:
        _sync_file_range(descriptor, 0, 0, _WRITE)
