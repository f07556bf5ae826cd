"""A log file of lines, gathered and written in groups.

Promises: one event is one line; text from outside is escaped, so that nobody forges a line; a full disk or a
missing folder never stops the mail (the lines are lost, and the operator log says so once). Lines are written
at most `_GATHER_SECONDS` after the event, and at `flush`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from kms.service.clock import Clock

_GATHER_SECONDS = 0.05
_MOST_LINES_HELD = 1000


def escape(text: str) -> str:
    """Make text from outside safe for a log line: printable ASCII stays, anything else is escaped."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii")


def _open_stdout() -> int:
    return os.dup(1)


def _open_journal() -> int:
    """Connect to the journal as systemd's own services do: a stream with a short preface."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as journal:
        journal.connect("/run/systemd/journal/stdout")
        journal.sendall(b"kms\n\n6\n0\n0\n0\n0\n")
        return journal.detach()


STREAMS: dict[str, Callable[[], int]] = {"stdout": _open_stdout, "journal": _open_journal}


class LineLog:
    """One log.

    Args:
        path: absolute file name, or "stdout" or "journal".
        clock: for the gathering timer and the stamp.
        stamp: prints an instant at the head of a line, given the seconds since the epoch, local time.
    """

    def __init__(self, path: str, clock: Clock, stamp: Callable[[int], str]) -> None:
        self._path = path
        self._clock = clock
        self._stamp = stamp
        self._lines: list[str] = []
        self._timer: IDelayedCall | None = None
        self._descriptor: int | None = None
        self._stamped_second = -1
        self._stamp_text = ""
        self._is_broken = False
        self._log = Logger(namespace="kms.log")

    def open(self) -> None:
        """Open the file for appending; called after the fork, and again to follow a rotation.

        Raises OSError where it cannot be opened; the file of before stays in use.
        """
        self.flush()
        descriptor = STREAMS.get(self._path, self._open_file)()
        self._close_file()
        self._descriptor = descriptor
        self._is_broken = False

    def _open_file(self) -> int:
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, text: str) -> None:
        """Add one line; `text` has been escaped where it came from outside."""
        second = self._clock.epoch_seconds()
        if second != self._stamped_second:
            self._stamped_second = second
            self._stamp_text = self._stamp(second)
        self._lines.append(f"{self._stamp_text}{text}\n")
        if self._timer is None:
            self._timer = self._clock.call_later(_GATHER_SECONDS, self.flush)
        elif len(self._lines) >= _MOST_LINES_HELD:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if not self._lines:
            return
        text = "".join(self._lines)
        self._lines.clear()
        try:
            self._write_all(text.encode("ascii", "backslashreplace"))
            self._is_broken = False
        except OSError as error:
            if not self._is_broken:
                self._log.error("{path} cannot be written: {error}", path=self._path, error=error)
            self._is_broken = True

    def _write_all(self, data: bytes) -> None:
        while data and self._descriptor is not None:
            data = data[os.write(self._descriptor, data) :]

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        self._close_file()

    def _close_file(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
