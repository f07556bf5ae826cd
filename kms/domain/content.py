"""A message's content as the queue keeps it: header and body, in wire form.

Wire form: every line ends in CRLF, no dot-stuffing, no end-of-data line. Small contents ride in memory and
in the database; larger ones are files, and are only ever read in chunks.
"""

from __future__ import annotations

import attrs

INLINE_LIMIT_OCTETS = 64 * 1024
CHUNK_OCTETS = 64 * 1024


@attrs.frozen
class InlineContent:
    """A content that is held whole."""

    data: bytes

    @property
    def octets(self) -> int:
        """Its size in wire form."""
        return len(self.data)


@attrs.frozen
class FileContent:
    """A content that lies in a file of the spool.

    Attributes:
        path: absolute; the file was written and synced before this value was made.
        octets: its size in wire form, that is, the file's size.
        crc32: checksum of the octets, to find damage; None where it is not known.
    """

    path: str
    octets: int
    crc32: int | None = None


Content = InlineContent | FileContent
