"""A content made fit for a server without 8BITMIME (RFC 6152 3, RFC 2045 6).

Promises: what comes out is of seven bits in lines of at most 998 octets, and each part decodes to what it was; text
becomes quoted-printable, or base64 where most of it is beyond ASCII, and all else base64. What may not be touched is
not: signed and encrypted parts, messages that are no RFC 822 messages, parts that are coded already, header fields.
Where seven bits cannot hold one of these, the whole is refused. Text before the first and after the last part, which
nobody is shown, loses what is not ASCII.
Flow: service/content_conversion.py plans with one pass over a content, and sends what a second one writes.
"""

from __future__ import annotations

import binascii
import enum
import re
from collections.abc import Iterable, Iterator

from kms.protocol.mime_walker import (
    MAX_LINE_OCTETS,
    CannotConvert,
    Entity,
    Kind,
    MimeWalker,
    needs_coding,
)

_ASCII = bytes(range(128))
_LEGIBLE = bytes(octet if 0 < octet < 128 else ord("?") for octet in range(256))
_BASE64_OCTETS = 57  # of content, in a line of 76
_CODING_FIELD = re.compile(
    rb"^content-transfer-encoding[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE
)
_VERSION_FIELD = re.compile(rb"^mime-version[ \t]*:", re.IGNORECASE | re.MULTILINE)
_TYPE_FIELD = re.compile(rb"^content-type[ \t]*:", re.IGNORECASE | re.MULTILINE)
_UNKNOWN_TEXT = b"Content-Type: text/plain; charset=unknown-8bit\r\n"  # RFC 1428


class Coding(enum.Enum):
    """What becomes of an entity's Content-Transfer-Encoding; KEPT: what it was."""

    KEPT = b""
    SEVEN_BIT = b"7bit"
    QUOTED = b"quoted-printable"
    BASE64 = b"base64"


Plan = tuple[Coding, ...]
"""One for each entity, in the order of their headers."""


class SevenBitPlanner:
    """Finds out how a content is to be converted: feed it whole, then `finish`. Raises CannotConvert from either."""

    def __init__(self) -> None:
        self._walker = MimeWalker(self)
        self._codings: list[Coding] = []
        self._octets = self._beyond_ascii = 0
        self._parted: set[int] = set()  # multiparts with a part
        self._doubtful: set[int] = set()  # those with something aside that is not ASCII

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the content."""
        self._walker.feed(chunk)

    def finish(self) -> Plan:
        """Take the end of the content."""
        self._walker.finish()
        if self._doubtful - self._parted:
            raise CannotConvert("a multipart has no parts")
        return tuple(self._codings)

    def begin(self, entity: Entity, has_body: bool) -> None:
        """See `Visitor`."""
        self._codings.append(Coding.KEPT if entity.kind is Kind.SEALED else Coding.SEVEN_BIT)
        self._octets = self._beyond_ascii = 0

    def body(self, entity: Entity, data: bytes, ends_line: bool) -> None:
        """See `Visitor`."""
        self._octets += len(data)
        if not needs_coding(data):
            return
        if entity.kind is Kind.SEALED:
            raise CannotConvert("a part that may not be recoded holds what seven bits cannot")
        self._beyond_ascii += len(data.translate(None, _ASCII))
        is_legible = entity.kind is Kind.TEXT and self._beyond_ascii * 3 <= self._octets
        self._codings[-1] = Coding.QUOTED if is_legible else Coding.BASE64

    def aside(self, entity: Entity, data: bytes, ends_line: bool) -> None:
        """See `Visitor`."""
        if needs_coding(data):
            self._doubtful.add(entity.number)

    def delimiter(self, entity: Entity, line: bytes) -> None:
        """See `Visitor`."""
        if line == entity.delimiter:
            self._parted.add(entity.number)


def convert(plan: Plan, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Convert the content that the plan was made of; gives what comes out of each chunk, never nothing."""
    writer = _Writer(plan)
    walker = MimeWalker(writer)
    for chunk in chunks:
        walker.feed(chunk)
        if data := writer.take():
            yield data
    walker.finish()
    if data := writer.finish():
        yield data


class _Writer:
    """Writes the converted content, told by a `MimeWalker` of the original."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._output: list[bytes] = []
        self._coding = Coding.KEPT
        self._raw = bytearray()  # of a base64 part, not yet written
        self._line_end = b""  # of its last line, which may belong to the delimiter
        self._aside_octets = 0

    def take(self) -> bytes:
        """Give what was written since the last time."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def finish(self) -> bytes:
        """End the content and give the last of it."""
        self._raw += self._line_end
        self._end_part()
        return self.take()

    def begin(self, entity: Entity, has_body: bool) -> None:
        """See `Visitor`."""
        self._coding = self._plan[entity.number]
        self._output.append(_write_header(entity, self._coding))
        if has_body:
            self._output.append(b"\r\n")

    def body(self, entity: Entity, data: bytes, ends_line: bool) -> None:
        """See `Visitor`."""
        match self._coding:
            case Coding.QUOTED:
                self._output.append(binascii.b2a_qp(data, istext=False).replace(b"=\n", b"=\r\n"))
                self._output.append(b"\r\n" if ends_line else b"=\r\n")
            case Coding.BASE64:
                self._raw += self._line_end + data
                self._line_end = b"\r\n" if ends_line else b""
                self._write_base64(len(self._raw) // _BASE64_OCTETS * _BASE64_OCTETS)
            case _:
                self._output.append(data + b"\r\n" if ends_line else data)

    def aside(self, entity: Entity, data: bytes, ends_line: bool) -> None:
        """See `Visitor`."""
        legible = data.translate(_LEGIBLE)[: MAX_LINE_OCTETS - self._aside_octets]
        self._aside_octets = 0 if ends_line else self._aside_octets + len(legible)
        self._output.append(legible + b"\r\n" if ends_line else legible)

    def delimiter(self, entity: Entity, line: bytes) -> None:
        """See `Visitor`."""
        self._end_part()
        self._output.append(line + b"\r\n")

    def _end_part(self) -> None:
        self._write_base64(len(self._raw))
        self._line_end = b""
        self._coding = Coding.KEPT

    def _write_base64(self, octets: int) -> None:
        raw = bytes(self._raw[:octets])
        del self._raw[:octets]
        for at in range(0, octets, _BASE64_OCTETS):
            self._output.append(binascii.b2a_base64(raw[at : at + _BASE64_OCTETS], newline=False) + b"\r\n")


def _write_header(entity: Entity, coding: Coding) -> bytes:
    header = entity.header
    if coding is Coding.KEPT:
        return header
    field = b"Content-Transfer-Encoding: %b\r\n" % coding.value
    header, count = _CODING_FIELD.subn(field, header)
    if coding is Coding.SEVEN_BIT:
        return header
    if entity.is_message and not _VERSION_FIELD.search(header):
        header += b"MIME-Version: 1.0\r\n"
    if not _TYPE_FIELD.search(header):
        header += _UNKNOWN_TEXT
    return header if count else header + field
