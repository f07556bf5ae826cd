"""The trace field that kms writes on top of a message, and the date in it (RFC 5321 4.4).

Every part that a stranger can choose, the name he gave in EHLO above all, is reduced to harmless characters,
so the field can neither be broken in two nor grow past a line's limit (RFC 5322 2.1.1).

Flow: composed at the end of DATA, or when a content grows beyond memory, before the message is stored.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime

import attrs

from kms.domain.address import Mailbox
from kms.domain.address_group import ClientAddress

MAX_NAME_OCTETS = 255

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_NOT_IN_COMMENT = re.compile(r"[^ !-'*-\[\]-~]")
_ADDRESS_NAME = re.compile(r".*[\[\]:]|[0-9.]+\Z")


@attrs.define
class TraceFacts:
    """What a trace field tells of one message.

    Attributes:
        client_name: what the client said in EHLO or HELO, of any characters and length; "" = nothing.
        client_address: its IP address; None = hidden, and then a name that is an address is hidden too.
        hostname: ours.
        protocol: the word of RFC 3848 or RFC 6531 4.3, such as "ESMTPSA".
        tls: version and cipher; None = not encrypted.
        queue_id: of the message.
        recipient: the one recipient; None where there are several, who must not learn of each other.
        login: the authenticated account; None = none, or not disclosed.
        at: the time of arrival.
    """

    client_name: str
    client_address: ClientAddress | None
    hostname: str
    protocol: str
    tls: str | None
    queue_id: str
    recipient: Mailbox | None
    login: str | None
    at: datetime


@functools.lru_cache(maxsize=64)
def _print_second(at: datetime) -> str:
    return format_date(at)


def format_date(at: datetime) -> str:
    """Print a date and time as mail does (RFC 5322 3.3).

    Args:
        at: with a time zone.
    """
    zone = "+0000" if at.tzinfo is UTC else at.strftime("%z")[:5]
    return (
        f"{_DAYS[at.weekday()]}, {at.day} {_MONTHS[at.month - 1]} {at.year:04}"
        f" {at.hour:02}:{at.minute:02}:{at.second:02} {zone}"
    )


def compose_received(facts: TraceFacts) -> bytes:
    """Make the `Received` field of a message, folded, with its CRLF.

    RFC 5321 4.4: the client by the name it gave and its address, our name, protocol and queue id, and the
    recipient where there is only one. RFC 6531 3.7.3: a recipient in UTF-8 is named only in a message that
    is itself internationalised.
    """
    clauses = [f"Received: from {_name_client(facts)}"]
    if facts.login is not None:
        clauses.append(f"(authenticated as {_reduce(_NOT_IN_COMMENT, facts.login)})")
    clauses.append(f"by {facts.hostname}")
    tls = "" if facts.tls is None else f" ({_reduce(_NOT_IN_COMMENT, facts.tls)})"
    clauses.append(f"with {facts.protocol}{tls}")
    date = _print_second(facts.at.replace(microsecond=0))
    recipient = facts.recipient
    if recipient is not None and (recipient.is_ascii or facts.protocol.startswith("UTF8")):
        clauses.append(f"id {facts.queue_id}")
        clauses.append(f"for <{recipient}>; {date}\r\n")
    else:
        clauses.append(f"id {facts.queue_id}; {date}\r\n")
    return "\r\n\t".join(clauses).encode()


def _name_client(facts: TraceFacts) -> str:
    name = _reduce(_NOT_IN_NAME, facts.client_name) or "unknown"
    address = facts.client_address
    if address is None:
        return "unknown" if _ADDRESS_NAME.match(name) else name
    return f"{name} ([{_print_address(address)}])"


@functools.lru_cache(maxsize=4096)
def _print_address(address: ClientAddress) -> str:
    return f"IPv6:{address}" if address.version == 6 else str(address)


def _reduce(unwanted: re.Pattern[str], text: str) -> str:
    return unwanted.sub("?", text[:MAX_NAME_OCTETS])
