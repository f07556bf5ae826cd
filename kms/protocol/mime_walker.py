"""The MIME entities of a message, as far as a conversion to seven bits must know them (RFC 2045, 2046).

A content goes in piece by piece, any split is right; a visitor is told of headers, of the lines of bodies, of
delimiters, and of what stands aside before the first and after the last. No more is held than one header and a piece
of one line. Where an entity may not be recoded it is sealed, and its inside is not looked into.
Flow: protocol/seven_bit.py walks a content twice, to plan and to write.
"""

from __future__ import annotations

import enum
import re
from typing import Protocol

import attrs

from kms.domain.message import MAX_HEADER_OCTETS, find_fields

MAX_LINE_OCTETS = 998
_PIECE_OCTETS = 64 * 1024
_MAX_DEPTH = 50
_MAX_ENTITIES = 10_000
_TYPE = re.compile(rb"([^\s/;]+)/([^\s/;]+)")
_BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"([^"\\]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_IDENTITY = frozenset((b"", b"7bit", b"8bit", b"binary"))


class CannotConvert(Exception):
    """The content holds something that no server of seven bits can be given."""


class Kind(enum.Enum):
    """What may be done with an entity: recode its body (TEXT, OTHER), look inside, or nothing (SEALED)."""

    TEXT = "text"
    OTHER = "other"
    MULTIPART = "multipart"
    MESSAGE = "message"
    SEALED = "sealed"


@attrs.frozen
class Entity:
    """A message or a part of one.

    Attributes:
        number: 0 is the message itself; counted in the order of their headers.
        header: with its last CRLF.
        is_message: it is a whole message, not a part of a multipart.
        delimiter: of a multipart, with the two hyphens.
        is_digest: its parts are messages where they do not say what they are.
    """

    number: int
    kind: Kind
    header: bytes
    is_message: bool
    delimiter: bytes = b""
    is_digest: bool = False


class Visitor(Protocol):
    """Who is told; `ends_line` is False for a piece of a line that goes on, or that nothing ends."""

    def begin(self, entity: Entity, has_body: bool) -> None:
        """Take a header; without a body not even the empty line follows."""

    def body(self, entity: Entity, data: bytes, ends_line: bool) -> None:
        """Take a line of a body, without its end."""

    def aside(self, entity: Entity, data: bytes, ends_line: bool) -> None:
        """Take a line that belongs to no part."""

    def delimiter(self, entity: Entity, line: bytes) -> None:
        """Take a delimiter of a multipart; what stood before it has ended, and with it the CRLF before it."""


def needs_coding(data: bytes) -> bool:
    """Tell whether a line, or a piece of one, is none of seven bits (RFC 2045 2.7)."""
    return not data.isascii() or len(data) > MAX_LINE_OCTETS or b"\0" in data


class MimeWalker:
    """Walks through one content; `finish` ends it. Raises CannotConvert from either."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self._rest = b""
        self._is_line_start = True
        self._open: list[Entity] = []
        self._header: bytearray | None = bytearray()  # that is being read
        self._is_message = True
        self._now: Entity | None = None
        self._is_aside = False
        self._count = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the content, in wire form."""
        data = self._rest + chunk
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._take(data[start:end].removesuffix(b"\r"), True)
            start = end + 1
        self._rest = data[start:]
        if len(self._rest) > _PIECE_OCTETS:
            piece, self._rest = self._rest[:-1], self._rest[-1:]  # its last octet may be a CR
            self._take(piece, False)

    def finish(self) -> None:
        """Take the end of the content."""
        if self._rest:
            self._take(self._rest, False)
        if self._header is not None:
            self._end_header(has_body=False)

    def _take(self, data: bytes, ends_line: bool) -> None:
        is_line_start, self._is_line_start = self._is_line_start, ends_line
        if is_line_start and data.startswith(b"--") and self._delimits(data.rstrip(b" \t")):
            return
        if self._header is not None:
            self._take_header(self._header, data, ends_line)
        else:
            assert self._now is not None
            tell = self._visitor.aside if self._is_aside else self._visitor.body
            tell(self._now, data, ends_line)

    def _take_header(self, header: bytearray, data: bytes, ends_line: bool) -> None:
        if not data and ends_line:
            self._end_header(has_body=True)
            return
        header += data + b"\r\n"
        if needs_coding(data) or len(header) > MAX_HEADER_OCTETS:
            raise CannotConvert("a header field holds what seven bits cannot")

    def _end_header(self, *, has_body: bool) -> None:
        header, self._header = bytes(self._header or b""), None
        in_digest = bool(self._open) and not self._is_message and self._open[-1].is_digest
        entity = _classify(self._count, header, self._is_message, in_digest)
        self._count += 1
        if self._count > _MAX_ENTITIES or len(self._open) > _MAX_DEPTH:
            raise CannotConvert("it has too many parts, or they are nested too deep")
        self._now, self._is_aside = entity, entity.kind is Kind.MULTIPART
        self._visitor.begin(entity, has_body)
        if entity.kind is Kind.MULTIPART:
            self._open.append(entity)
        elif entity.kind is Kind.MESSAGE and has_body:
            self._header, self._is_message = bytearray(), True

    def _delimits(self, line: bytes) -> bool:
        for depth in range(len(self._open) - 1, -1, -1):
            entity = self._open[depth]
            is_close = line == entity.delimiter + b"--"
            if is_close or line == entity.delimiter:
                if self._header is not None:
                    self._end_header(has_body=False)
                self._visitor.delimiter(entity, line)
                del self._open[depth + (not is_close) :]
                self._now, self._is_aside = entity, True
                self._header, self._is_message = None if is_close else bytearray(), False
                return True
        return False


def _classify(number: int, header: bytes, is_message: bool, in_digest: bool) -> Entity:
    types, codings = find_fields(header, b"Content-Type"), find_fields(header, b"Content-Transfer-Encoding")
    default = b"message/rfc822" if in_digest else b"text/plain"
    found = _TYPE.match(types[0] if types else default) or _TYPE.match(b"text/plain")
    assert found is not None
    main, sub = found.group(1).lower(), found.group(2).lower()
    coding = codings[0].lower().partition(b"(")[0].strip() if codings else b""
    if len(types) > 1 or len(codings) > 1 or coding not in _IDENTITY:
        return Entity(number, Kind.SEALED, header, is_message)
    match main, sub:
        case b"multipart", _ if sub not in (b"signed", b"encrypted") and (
            boundary := _BOUNDARY.search(types[0])
        ):
            delimiter = b"--" + (boundary.group(1) or boundary.group(2)).rstrip(b" \t")
            return Entity(number, Kind.MULTIPART, header, is_message, delimiter, sub == b"digest")
        case b"message", b"rfc822":
            kind = Kind.MESSAGE
        case ((b"multipart" | b"message"), _):
            kind = Kind.SEALED
        case _:
            kind = Kind.TEXT if main == b"text" else Kind.OTHER
    return Entity(number, kind, header, is_message)
