"""The content of a message as BDAT brings it: counted chunks, nothing stuffed (RFC 3030).

Promises: a chunk is read to its last octet whatever becomes of it, so that the stream stays in step; what was
refused is not kept; the rules of bare newlines and size are those of DATA, and a CRLF that two chunks part is
no bare newline. A content whose last line has no end gets one, as Postfix does it: what is stored and sent on
are whole lines.
Speed: chunks are passed on as they come and never joined.
"""

from __future__ import annotations

from kms.domain.reply import Reply
from kms.protocol.smtp_content import BareNewlines, ContentSieve


class ChunkReader(ContentSieve):
    """Reads one content from its chunks.

    Attributes:
        wanted_octets: of the chunk under way are still to come.
        is_last: the chunk under way ends the content.
        rest: nothing; as `ContentReader.rest`.
    """

    __slots__ = ("_has_open_line", "_tail", "is_last", "wanted_octets")

    rest = b""

    def __init__(self, bare_newlines: BareNewlines, max_octets: int) -> None:
        super().__init__(bare_newlines, max_octets)
        self._tail = b""
        self._has_open_line = False
        self.wanted_octets = 0
        self.is_last = False

    @property
    def is_ended(self) -> bool:
        """The chunk has come whole."""
        return not self.wanted_octets

    def begin(self, octets: int, is_last: bool) -> None:
        """Begin the next chunk."""
        self.wanted_octets = octets
        self.is_last = is_last

    def feed(self, data: bytes) -> bytes:
        """Take octets, `wanted_octets` at most, and give what of the content is now certain.

        A CR at the end waits for what follows it. Nothing is given once the content is refused.
        """
        self.wanted_octets -= len(data)
        is_end = self.is_last and not self.wanted_octets
        raw = self._tail + data
        self._tail = b"\r" if raw.endswith(b"\r") and not is_end else b""
        content = self._sift(raw.removesuffix(self._tail)) if raw else b""
        if content:
            self._has_open_line = not content.endswith(b"\n")
        if is_end and self._has_open_line and self.refusal is None:
            content += b"\r\n"
        return content


class DiscardedChunk:
    """A chunk that comes where none may: it is read and thrown away.

    Attributes:
        wanted_octets: are still to come.
        is_last: it says that it ends a content.
        refusal: what to answer after its last octet.
    """

    __slots__ = ("is_last", "refusal", "wanted_octets")

    def __init__(self, octets: int, is_last: bool, refusal: Reply) -> None:
        self.wanted_octets = octets
        self.is_last = is_last
        self.refusal = refusal

    @property
    def is_ended(self) -> bool:
        """It has come whole."""
        return not self.wanted_octets

    def feed(self, data: bytes) -> bytes:
        """Take octets, `wanted_octets` at most; gives nothing."""
        self.wanted_octets -= len(data)
        return b""
