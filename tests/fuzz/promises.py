"""What must hold whatever came in; shared by the targets."""

import itertools
import re
from collections.abc import Iterator

_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})([ -])(?:[\t -~]|[\xc2-\xf4][\x80-\xbf]{1,3})*")
_BARE_NEWLINE = re.compile(rb"\r(?!\n)|(?<!\r)\n")

MAX_REPLY_LINE_OCTETS = 512


def pieces(data: bytes, octets: int) -> Iterator[bytes]:
    """The data in pieces of so many octets; whole for 0."""
    size = octets or len(data) or 1
    return (data[start : start + size] for start in range(0, len(data), size))


def lines_of(data: bytes) -> list[bytes]:
    """Lines without their CRLF; every one must have it, and no CR or LF may stand alone."""
    assert not data or data.endswith(b"\r\n"), f"cut: {data[-80:]!r}"
    assert _BARE_NEWLINE.search(data) is None, f"a bare CR or LF: {data!r}"
    return data.split(b"\r\n")[:-1]


def check_smtp_replies(said: bytes) -> None:
    """Whole replies: three digits, one code for all lines of one, lines of 512 octets at most, printable.

    They are UTF-8, since a session may say SMTPUTF8 (RFC 6531 3.7.4); that others get ASCII is tested elsewhere.
    """
    code = None
    for line in lines_of(said):
        assert len(line) + 2 <= MAX_REPLY_LINE_OCTETS, f"{len(line)} octets: {line!r}"
        found = _REPLY_LINE.fullmatch(line)
        assert found is not None, f"no reply: {line!r}"
        assert code in (None, found[1]), f"another code within a reply: {line!r}"
        code = found[1] if found[2] == b"-" else None
    assert code is None, "the last reply has no end"


def check_pop3_replies(said: bytes) -> None:
    """The first line is a status; a status has 512 octets at most (the other lines may be those of a message)."""
    lines = lines_of(said)
    for line in lines:
        if not line.startswith((b"+OK", b"-ERR", b"+ ")):
            continue
        assert len(line) + 2 <= MAX_REPLY_LINE_OCTETS, f"{len(line)} octets: {line!r}"
    assert not lines or lines[0].startswith((b"+OK", b"-ERR", b"+ ")), f"no status: {lines[0]!r}"


def check_no_bare_newlines(data: bytes) -> None:
    """Every CR is followed by an LF, and every LF follows a CR."""
    assert _BARE_NEWLINE.search(data) is None, f"a bare CR or LF: {data[:200]!r}"


def check_printable(text: str) -> None:
    """One line without controls, fit for a log, a header field or a command."""
    assert not any(ord(character) < 32 or ord(character) == 127 for character in text), repr(text)


def split_options(data: bytes) -> tuple[int, int, bytes]:
    """The first octet as a set of switches, the second as a size of pieces (1 to 64), and the rest."""
    options, size = itertools.islice(itertools.chain(data, (0, 0)), 2)
    return options, 1 + size % 64, data[2:]
