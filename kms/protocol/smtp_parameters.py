"""Parameters of MAIL and RCPT: words to values, or the reply that says what is wrong with one.

SIZE (RFC 1870), BODY (RFC 6152), AUTH (RFC 4954 5: checked for its form and not used; nobody is trusted to vouch
for another), SMTPUTF8 (RFC 6531), and RET, ENVID, NOTIFY, ORCPT (RFC 3461), which exist only where DSN is offered.
Flow: `smtp_commands` has cut the path off and made the event that these functions fill.
"""

from __future__ import annotations

import re

import attrs

from kms.domain import reply
from kms.domain.dsn_request import MessageRequest, Notify, RecipientRequest, Returned
from kms.domain.reply import Reply
from kms.protocol.smtp_events import RecipientOffered, SenderOffered

MAX_ENVELOPE_ID_OCTETS = 100
MAX_ORIGINAL_RECIPIENT_OCTETS = 500

_KEYWORD = re.compile(r"[A-Z0-9][A-Z0-9-]*")
_SIZE = re.compile(r"[0-9]{1,20}")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_PRINTABLE_XTEXT = r"(?:[!-*,-<>-~]|\+(?:[2-6][0-9A-F]|7[0-9A-E]))+"
_ENVELOPE_ID = re.compile(_PRINTABLE_XTEXT)
_ORIGINAL_RECIPIENT = re.compile(r"[A-Za-z0-9-]+;(?:[!-*,-<>-~]|\+(?:[2-689A-F][0-9A-F]|7[0-9A-E]))+")
_UTF8_RECIPIENT = re.compile(r"utf-8;(?:[!-*,-<>-~\u0080-\U0010ffff]|\+[2-7][0-9A-F])+", re.IGNORECASE)
_NOTIFY = {word.name: word for word in (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY)}


class ProtocolViolation(Exception):
    """The client broke a rule.

    Attributes:
        reply: what to answer.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def read_mail_parameters(offered: SenderOffered, text: str, offers_dsn: bool) -> None:
    """Put what follows the path of MAIL into the event.

    Raises:
        ProtocolViolation: 501 for a bad value or a word given twice, 555 for one that is not offered.
    """
    for keyword, value in _split(text).items():
        match keyword:
            case "SIZE" if _SIZE.fullmatch(value):
                offered.declared_octets = int(value)
            case "BODY" if value.upper() in ("7BIT", "8BITMIME"):
                offered.is_8bit = value.upper() == "8BITMIME"
            case "SMTPUTF8" if not value:
                offered.is_smtputf8 = True
            case "AUTH" if _XTEXT.fullmatch(value):
                pass
            case "RET" | "ENVID" if offers_dsn:
                offered.request = _read_request(offered.request or MessageRequest(), keyword, value)
            case "SIZE" | "BODY" | "SMTPUTF8" | "AUTH":
                raise ProtocolViolation(reply.BAD_PARAMETER)
            case _:
                raise ProtocolViolation(reply.UNKNOWN_PARAMETER)


def read_rcpt_parameters(offered: RecipientOffered, text: str, offers_dsn: bool, is_smtputf8: bool) -> None:
    """Put what follows the path of RCPT into the event.

    Args:
        is_smtputf8: MAIL has said SMTPUTF8, so an original recipient may be written in UTF-8.

    Raises:
        ProtocolViolation: as `read_mail_parameters`.
    """
    request = RecipientRequest()
    for keyword, value in _split(text).items():
        match keyword:
            case "NOTIFY" if offers_dsn:
                request = attrs.evolve(request, notify=_read_notify(value))
            case "ORCPT" if offers_dsn:
                is_good = _ORIGINAL_RECIPIENT.fullmatch(value) or (
                    is_smtputf8 and _UTF8_RECIPIENT.fullmatch(value)
                )
                _require(is_good and len(value.encode()) <= MAX_ORIGINAL_RECIPIENT_OCTETS)
                request = attrs.evolve(request, original_recipient=value)
            case _:
                raise ProtocolViolation(reply.UNKNOWN_PARAMETER)
        offered.request = request


def _split(text: str) -> dict[str, str]:
    """Part the words; a keyword without a value has the value ""."""
    parameters: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        keyword = name.upper()
        if not _KEYWORD.fullmatch(keyword) or keyword in parameters or (equals and not value) or "=" in value:
            raise ProtocolViolation(reply.BAD_PARAMETER)
        parameters[keyword] = value
    return parameters


def _require(is_good: object) -> None:
    if not is_good:
        raise ProtocolViolation(reply.BAD_PARAMETER)


def _read_request(request: MessageRequest, keyword: str, value: str) -> MessageRequest:
    if keyword == "ENVID":
        _require(_ENVELOPE_ID.fullmatch(value) and len(value) <= MAX_ENVELOPE_ID_OCTETS)
        return attrs.evolve(request, envelope_id=value)
    _require(value.upper() in ("FULL", "HDRS"))
    return attrs.evolve(request, returned=Returned(value.upper()))


def _read_notify(value: str) -> Notify:
    """RFC 3461 4.1: NEVER alone, or a list of the others, each once."""
    words = value.upper().split(",")
    if words == ["NEVER"]:
        return Notify.NEVER
    _require(all(word in _NOTIFY for word in words) and len(set(words)) == len(words))
    wanted = Notify.NEVER
    for word in words:
        wanted |= _NOTIFY[word]
    return wanted
