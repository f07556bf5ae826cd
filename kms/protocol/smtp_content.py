"""The content of a message as DATA brings it: end of data, dots, bare newlines, size (RFC 5321 4.1.1.4).

Promises: only CRLF.CRLF ends the content, however it is cut into chunks; what is refused is still read to its
real end, and no octet of it is kept from then on; what is passed on has no bare CR or LF. Lines may be of any
length; NUL and 8-bit octets stay what they are.
Speed: everything is a bulk search over a chunk, nothing looks at single lines, and chunks are never joined.
"""

from __future__ import annotations

import enum
import re
import sys

from kms.domain import reply
from kms.domain.newlines import has_bare_newline, normalise_newlines
from kms.domain.reply import Reply

_END_OF_DATA = b"\r\n.\r\n"
_DOT_LINE = re.compile(
    rb"\n\."
)  # without it there is neither an end nor a dot to take away: asked first, for speed
_BEGINNINGS_OF_END = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


class BareNewlines(enum.Enum):
    """What to do with a CR or LF that stands alone in a content: refuse the message, or make it CRLF."""

    REJECT = "reject"
    NORMALISE = "normalise"


class ContentSieve:
    """What a content is held to, however it comes: its newlines and its size.

    Attributes:
        refusal: why the content is not to be had, once that is known; final only at the end.
    """

    __slots__ = ("_bare_newlines", "_max_octets", "_octets", "refusal")

    def __init__(self, bare_newlines: BareNewlines, max_octets: int) -> None:
        self._bare_newlines = bare_newlines
        self._max_octets = max_octets
        self._octets = 0
        self.refusal: Reply | None = None

    def _sift(self, content: bytes) -> bytes:
        """Judge a part that does not begin or end within a CRLF; give it, or nothing once all is refused."""
        if has_bare_newline(content):
            if self._bare_newlines is BareNewlines.NORMALISE:
                content = normalise_newlines(content)
            else:
                self.refusal = self.refusal or reply.BARE_NEWLINE
        self._octets += len(content)
        if self._octets > self._max_octets > 0:
            self.refusal = reply.CONTENT_TOO_LARGE
        return content if self.refusal is None else b""


class ContentReader(ContentSieve):
    """Reads one content from chunks.

    It holds back the last octets of a chunk, four at most, where they may be the beginning of the end. It
    begins with a CRLF of its own making, as the line before the content ended in one: so a dot in the first
    line is no special case.

    Attributes:
        is_ended: the end of data has come.
        rest: after the end, the octets behind it.
        wanted_octets: all that there are.
        is_last: its end is that of the content.
    """

    __slots__ = ("_is_begun", "_tail", "is_ended", "rest")

    wanted_octets = sys.maxsize
    is_last = True

    def __init__(self, bare_newlines: BareNewlines, max_octets: int) -> None:
        super().__init__(bare_newlines, max_octets)
        self._tail = b"\r\n"
        self._is_begun = False
        self.is_ended = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Take a chunk and give what of the content is now certain; nothing once it is refused."""
        raw = self._tail + data
        has_dots = _DOT_LINE.search(raw) is not None
        end = raw.find(_END_OF_DATA) if has_dots else -1
        if end >= 0:
            self.is_ended = True
            self.rest = raw[end + 5 :]
            return self._pass_on(raw[: end + 2], has_dots)
        held = _count_held_back(raw)
        self._tail = raw[len(raw) - held :]
        return self._pass_on(raw[: len(raw) - held], has_dots)

    def _pass_on(self, raw: bytes, has_dots: bool) -> bytes:
        if not raw:
            return b""
        content = raw.replace(b"\r\n.", b"\r\n") if has_dots else raw
        if not self._is_begun:
            self._is_begun = True
            content = content[2:]
        return self._sift(content)


def _count_held_back(raw: bytes) -> int:
    for beginning in _BEGINNINGS_OF_END:
        if raw.endswith(beginning):
            return len(beginning)
    return 0
