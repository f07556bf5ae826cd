"""The header section of a message, as octets: where it ends, and what fields stand in it (RFC 5322 2.2).

Nothing is ever rewritten here and nothing is parsed that need not be: a message passes kms as it came. A
header is in wire form, every line ending in CRLF. Names of fields compare without regard to case.

Flow: at the end of DATA the header is counted for loops; a content that is streamed to a file goes through a
`HeaderScanner` on its way.
"""

from __future__ import annotations

import re

MAX_HEADER_OCTETS = 256 * 1024

_END = b"\r\n\r\n"
_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_FOLD = re.compile(rb"\r\n(?=[ \t])")


def split_header(data: bytes) -> tuple[bytes, bytes]:
    """Part a message in its header section and the rest.

    Returns:
        The header with its last CRLF (empty where the message begins with an empty line), and the rest, which
        begins with the empty line; empty when there is none. Both together are `data`.
    """
    if data.startswith(b"\r\n"):
        return b"", data
    end = data.find(_END)
    if end < 0:
        return data, b""
    return data[: end + 2], data[end + 2 :]


def count_received(header: bytes | bytearray) -> int:
    """Count the trace fields, that is, the servers that the message has passed (RFC 5321 6.3)."""
    return len(_RECEIVED.findall(header))


def has_field(header: bytes, name: bytes) -> bool:
    """Tell whether there is a field of that name (without colon)."""
    return re.search(rb"^%b[ \t]*:" % re.escape(name), header, re.IGNORECASE | re.MULTILINE) is not None


def find_fields(header: bytes, name: bytes) -> list[bytes]:
    """Give the values of all fields of that name, first to last: unfolded, without blanks at either end."""
    pattern = rb"^%b[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)" % re.escape(name)
    found = re.findall(pattern, header, re.IGNORECASE | re.MULTILINE)
    return [_FOLD.sub(b"", value).strip(b" \t\r\n") for value in found]


class HeaderScanner:
    """Finds the header of a content that comes in chunks, and keeps no more of it than `MAX_HEADER_OCTETS`.

    Of a longer header the first whole lines within the limit are kept. Servers add their trace fields at the
    top, so those that matter are among them.

    Attributes:
        is_complete: all that will be kept has been seen; later chunks change nothing.
        is_cut: the header was longer than the limit.
    """

    __slots__ = ("_kept", "is_complete", "is_cut")

    def __init__(self) -> None:
        self._kept = bytearray()
        self.is_complete = False
        self.is_cut = False

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk of the content; any split is right, also one within a line end."""
        if self.is_complete:
            return
        kept = self._kept
        start = max(len(kept) - len(_END) + 1, 0)
        kept += chunk[: MAX_HEADER_OCTETS + len(_END) - len(kept)]
        end = -2 if kept.startswith(b"\r\n") else kept.find(_END, start)
        if end != -1:
            del kept[end + 2 :]
            self.is_complete = True
        if len(kept) > MAX_HEADER_OCTETS:
            self._cut()

    def _cut(self) -> None:
        last = self._kept.rfind(b"\r\n", 0, MAX_HEADER_OCTETS)
        del self._kept[last + 2 if last >= 0 else 0 :]
        self.is_complete = self.is_cut = True

    @property
    def header(self) -> bytes:
        """The header, with its last CRLF; before `is_complete`, or with no body, all that has come."""
        return bytes(self._kept)

    @property
    def received_count(self) -> int:
        """See `count_received`."""
        return count_received(self._kept)
