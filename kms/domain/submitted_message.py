"""A message that a program of this machine hands in with sendmail(1): what it may lack, and whom its header names.

It becomes wire form: every line ends in CRLF. What a message must have (RFC 5322 3.6) and lacks is added in front;
with -t the recipients are those of To, Cc and Bcc, and Bcc is removed. All else stays octet for octet.
Flow: cli/sendmail.py asks, before it hands the message to the server or to the maildrop.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import formataddr, getaddresses

import attrs

from kms.domain.message import find_fields, has_field, split_header
from kms.domain.trace import format_date

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BCC = re.compile(rb"^bcc[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)
_LAST_DOT = re.compile(rb"(?:^|(?<=\n))\.\r?\n")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")


@attrs.frozen
class SubmissionFacts:
    """What is added where it is missing.

    Attributes:
        sender: the address of From.
        full_name: of the sender; "" = none.
        at: now.
        message_id: without brackets.
    """

    sender: str
    full_name: str
    at: datetime
    message_id: str


def cut_at_dot(data: bytes) -> bytes:
    """Give what stands before a line with a single dot, which ends the input unless -i is given."""
    found = _LAST_DOT.search(data)
    return data if found is None else data[: found.start()]


def to_wire_form(data: bytes) -> bytes:
    """End every line in CRLF, the last one too; text that begins without a header gets an empty one before it."""
    data = _LINE_END.sub(b"\r\n", data)
    if data and not data.endswith(b"\r\n"):
        data += b"\r\n"
    if data and not data.startswith(b"\r\n") and not _FIELD.match(data):
        data = b"\r\n" + data
    return data


def find_recipients(data: bytes) -> list[str]:
    """List the addresses of To, Cc and Bcc, each once, in the order in which they stand there."""
    header, _ = split_header(data)
    values = [
        value.decode("utf-8", "replace")
        for name in (b"to", b"cc", b"bcc")
        for value in find_fields(header, name)
    ]
    return list(dict.fromkeys(address for _, address in getaddresses(values) if address))


def remove_bcc(data: bytes) -> bytes:
    """Take Bcc out of the header."""
    header, rest = split_header(data)
    return _BCC.sub(b"", header) + rest


def complete(data: bytes, facts: SubmissionFacts) -> bytes:
    """Add From, Date and Message-ID where they are missing; `data` is in wire form."""
    header, _ = split_header(data)
    fields = b""
    if not has_field(header, b"from"):
        fields += f"From: {formataddr((facts.full_name, facts.sender))}\r\n".encode()
    if not has_field(header, b"date"):
        fields += f"Date: {format_date(facts.at)}\r\n".encode("ascii")
    if not has_field(header, b"message-id"):
        fields += f"Message-ID: <{facts.message_id}>\r\n".encode("ascii")
    return fields + (data or b"\r\n")
