"""What the mails that kms writes itself have in common: header fields, and text that any server can take.

Everything is 7-bit: text beyond ASCII goes as quoted-printable in a body and as encoded words in a header.
Whatever a stranger chose in it can put no control octet, no field and no part of its own into the mail, and
makes no line too long.

Flow: dsn.py composes reports and notice.py notices with these.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from email.header import Header

import attrs

from kms.domain.address import Mailbox
from kms.domain.trace import format_date

MAX_LINE_OCTETS = 998

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_NOT_PLAIN = re.compile(rb"[^\t\x20-\x7e]")


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
    return compose_part(fields, "text/plain; charset=utf-8", lines)


def compose_part(fields: Iterable[str], content_type: str, lines: Sequence[bytes]) -> bytes:
    """Make a MIME part of lines; it says how they are encoded (RFC 2045 6)."""
    is_plain = not any(len(line) > MAX_LINE_OCTETS or _NOT_PLAIN.search(line) for line in lines)
    if is_plain:
        encoding = "7bit"
    else:
        encoding = "quoted-printable"
        lines = [binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n") for line in lines]
    head = [*fields, f"Content-Type: {content_type}", f"Content-Transfer-Encoding: {encoding}", ""]
    return b"".join(line + b"\r\n" for line in (*(field.encode() for field in head), *lines))


def clean_line(text: str, limit: int) -> str:
    """Make one harmless line of at most `limit` characters of any text."""
    clean = _CONTROL.sub(" ", text.encode("utf-8", "replace").decode()).strip()
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def _format_reader(mailbox: Mailbox) -> str:
    text = clean_line(str(mailbox), MAX_LINE_OCTETS)
    return text if text.isascii() else f"{_encode_words(text)} :;"


def _encode_words(text: str) -> str:
    clean = clean_line(text, 300)
    if clean.isascii() and len(clean) <= 200:
        return clean
    return Header(clean, "utf-8").encode(linesep="\r\n")
