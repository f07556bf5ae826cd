"""Composes a delivery status notification: the report that tells a sender what became of a message.

A report is a multipart/report of three parts: words for people, facts for programs, the header of the
original (RFC 6522 3, RFC 3464 2). It is 7-bit throughout, so that any server can take it: text beyond ASCII
goes as quoted-printable or base64. Whatever a stranger chose in it, a server's reply or the original's header,
can put no control octet, no field and no part of its own into it, and makes no line too long.

Flow: service/bounces makes a `DeliveryReport`, `compose` makes the message; it goes into the queue with the
null reverse-path, in the transaction that removes the recipients it is about.
"""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime

import attrs

from kms.domain.address import Mailbox
from kms.domain.mail_text import (
    MAX_LINE_OCTETS,
    MailHead,
    clean_line,
    compose_head,
    compose_part,
    compose_text,
    wrap_text,
)
from kms.domain.reply import Reply
from kms.domain.report_text import ReportKind, ReportText
from kms.domain.status import EnhancedStatus
from kms.domain.status_sentence import BUILT_IN_SENTENCES, StatusSentences
from kms.domain.trace import format_date

MAX_HEADER_OCTETS = 40 * 1024
"""So much of the original's header goes into a report; it keeps the report small enough for the database."""

_MAX_REPLY_OCTETS = 500
_TEXT_COLUMNS = 72
_CLASSES = {ReportKind.FAILED: 5, ReportKind.DELAYED: 4, ReportKind.DELIVERED: 2, ReportKind.RELAYED: 2}
_WITHOUT_SERVER = ("", "none", "local")
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+")


@attrs.frozen
class RecipientReport:
    """What became of one recipient.

    Attributes:
        original: the address that RCPT named, never a private alias target.
        reply: why it failed or is late: the server's words, or ours.
        where: the hop that said so, such as "mx.far.test[192.0.2.1]:25"; "none" and "local" name no server.
        last_status: what the last attempt said, where `reply` only says that time is up; else empty.
        will_retry_until: when the attempts end; None = not known, or they have ended.
    """

    original: Mailbox
    reply: Reply
    where: str
    last_status: str = ""
    will_retry_until: datetime | None = None


@attrs.frozen
class DeliveryReport:
    """The facts of one report.

    Attributes:
        kind: failed, delayed, delivered or relayed; it holds for all recipients of the report.
        hostname: ours, which is also that of the report's From.
        recipient: who gets it: the original's reverse-path.
        queue_id: of the original.
        arrived_at: when the original arrived.
        at: now.
        recipients: those it is about, at least one.
        original_header: the header section of the original, as in the queue.
        text: the template of the words.
        postmaster: whom the words name for questions; an address that takes mail.
        sentences: what status codes mean, in the language of `text`.
    """

    kind: ReportKind
    hostname: str
    recipient: Mailbox
    queue_id: str
    arrived_at: datetime
    at: datetime
    recipients: tuple[RecipientReport, ...]
    original_header: bytes
    text: ReportText
    postmaster: Mailbox
    sentences: StatusSentences = BUILT_IN_SENTENCES


