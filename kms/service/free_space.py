"""How much room there is for mail, asked at most once a second."""

from __future__ import annotations

import os
from pathlib import Path

from kms.service.clock import Clock

_ASK_EVERY_SECONDS = 1.0


class FreeSpace:
    """The free space of the file system that holds the data folder.

    Args:
        folder: any folder of it.
        clock: when to ask again.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._asked_at = float("-inf")
        self._octets = 0

    def octets(self) -> int:
        """Octets that kms may still use; 0 when the file system does not answer, so that no mail is taken."""
        now = self._clock.monotonic()
        if now - self._asked_at >= _ASK_EVERY_SECONDS:
            self._asked_at = now
            try:
                found = os.statvfs(self._folder)
                self._octets = found.f_bavail * found.f_frsize
            except OSError:
                self._octets = 0
        return self._octets
