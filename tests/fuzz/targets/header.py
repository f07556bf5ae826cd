"""A message's content on its way in and out: the end of data, its header, and the trace field with a stranger's name.

The first octet chooses what becomes of bare newlines and whether there is a limit, the second the size of pieces; the
rest is what follows DATA.
"""

from datetime import UTC, datetime
from ipaddress import ip_address

from kms.domain.message import (
    MAX_HEADER_OCTETS,
    HeaderScanner,
    count_received,
    find_fields,
    has_field,
    split_header,
)
from kms.domain.reply import Reply
from kms.domain.trace import TraceFacts, compose_received
from kms.protocol.content_encoder import ContentEncoder, encode_whole
from kms.protocol.smtp_content import BareNewlines, ContentReader
from tests.fuzz.promises import check_no_bare_newlines, lines_of, pieces, split_options


def _read(stream: bytes, size: int, options: int) -> tuple[bytes, bool, bytes, Reply | None]:
    reader = ContentReader(
        BareNewlines.NORMALISE if options & 1 else BareNewlines.REJECT, 100 if options & 2 else 0
    )
    content = rest = b""
    for piece in pieces(stream, size):
        if reader.is_ended:
            rest += piece
        else:
            content += reader.feed(piece)
            rest = reader.rest
    if reader.refusal is not None:
        content = b""
    return content, reader.is_ended, rest, reader.refusal


def _check_header(content: bytes, size: int) -> None:
    header, rest = split_header(content)
    assert header + rest == content
    scanner = HeaderScanner()
    for piece in pieces(content, size):
        scanner.feed(piece)
    assert len(scanner.header) <= MAX_HEADER_OCTETS
    if not scanner.is_cut:
        assert scanner.header == header
        assert scanner.received_count == count_received(header)
    for name in (b"Received", b"Subject", b"Message-ID", b"Date"):
        values = find_fields(header, name)
        assert bool(values) == has_field(header, name)
        for value in values:
            assert b"\r\n" not in value


def _check_encoded(content: bytes, size: int) -> None:
    encoder = ContentEncoder()
    sent = b"".join([encoder.encode(piece) for piece in pieces(content, size)]) + encoder.finish()
    assert sent == encode_whole(content)
    check_no_bare_newlines(sent)
    assert (b"\r\n" + sent).find(b"\r\n.\r\n") == len(sent) - 3, "a content that ends early"


def _check_trace(name: str) -> None:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    facts = TraceFacts(name, ip_address("192.0.2.1"), "mx.test", "ESMTP", name, "1", None, name, at)
    for number, line in enumerate(lines_of(compose_received(facts))):
        assert len(line) <= 998
        assert (line[:1] == b"\t") == (number > 0), "a second field"


def run(data: bytes) -> None:
    options, size, stream = split_options(data)
    whole = _read(stream, 0, options)
    assert _read(stream, size, options) == whole, f"another content in pieces of {size}"
    content = whole[0]
    if whole[1]:
        check_no_bare_newlines(content)
        assert not content or content.endswith(b"\r\n")
    _check_header(content, size)
    _check_encoded(content, size)
    _check_trace(stream.decode("latin-1"))
