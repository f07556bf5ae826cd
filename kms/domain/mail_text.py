"""What the mails that kms writes itself have in common: header fields, and text that any server can take.

Everything is 7-bit: text beyond ASCII goes as encoded words in a header, and in a body as quoted-printable, or
where most of it is beyond ASCII as base64. Whatever a stranger chose in it can put no control octet, no field and
no part of its own into the mail, and makes no line too long.

Flow: dsn.py composes reports and notice.py notices with these.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from email.header import Header

import attrs

from kms.domain.address import Mailbox
from kms.domain.trace import format_date

MAX_LINE_OCTETS = 998
_MAX_WORD_OCTETS = 75
_LINE_COLUMNS = 72
_LONG_LINE_COLUMNS = 80

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_NOT_PLAIN = re.compile(rb"[^\t\x20-\x7e]")
_WIDE = "\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6"
_STAYS_BEHIND = "、。，．：；？！）」』】ー"
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_IS_WIDE = re.compile(f"[{_WIDE}]")
_BETWEEN_WIDE = re.compile(f"(?<=[{_WIDE}])\n(?=[{_WIDE}])")
_PIECE = re.compile(rf"\s+|[{_WIDE}][{_STAYS_BEHIND}]*|[^\s{_WIDE}]+(?: [:;!?](?!\S))?")  # as French has them


@attrs.frozen
class MailHead:
    """What the header of such a mail says.

    Attributes:
        hostname: ours, which is also that of From.
        readers: for whom it is; at least one.
        subject: of any characters.
        at: now.
        token: makes the Message-ID unique; of ASCII letters, digits and dots.
        auto_submitted: how it came about (RFC 3834 5): "auto-replied" or "auto-generated", so that no other
            machine answers.
    """

    hostname: str
    readers: tuple[Mailbox, ...]
    subject: str
    at: datetime
    token: str
    auto_submitted: str


def compose_head(head: MailHead, *more: str) -> bytes:
    """Make the fields that all have, and `more`, each ending in CRLF; the header's end is the caller's."""
    fields = (
        f"From: Mail Delivery System <MAILER-DAEMON@{head.hostname}>",
        "To: " + ",\r\n\t".join(map(_format_reader, head.readers)),
        f"Subject: {_encode_words(head.subject)}",
        f"Date: {format_date(head.at)}",
        f"Message-ID: <{head.token}@{head.hostname}>",
        f"Auto-Submitted: {head.auto_submitted}",
        "MIME-Version: 1.0",
        *more,
    )
    return "".join(f"{field}\r\n" for field in fields).encode("ascii", "replace")


def compose_text(text: str, *fields: str) -> bytes:
    """Make a part of plain text, its header first; lines of `text` are parted by "\\n"."""
    clean = _CONTROL_IN_TEXT.sub("?", text.replace("\r\n", "\n"))
    lines = [line.encode() for line in clean.rstrip("\n").split("\n")]
    content_type = "text/plain; charset=utf-8"
    if sum(map(len, map(_NOT_ASCII.findall, lines))) * 3 > sum(map(len, lines)):
        content = b"\r\n".join([*lines, b""])
        coded = (
            binascii.b2a_base64(content[at : at + 57], newline=False) for at in range(0, len(content), 57)
        )
        return _join_part(fields, content_type, "base64", coded)
    return compose_part(fields, content_type, lines)


def compose_part(fields: Iterable[str], content_type: str, lines: Sequence[bytes]) -> bytes:
    """Make a MIME part of lines; it says how they are encoded (RFC 2045 6)."""
    is_plain = not any(len(line) > MAX_LINE_OCTETS or _NOT_PLAIN.search(line) for line in lines)
    if is_plain:
        encoding = "7bit"
    else:
        encoding = "quoted-printable"
        lines = [binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n") for line in lines]
    return _join_part(fields, content_type, encoding, lines)


def _join_part(fields: Iterable[str], content_type: str, encoding: str, lines: Iterable[bytes]) -> bytes:
    head = [*fields, f"Content-Type: {content_type}", f"Content-Transfer-Encoding: {encoding}", ""]
    return b"".join(line + b"\r\n" for line in (*(field.encode() for field in head), *lines))


def clean_line(text: str, limit: int) -> str:
    """Make one harmless line of at most `limit` characters of any text."""
    clean = _CONTROL.sub(" ", text.encode("utf-8", "replace").decode()).strip()
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def join_lines(lines: Iterable[str]) -> str:
    """Make one line of several: with blanks between, but between wide characters."""
    return _BETWEEN_WIDE.sub("", "\n".join(lines)).replace("\n", " ")


def wrap_text(text: str, columns: int) -> Iterator[str]:
    """Break a paragraph into lines of at most so many columns: at blanks, and between wide characters."""
    line, width = "", 0
    for piece in _split_pieces(text, columns):
        its_width = _measure(piece)
        if width + its_width > columns and line:
            yield line.rstrip()
            line, width = "", 0
        if line or not piece.isspace():
            line, width = line + piece, width + its_width
    if line:
        yield line.rstrip()


def _split_pieces(text: str, columns: int) -> Iterator[str]:
    for piece in _PIECE.findall(text):
        yield from (piece[at : at + columns] for at in range(0, len(piece), columns))


def fold_text(body: str) -> str:
    """Break paragraphs anew in which values have made a line long; those with indented lines are tables."""
    return "\n\n".join(map(_fold_paragraph, body.split("\n\n")))


def _fold_paragraph(paragraph: str) -> str:
    lines = paragraph.split("\n")
    is_table = any(line.startswith(" ") for line in lines)
    if is_table or all(_measure(line) <= _LONG_LINE_COLUMNS for line in lines):
        return paragraph
    return "\n".join(wrap_text(join_lines(lines), _LINE_COLUMNS))


def _measure(text: str) -> int:
    """Count the columns of a terminal: a Chinese or Japanese character takes two."""
    return len(text) + len(_IS_WIDE.findall(text))


def _format_reader(mailbox: Mailbox) -> str:
    text = clean_line(str(mailbox), MAX_LINE_OCTETS)
    return text if text.isascii() else f"{_encode_words(text)} :;"


def _encode_words(text: str) -> str:
    clean = clean_line(text, 300)
    if clean.isascii() and len(clean) <= 200:
        return clean
    return Header(clean, "utf-8", maxlinelen=_MAX_WORD_OCTETS, header_name="Subject").encode(linesep="\r\n")
