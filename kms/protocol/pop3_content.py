"""A stored message as POP3 sends it: LF made CRLF, dots stuffed, the end marked (RFC 1939 3).

Promises: any cut of the message into chunks gives the same octets; the end-of-message line always begins a
line. The octets sent, without the added dots and the last line, are the size that LIST told: each line end,
LF or CRLF in the file, is two, and a last line without an end gets one.

Flow: pop3_server feeds what the listener reads. All work is done on whole chunks, never line by line.
"""

from __future__ import annotations


class MessageEncoder:
    """Turns chunks of one stored message into the octets of a multi-line reply.

    Args:
        body_lines: for TOP, how many lines of the body follow the header; None sends all.
    """

    __slots__ = ("_body_lines", "_holds_cr", "_is_at_line_start", "_is_in_header", "is_complete")

    def __init__(self, body_lines: int | None = None) -> None:
        self._body_lines = body_lines
        self._is_in_header = True
        self._is_at_line_start = True
        self._holds_cr = False
        self.is_complete = False

    def feed(self, data: bytes) -> bytes:
        """Encode the next chunk; `is_complete` says afterwards that TOP needs no more."""
        if self._holds_cr:
            data = b"\r" + data
        self._holds_cr = data.endswith(b"\r")
        if self._holds_cr:
            data = data[:-1]
        data = data.replace(b"\r\n", b"\n")
        if self._body_lines is not None:
            data = self._cut(data)
        return self._encode(data)

    def finish(self) -> bytes:
        """Encode what is held back, and the end-of-message line."""
        held = self._encode(b"\r") if self._holds_cr and not self.is_complete else b""
        return held + (b".\r\n" if self._is_at_line_start else b"\r\n.\r\n")

    def _encode(self, data: bytes) -> bytes:
        if not data:
            return b""
        encoded = data.replace(b"\n", b"\r\n").replace(b"\r\n.", b"\r\n..")
        if self._is_at_line_start and data.startswith(b"."):
            encoded = b"." + encoded
        self._is_at_line_start = data.endswith(b"\n")
        return encoded

    def _cut(self, data: bytes) -> bytes:
        """Leave only what TOP wants of a chunk."""
        start = self._find_body(data) if self._is_in_header else 0
        if self._is_in_header:
            return data
        end = self._find_line_end(data, start)
        self.is_complete = self._body_lines == 0
        return data[:end]

    def _find_body(self, data: bytes) -> int:
        """Find where the body begins in a chunk; notes that the header is over when it does."""
        if self._is_at_line_start and data.startswith(b"\n"):
            blank = 0
        else:
            blank = data.find(b"\n\n") + 1
            if not blank:
                return 0
        self._is_in_header = False
        return blank + 1

    def _find_line_end(self, data: bytes, start: int) -> int:
        """Find where the wanted lines end in a chunk, and count them."""
        wanted = self._body_lines or 0
        present = data.count(b"\n", start)
        if present < wanted:
            self._body_lines = wanted - present
            return len(data)
        end = start
        for _ in range(wanted):
            end = data.find(b"\n", end) + 1
        self._body_lines = 0
        return end
