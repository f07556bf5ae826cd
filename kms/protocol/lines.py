"""CRLF lines with a limit.

Promises: only CRLF ends a line; a line over its limit is thrown away while it is read, so that memory stays
bounded. A bare CR or LF stays inside its line, where whoever takes the line sees and refuses it. No I/O.
Flow: a session appends what arrived, takes lines while it reads commands, and all the rest while it reads
content.
"""

from __future__ import annotations

import enum

MAX_DISCARDED_OCTETS = 1024 * 1024

_CRLF = b"\r\n"


class LineFault(enum.Enum):
    """Why there is no line to give.

    TOO_LONG: it was over its limit; it is gone, and the next one follows.
    NO_END: so much came without a line end that the peer speaks no line protocol; nothing follows.
    """

    TOO_LONG = "too long"
    NO_END = "no end"


class LineBuffer:
    """Octets that arrived and were not taken yet."""

    __slots__ = ("_data", "_discarded_octets", "_start")

    def __init__(self) -> None:
        self._data = b""
        self._start = 0
        self._discarded_octets = 0

    @property
    def octets(self) -> int:
        """How many wait here."""
        return len(self._data) - self._start

    @property
    def has_line(self) -> bool:
        """Whether the end of a line waits here."""
        return _CRLF in self._data[self._start :]

    def append(self, data: bytes) -> None:
        """Add what arrived."""
        if self._start == len(self._data):
            self._data = data
        else:
            self._data = self._data[self._start :] + data
        self._start = 0

    def next_line(self, limit_octets: int) -> bytes | LineFault | None:
        """Take one line.

        Args:
            limit_octets: the longest line allowed, without its CRLF.

        Returns:
            The line without its CRLF; a fault in the place of a line; None when no line is complete.
        """
        data, start = self._data, self._start
        if not data and not self._discarded_octets:
            return None
        end = data.find(_CRLF, start)
        if end < 0:
            return self._await_end(limit_octets)
        if end + 2 == len(data):
            self._data = b""
            self._start = 0
        else:
            self._start = end + 2
        if self._discarded_octets or end - start > limit_octets:
            return self._end_long_line(end - start)
        return data[start:end]

    def _await_end(self, limit_octets: int) -> LineFault | None:
        if not self._discarded_octets and self.octets <= limit_octets + 1:
            return None
        kept = self._data[-1:] if self._data.endswith(b"\r") else b""
        self._discarded_octets += self.octets - len(kept)
        self._data = kept
        self._start = 0
        return LineFault.NO_END if self._discarded_octets > MAX_DISCARDED_OCTETS else None

    def _end_long_line(self, last_octets: int) -> LineFault:
        octets = self._discarded_octets + last_octets
        self._discarded_octets = 0
        return LineFault.NO_END if octets > MAX_DISCARDED_OCTETS else LineFault.TOO_LONG

    def take(self, most: int) -> bytes:
        """Take the next octets, lines or not, `most` at most."""
        data, start = self._data, self._start
        if most >= len(data) - start:
            self._data = b""
            self._start = 0
            return data[start:]
        self._start = start + most
        return data[start : start + most]

    def clear(self) -> None:
        """Forget everything."""
        self._data = b""
        self._start = 0
        self._discarded_octets = 0
