"""Arguments of SMTP commands: text to values, or the reply that says what is wrong with it (RFC 5321 4.1.1).

What comes in is one command line without its CRLF, known to be printable ASCII. The mailbox that is made here
is the object that is checked, stored and delivered to.
Flow: `smtp_server` cuts the verb off and calls the function of that verb.
"""

from __future__ import annotations

import re

import attrs

from kms.domain import reply
from kms.domain.address import AddressSyntaxError, Mailbox, parse_forward_path, parse_reverse_path
from kms.domain.reply import Reply

MAX_HELLO_NAME_OCTETS = 255

_WITHOUT_ARGUMENTS = frozenset({"DATA", "RSET", "QUIT", "STARTTLS"})

_QUOTED_PATH = re.compile(r'<(?:[^">]|"(?:[^"\\]|\\.)*")*>')
_KEYWORD = re.compile(r"[A-Z0-9][A-Z0-9-]*")
_CHUNK = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE)
_SIZE = re.compile(r"[0-9]{1,20}")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_UNSAFE_IN_TRACE = re.compile(r"[^A-Za-z0-9._:\[\]+/=~-]")


class ProtocolViolation(Exception):
    """The client broke a rule.

    Attributes:
        reply: what to answer.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@attrs.define
class MailArguments:
    """What MAIL says (RFC 5321 4.1.1.2, RFC 1870, RFC 6152)."""

    reverse_path: Mailbox | None
    declared_octets: int | None
    is_8bit: bool


def split_command(line: bytes) -> tuple[str, str]:
    """Cut a command line into its verb, in capitals, and its argument.

    RFC 5321 4.1.1: blanks before the line end are tolerated.

    Raises:
        ProtocolViolation: the line is not printable ASCII; or its verb takes no argument, or wants one.
    """
    try:
        text = line.decode("ascii")
    except UnicodeDecodeError:
        raise ProtocolViolation(reply.NOT_ASCII) from None
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


def parse_mail(argument: str) -> MailArguments:
    """Read "FROM:<path> parameters".

    RFC 4954 5: AUTH= is checked for its form and not used; nobody is trusted to vouch for another.

    Raises:
        ProtocolViolation: 501 for syntax, 555 for a parameter that is not offered.
    """
    path, rest = _cut_path(argument, "FROM:", reply.BAD_SENDER_SYNTAX)
    try:
        arguments = MailArguments(parse_reverse_path(path), None, False)
    except AddressSyntaxError:
        raise ProtocolViolation(reply.BAD_SENDER_SYNTAX) from None
    if rest:
        for keyword, value in _split_parameters(rest).items():
            _read_mail_parameter(arguments, keyword, value)
    return arguments


def parse_rcpt(argument: str) -> Mailbox:
    """Read "TO:<path>".

    Raises:
        ProtocolViolation: 501 for syntax, 555 for any parameter.
    """
    path, rest = _cut_path(argument, "TO:", reply.BAD_RECIPIENT_SYNTAX)
    try:
        forward_path = parse_forward_path(path)
    except AddressSyntaxError:
        raise ProtocolViolation(reply.BAD_RECIPIENT_SYNTAX) from None
    if rest and _split_parameters(rest):
        raise ProtocolViolation(reply.UNKNOWN_PARAMETER)
    return forward_path


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


def _split_parameters(text: str) -> dict[str, str | None]:
    parameters: dict[str, str | None] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        keyword = name.upper()
        if not _KEYWORD.fullmatch(keyword) or keyword in parameters or (equals and not value) or "=" in value:
            raise ProtocolViolation(reply.BAD_PARAMETER)
        parameters[keyword] = value or None
    return parameters


def _read_mail_parameter(arguments: MailArguments, keyword: str, value: str | None) -> None:
    text = value or ""
    match keyword:
        case "SIZE" if _SIZE.fullmatch(text):
            arguments.declared_octets = int(text)
        case "BODY" if text.upper() in ("7BIT", "8BITMIME"):
            arguments.is_8bit = text.upper() == "8BITMIME"
        case "AUTH" if _XTEXT.fullmatch(text):
            pass
        case "SIZE" | "BODY" | "AUTH":
            raise ProtocolViolation(reply.BAD_PARAMETER)
        case _:
            raise ProtocolViolation(reply.UNKNOWN_PARAMETER)
