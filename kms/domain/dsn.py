"""Composes a delivery status notification: the report that tells a sender what became of a message.

A report is a multipart/report of three parts: words for people, facts for programs, the header of the
original or all of it (RFC 6522 3, RFC 3464 2). It is 7-bit throughout, so that any server can take it: text
beyond ASCII goes as quoted-printable or base64. Only where the reader takes it, addresses beyond ASCII come in
the forms of RFC 6533. Whatever a stranger chose in it, a server's reply or the original's header, can put no
control octet, no field and no part of its own into it, and makes no line too long.

Flow: service/bounces makes a `DeliveryReport`, `compose` makes the message; it goes into the queue with the
null reverse-path, in the transaction that removes the recipients it is about.
"""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime

import attrs

from kms.domain.address import Mailbox
from kms.domain.dsn_request import decode_original_recipient, decode_xtext, encode_utf8_address
from kms.domain.mail_text import (
    MAX_LINE_OCTETS,
    MailHead,
    clean_line,
    compose_head,
    compose_part,
    compose_text,
    fold_text,
    wrap_text,
)
from kms.domain.reply import Reply
from kms.domain.report_text import ReportKind, ReportText
from kms.domain.status import EnhancedStatus
from kms.domain.status_sentence import BUILT_IN_SENTENCES, StatusSentences
from kms.domain.trace import format_date

MAX_HEADER_OCTETS = 40 * 1024
"""So much of the original's header goes into a report; it keeps the report small enough for the database."""

MAX_RETURNED_OCTETS = 50 * 1024
"""A larger message is never returned whole, whatever RET says."""