def compose(report: DeliveryReport) -> bytes:
    """Make the message, header and body, every line ending in CRLF, all octets ASCII.

    RFC 3464 2: the top level is multipart/report with report-type=delivery-status. RFC 3834 3.1.7: it says
    that a machine wrote it, so that no other machine answers.
    """
    text = report.text.fill(_make_values(report))
    parts = [
        compose_text(text.body, "Content-Description: Notification"),
        _compose_status(report),
        _compose_original(report.original_header),
    ]
    boundary = _choose_boundary(report, parts)
    delimiter = f"--{boundary}\r\n".encode()
    opening = b"This is a report in MIME format (RFC 6522).\r\n\r\n"
    body = opening + b"".join(delimiter + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    return _compose_header(report, text.subject, boundary) + b"\r\n" + body


def _compose_header(report: DeliveryReport, subject: str, boundary: str) -> bytes:
    head = MailHead(
        hostname=report.hostname,
        readers=(report.recipient,),
        subject=subject,
        at=report.at,
        token=_make_token(report),
        auto_submitted="auto-replied",
    )
    kind = f'multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"'
    return compose_head(head, f"Content-Type: {kind}")


def _make_values(report: DeliveryReport) -> dict[str, str]:
    until = [item.will_retry_until for item in report.recipients if item.will_retry_until is not None]
    return {
        "hostname": report.hostname,
        "queue_id": report.queue_id,
        "arrived": _format_time(report.arrived_at),
        "recipients": "\n\n".join(_describe(report, item) for item in report.recipients),
        "until": _format_time(max(until)) if until else report.sentences.no_end,
        "postmaster": str(report.postmaster),
    }


def _format_time(at: datetime) -> str:
    """Print an instant for people of any language."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _describe(report: DeliveryReport, item: RecipientReport) -> str:
    """Say of one recipient what his status means and what to do, beside the very words of the server."""
    words = _words_of(item)
    has_server = item.where not in _WITHOUT_SERVER
    reason = clean_line(report.sentences.quote(item.where, words) if has_server else words, _MAX_REPLY_OCTETS)
    lines = [f"<{clean_line(str(item.original), MAX_LINE_OCTETS)}>"]
    for paragraph in (report.sentences.explain(_classify(report.kind, item.reply)), f"({reason})"):
        lines += [f"    {line}" for line in wrap_text(paragraph, _TEXT_COLUMNS)]
    return "\n".join(lines)


def _words_of(item: RecipientReport) -> str:
    return item.last_status or str(item.reply)


def _compose_original(header: bytes) -> bytes:
    if len(header) > MAX_HEADER_OCTETS:
        end = header.rfind(b"\r\n", 0, MAX_HEADER_OCTETS)
        header = header[: end if end > 0 else MAX_HEADER_OCTETS]
    return compose_part(
        ["Content-Description: Undelivered message header"],
        "text/rfc822-headers",
        header.removesuffix(b"\r\n").split(b"\r\n"),
    )


def _compose_status(report: DeliveryReport) -> bytes:
    lines = [
        "Content-Description: Delivery report",
        "Content-Type: message/delivery-status",
        "",
        f"Reporting-MTA: dns; {report.hostname}",
        f"Arrival-Date: {format_date(report.arrived_at)}",
    ]
    for item in report.recipients:
        lines += ["", *_compose_recipient(report.kind, item)]
    return "".join(f"{line}\r\n" for line in lines).encode("ascii", "replace")


def _compose_recipient(kind: ReportKind, item: RecipientReport) -> list[str]:
    """Make the fields about one recipient (RFC 3464 2.3)."""
    has_server = item.where not in _WITHOUT_SERVER
    words = clean_line(_words_of(item), _MAX_REPLY_OCTETS)
    fields = [
        f"Final-Recipient: {_format_typed(item.original)}",
        f"Action: {kind.value}",
        f"Status: {_classify(kind, item.reply)}",
        _fold(f"Diagnostic-Code: {'smtp' if has_server else 'x-kms'}; {words}"),
    ]
    host = _HOST.match(item.where)
    if has_server and host is not None:
        fields.insert(3, f"Remote-MTA: dns; {host.group()[:255]}")
    if item.will_retry_until is not None:
        fields.append(f"Will-Retry-Until: {format_date(item.will_retry_until)}")
    return fields


def _classify(kind: ReportKind, answer: Reply) -> EnhancedStatus:
    """Give the status of a report; its class is that of the report, whatever the server mixed up."""
    klass = _CLASSES[kind]
    status = answer.status
    return EnhancedStatus(klass, status.subject, status.detail) if status else EnhancedStatus(klass, 0, 0)


def _fold(field: str) -> str:
    return "\r\n\t".join(textwrap.wrap(field, 76, break_long_words=False, break_on_hyphens=False))


def _format_typed(mailbox: Mailbox) -> str:
    """Print an address with its type; one beyond ASCII in the ASCII form of RFC 6533 3."""
    text = clean_line(str(mailbox), MAX_LINE_OCTETS)
    if text.isascii():
        return f"rfc822; {text}"
    return "utf-8; " + "".join(
        character if "!" <= character <= "~" and character not in "\\+=" else f"\\x{{{ord(character):X}}}"
        for character in text
    )


def _choose_boundary(report: DeliveryReport, parts: list[bytes]) -> str:
    stem = boundary = f"=_{_make_token(report)}"
    number = 0
    while any(boundary.encode() in part for part in parts):
        number += 1
        boundary = f"{stem}.{number}"
    return boundary


def _make_token(report: DeliveryReport) -> str:
    return f"{report.at:%Y%m%d%H%M%S.%f}.{report.queue_id}.{report.kind.value}"
