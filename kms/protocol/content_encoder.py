"""A content made ready for DATA: dots doubled, ended with CRLF and the final dot (RFC 5321 4.5.2).

Promises: however the content is cut into chunks, the octets that leave are the same, and CRLF.CRLF stands
only at their end. A bare CR or LF, which no content of the queue should hold, leaves as CRLF: an old or
damaged file must not smuggle a message past the next hop.

Flow: chunks of the queue's content -> here -> the client session's output.
"""

from __future__ import annotations

import re

from kms.domain.newlines import has_bare_newline

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class ContentEncoder:
    """Encodes one content, chunk by chunk; `finish` gives its end."""

    __slots__ = ("_held_back", "_is_at_line_start")

    def __init__(self) -> None:
        self._is_at_line_start = True
        self._held_back = b""  # a CR whose LF may come with the next chunk

    def encode(self, chunk: bytes) -> bytes:
        """Give the octets to send for `chunk`, as far as they are certain."""
        data = self._held_back + chunk if self._held_back else chunk
        if data.endswith(b"\r"):
            self._held_back = b"\r"
            data = data[:-1]
        else:
            self._held_back = b""
        return self._encode(data)

    def finish(self) -> bytes:
        """Give what ends the content: its last CRLF if it had none, and the dot line."""
        rest = self._encode(self._held_back)
        return rest + (b".\r\n" if self._is_at_line_start else b"\r\n.\r\n")

    def _encode(self, data: bytes) -> bytes:
        if not data:
            return b""
        if has_bare_newline(data):
            data = _BARE.sub(b"\r\n", data)
        stuffed = data.replace(b"\r\n.", b"\r\n..")
        if self._is_at_line_start and data[0] == 46:
            stuffed = b"." + stuffed
        self._is_at_line_start = data.endswith(b"\r\n")
        return stuffed


def encode_whole(data: bytes) -> bytes:
    """Encode a content that is held whole, its end included."""
    encoder = ContentEncoder()
    return encoder.encode(data) + encoder.finish()