_MAX_REPLY_OCTETS = 500
_TEXT_COLUMNS = 72
_CLASSES = {ReportKind.FAILED: 5, ReportKind.DELAYED: 4, ReportKind.DELIVERED: 2, ReportKind.RELAYED: 2}
_WITHOUT_SERVER = ("", "none", "local")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
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
        original_recipient: ORCPT, as it came; "" = not said.
        is_expanded: it was not relayed to one hop; the address stands for several others.
    """

    original: Mailbox
    reply: Reply
    where: str
    last_status: str = ""
    will_retry_until: datetime | None = None
    original_recipient: str = ""
    is_expanded: bool = False


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
        original_rest: what follows the header of the original, where it is to be returned whole; else None.
        envelope_id: ENVID, as it came; "" = not said.
        takes_utf8: the reader gets it over SMTPUTF8, or from a mailbox of ours: it may be 8-bit.
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
    original_rest: bytes | None = None
    envelope_id: str = ""
    takes_utf8: bool = False


def compose(report: DeliveryReport) -> bytes:
    """Make the message, header and body, every line ending in CRLF; ASCII unless the report `takes_utf8`.

    RFC 3464 2: the top level is multipart/report with report-type=delivery-status. RFC 3834 3.1.7: it says
    that a machine wrote it, so that no other machine answers.
    """
    text = report.text.fill(_make_values(report))
    parts = [
        compose_text(fold_text(text.body), "Content-Description: Notification"),
        _compose_status(report),
        _compose_original(report),
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


def _compose_original(report: DeliveryReport) -> bytes:
    """Give the message back whole where that is asked and can be done exactly, else its header."""
    header, rest = report.original_header, report.original_rest
    is_global = _is_global(report) and not header.isascii() and _is_utf8(header)
    if rest is not None and _may_pass(header + rest, report.takes_utf8):
        content = header + rest
        kind = "message/global" if is_global else "message/rfc822"
        encoding = "7bit" if content.isascii() else "8bit"
        head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        return f"Content-Description: Undelivered message\r\n{head}".encode() + content
    if len(header) > MAX_HEADER_OCTETS:
        end = header.rfind(b"\r\n", 0, MAX_HEADER_OCTETS)
        header = header[: end if end > 0 else MAX_HEADER_OCTETS]
    return compose_part(
        ["Content-Description: Message header"],
        "message/global-headers" if is_global else "text/rfc822-headers",
        header.removesuffix(b"\r\n").split(b"\r\n"),
    )


def _may_pass(content: bytes, takes_8bit: bool) -> bool:
    """Tell whether content can stand in a report as it is (RFC 2046 5.2.1: its encoding is 7bit or 8bit)."""
    if not takes_8bit and not content.isascii():
        return False
    lines = content.split(b"\r\n")
    return not any(len(line) > MAX_LINE_OCTETS or _CONTROL.search(line) for line in lines)


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _compose_status(report: DeliveryReport) -> bytes:
    """Make the part for programs (RFC 3464 2), in UTF-8 where an address needs it and the reader takes it."""
    is_global = _is_global(report)
    lines = [
        "Content-Description: Delivery report",
        f"Content-Type: message/{'global-' if is_global else ''}delivery-status",
        *(["Content-Transfer-Encoding: 8bit"] if is_global else ()),
        "",
    ]
    if report.envelope_id:
        lines.append(f"Original-Envelope-Id: {clean_line(decode_xtext(report.envelope_id), MAX_LINE_OCTETS)}")
    lines += [
        f"Reporting-MTA: dns; {report.hostname}",
        f"Arrival-Date: {format_date(report.arrived_at)}",
    ]
    for item in report.recipients:
        lines += ["", *_compose_recipient(report, item, is_global)]
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8" if is_global else "ascii", "replace")


def _is_global(report: DeliveryReport) -> bool:
    """Tell whether an address is beyond ASCII, and the reader takes it so (RFC 6533)."""
    return report.takes_utf8 and not all(map(_is_ascii, report.recipients))


def _is_ascii(item: RecipientReport) -> bool:
    return str(item.original).isascii() and decode_original_recipient(item.original_recipient)[1].isascii()


def _compose_recipient(report: DeliveryReport, item: RecipientReport, is_global: bool) -> list[str]:
    """Make the fields about one recipient (RFC 3464 2.3), in their order there."""
    has_server = item.where not in _WITHOUT_SERVER
    words = clean_line(_words_of(item), _MAX_REPLY_OCTETS)
    original = str(item.original)
    final = ("rfc822" if original.isascii() else "utf-8", original)
    fields = []
    if item.original_recipient:
        typed = _format_typed(*decode_original_recipient(item.original_recipient), is_global)
        fields += [line for line in (f"Original-Recipient: {typed}",) if len(line) <= MAX_LINE_OCTETS]
    fields += [
        f"Final-Recipient: {_format_typed(*final, is_global)}",
        f"Action: {'expanded' if item.is_expanded else report.kind.value}",
        f"Status: {_classify(report.kind, item.reply)}",
    ]
    host = _HOST.match(item.where)
    if has_server and host is not None:
        fields.append(f"Remote-MTA: dns; {host.group()[:255]}")
    fields.append(_fold(f"Diagnostic-Code: {'smtp' if has_server else 'x-kms'}; {words}"))
    fields.append(f"Last-Attempt-Date: {format_date(report.at)}")
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


def _format_typed(kind: str, address: str, is_global: bool) -> str:
    """Print an address with its type; one beyond ASCII in the ASCII form of RFC 6533 3, unless it may be UTF-8."""
    text = clean_line(address, MAX_LINE_OCTETS)
    if kind == "utf-8" and not is_global:
        text = encode_utf8_address(text)
    return f"{kind}; {text}"


def _choose_boundary(report: DeliveryReport, parts: list[bytes]) -> str:
    stem = boundary = f"=_{_make_token(report)}"
    number = 0
    while any(boundary.encode() in part for part in parts):
        number += 1
        boundary = f"{stem}.{number}"
    return boundary


def _make_token(report: DeliveryReport) -> str:
    return f"{report.at:%Y%m%d%H%M%S.%f}.{report.queue_id}.{report.kind.value}"
