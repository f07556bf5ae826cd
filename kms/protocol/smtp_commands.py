"""Arguments of SMTP commands: text to values, or the reply that says what is wrong with it (RFC 5321 4.1.1).

What comes in is one command line without its CRLF: printable ASCII, or UTF-8 where SMTPUTF8 allows it. The
mailbox that is made here is the object that is checked, stored and delivered to.
Flow: `smtp_server` cuts the verb off and calls the function of that verb; parameters stand in `smtp_parameters`.
"""

from __future__ import annotations

import re

from kms.domain import reply
from kms.domain.address import AddressSyntaxError, parse_forward_path, parse_reverse_path
from kms.domain.reply import Reply
from kms.protocol.smtp_events import RecipientOffered, SenderOffered
from kms.protocol.smtp_parameters import ProtocolViolation, read_mail_parameters, read_rcpt_parameters

__all__ = [
    "ProtocolViolation",
    "parse_auth",
    "parse_chunk",
    "parse_hello",
    "parse_mail",
    "parse_rcpt",
    "split_command",
]

MAX_HELLO_NAME_OCTETS = 255

_MAY_BE_UTF8 = frozenset({"MAIL", "RCPT", "VRFY"})
_WITHOUT_ARGUMENTS = frozenset({"DATA", "RSET", "QUIT", "STARTTLS"})

_QUOTED_PATH = re.compile(r'<(?:[^">]|"(?:[^"\\]|\\.)*")*>')
_CHUNK = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE)
_NOT_IN_UTF8 = re.compile(r"[\x00-\x1f\x7f-\x9f]|[^\S ]")
_UNSAFE_IN_TRACE = re.compile(r"[^A-Za-z0-9._:\[\]+/=~-]")


def split_command(line: bytes) -> tuple[str, str]:
    """Cut a command line into its verb, in capitals, and its argument.

    RFC 5321 4.1.1: blanks before the line end are tolerated.

    Raises:
        ProtocolViolation: the line is not printable ASCII, nor UTF-8 where that may be; or its verb takes no
            argument, or wants one.
    """
    try:
        text = line.decode("ascii")
    except UnicodeDecodeError:
        return _split_utf8_command(line)
    if not text.isprintable():
        has_newline = "\r" in text or "\n" in text
        raise ProtocolViolation(reply.LINE_HAS_BARE_NEWLINE if has_newline else reply.BAD_ARGUMENTS)
    verb, _, argument = text.partition(" ")
    verb = verb.upper()
    argument = argument.rstrip(" ")
    if argument and verb in _WITHOUT_ARGUMENTS:
        raise ProtocolViolation(reply.NO_ARGUMENTS_ALLOWED)
    if not argument and verb == "VRFY":
        raise ProtocolViolation(reply.BAD_ARGUMENTS)
    return verb, argument


