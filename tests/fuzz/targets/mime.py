"""A content made fit for seven bits: refused, or whole, however it comes in pieces, and for good.

The first octet is not used, the second is the size of pieces; the rest is the content.
"""

from kms.protocol.content_encoder import encode_whole
from kms.protocol.mime_walker import MAX_LINE_OCTETS, CannotConvert
from kms.protocol.seven_bit import SevenBitPlanner, convert
from tests.fuzz.promises import check_no_bare_newlines, pieces, split_options


def _convert(content: bytes, size: int) -> bytes | None:
    planner = SevenBitPlanner()
    try:
        for piece in pieces(content, size):
            planner.feed(piece)
        plan = planner.finish()
    except CannotConvert:
        return None
    return b"".join(convert(plan, pieces(content, size)))


def run(data: bytes) -> None:
    _, size, stream = split_options(data)
    content = encode_whole(stream).removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
    converted = _convert(content, 0)
    assert _convert(content, size) == converted, f"another content in pieces of {size}"
    if converted is None:
        return
    assert converted.isascii()
    assert b"\0" not in converted
    assert max(map(len, converted.split(b"\r\n"))) <= MAX_LINE_OCTETS
    check_no_bare_newlines(converted)
    assert _convert(converted, size) == converted, "converted once more it is another"