def _split_utf8_command(line: bytes) -> tuple[str, str]:
    """Do the same with a line that is not ASCII (RFC 6531 3.3); VRFY must say SMTPUTF8 itself (3.7.4.2)."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolViolation(reply.NOT_ASCII) from None
    verb, _, argument = text.partition(" ")
    verb = verb.upper()
    if verb not in _MAY_BE_UTF8 or _NOT_IN_UTF8.search(argument):
        raise ProtocolViolation(reply.NOT_ASCII)
    argument = argument.rstrip(" ")
    if verb == "VRFY" and not argument.upper().endswith(" SMTPUTF8"):
        raise ProtocolViolation(reply.RECIPIENT_NEEDS_SMTPUTF8)
    return verb, argument


def parse_hello(argument: str) -> str:
    """Read the client's name from EHLO or HELO.

    Taken leniently, since so many clients do not know theirs: any word. What would not be safe in a Received
    field is replaced by "?".

    Raises:
        ProtocolViolation: no word, more than one, or over 255 octets.
    """
    if not argument or " " in argument or len(argument) > MAX_HELLO_NAME_OCTETS:
        raise ProtocolViolation(reply.HELLO_NEEDS_NAME)
    return _UNSAFE_IN_TRACE.sub("?", argument)


def parse_mail(argument: str, offers_dsn: bool = False) -> SenderOffered:
    """Read "FROM:<path> parameters".

    RFC 6531 3.4: an address outside ASCII, in its local part or its domain, needs the parameter SMTPUTF8.

    Raises:
        ProtocolViolation: 501 for syntax, 553 for such an address without it, 555 for a parameter that is not
            offered.
    """
    path, rest = _cut_path(argument, "FROM:", reply.BAD_SENDER_SYNTAX)
    try:
        offered = SenderOffered(parse_reverse_path(path), None, False)
    except AddressSyntaxError:
        raise ProtocolViolation(reply.BAD_SENDER_SYNTAX) from None
    if rest:
        read_mail_parameters(offered, rest, offers_dsn)
    if not path.isascii() and not offered.is_smtputf8:
        raise ProtocolViolation(reply.SENDER_NEEDS_SMTPUTF8)
    return offered


def parse_rcpt(argument: str, is_smtputf8: bool = False, offers_dsn: bool = False) -> RecipientOffered:
    """Read "TO:<path> parameters".

    Args:
        is_smtputf8: MAIL has said SMTPUTF8.
        offers_dsn: NOTIFY and ORCPT are offered.

    Raises:
        ProtocolViolation: 501 for syntax, 550 for an address outside ASCII without SMTPUTF8, 555 for a
            parameter that is not offered.
    """
    path, rest = _cut_path(argument, "TO:", reply.BAD_RECIPIENT_SYNTAX)
    try:
        offered = RecipientOffered(parse_forward_path(path))
    except AddressSyntaxError:
        raise ProtocolViolation(reply.BAD_RECIPIENT_SYNTAX) from None
    if rest:
        read_rcpt_parameters(offered, rest, offers_dsn, is_smtputf8)
    if not is_smtputf8 and not path.isascii():
        raise ProtocolViolation(reply.RECIPIENT_NEEDS_SMTPUTF8)
    return offered


def parse_chunk(argument: str) -> tuple[int, bool] | None:
    """Read "octets" or "octets LAST" (RFC 3030 2).

    Returns:
        How many octets follow, and whether they are the last; None where that is not to be understood.
    """
    found = _CHUNK.fullmatch(argument)
    return None if found is None else (int(found[1]), found[2] is not None)


def parse_auth(argument: str) -> tuple[str, bytes | None]:
    """Read "MECHANISM" or "MECHANISM initial-response" (RFC 4954 4).

    Returns:
        The mechanism in capitals; and the initial response in base64: None = not given, b"" = given as "=".

    Raises:
        ProtocolViolation: it is neither.
    """
    words = argument.split(" ")
    if not words[0] or len(words) > 2:
        raise ProtocolViolation(reply.BAD_ARGUMENTS)
    mechanism = words[0].upper()
    if len(words) == 1:
        return mechanism, None
    return mechanism, b"" if words[1] == "=" else words[1].encode("ascii")


def _cut_path(argument: str, keyword: str, fault: Reply) -> tuple[str, str]:
    start = len(keyword)
    if argument[:start].upper() != keyword:
        raise ProtocolViolation(reply.BAD_ARGUMENTS)
    if argument.startswith(" ", start):
        start += 1
    end = _find_end_of_path(argument, start)
    if end <= start or not argument.startswith("<", start):
        raise ProtocolViolation(fault)
    if end < len(argument) and argument[end] != " ":
        raise ProtocolViolation(fault)
    return argument[start:end], argument[end:]


def _find_end_of_path(argument: str, start: int) -> int:
    if '"' not in argument:
        return argument.find(">", start) + 1
    found = _QUOTED_PATH.match(argument, start)
    return found.end() if found else 0
