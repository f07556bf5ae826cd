"""What the client asked of reports about its message: the parameters of RFC 3461, as it gave them.

They are kept with the message, and passed on to a next hop, as they came: in xtext (RFC 3461 4), or in the form
of RFC 6533 3 where an original recipient has the type `utf-8`. A report shows them decoded.
Flow: `protocol/smtp_parameters` checks them; they go with the envelope into the queue. `policy/notification`
obeys them, `protocol/outgoing_message` passes them on.
"""

from __future__ import annotations

import enum
import re

import attrs

_HEX = re.compile(r"(?:\+[0-9A-F]{2})+")
_UNICODE = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")


class Returned(enum.Enum):
    """RET: how much of the message a report of failure is to return."""

    FULL = "FULL"
    HEADER = "HDRS"


class Notify(enum.Flag):
    """NOTIFY: the outcomes that are to be reported. No flag at all is NEVER.

    EXPANSION is ours, never the client's: it stands for SUCCESS in the targets of an address that stands for
    several. The sender is told once that it does (RFC 3461 5.2.7.3 b), and of no target's success.
    """

    NEVER = 0
    SUCCESS = 1
    FAILURE = 2
    DELAY = 4
    EXPANSION = 8


DEFAULT_NOTIFY = Notify.FAILURE | Notify.DELAY
"""What is reported where the client says nothing (RFC 3461 4.1)."""


@attrs.frozen
class MessageRequest:
    """What MAIL asked.

    Attributes:
        returned: None = not said.
        envelope_id: ENVID, the sender's own name of the transaction, in xtext; "" = not said.
    """

    returned: Returned | None = None
    envelope_id: str = ""


@attrs.frozen
class RecipientRequest:
    """What RCPT asked.

    Attributes:
        notify: None = not said.
        original_recipient: ORCPT, "type;address" with the address encoded; "" = not said.
    """

    notify: Notify | None = None
    original_recipient: str = ""

    def expand(self) -> RecipientRequest:
        """Make the request of one target of an address that stands for several."""
        if self.notify is None or Notify.SUCCESS not in self.notify:
            return self
        return attrs.evolve(self, notify=(self.notify & ~Notify.SUCCESS) | Notify.EXPANSION)


def encode_xtext(text: str) -> str:
    """Write ASCII text as xtext."""
    return _NOT_XTEXT.sub(lambda found: f"+{ord(found.group()):02X}", text)


def decode_xtext(text: str) -> str:
    """Read xtext; the answer is not cleaned of what a stranger may have put there.

    Octets beyond ASCII are UTF-8: so Postfix writes an international address of the type `rfc822`.
    """
    return _HEX.sub(
        lambda found: bytes.fromhex(found.group().replace("+", "")).decode("utf-8", "replace"), text
    )


def encode_utf8_address(address: str) -> str:
    """Write an address in the ASCII form of the type `utf-8` (RFC 6533 3)."""
    return "".join(
        character if "!" <= character <= "~" and character not in "\\+=" else f"\\x{{{ord(character):02X}}}"
        for character in address
    )


def decode_original_recipient(text: str) -> tuple[str, str]:
    """Part ORCPT in its type, in lower case, and the address, decoded and not cleaned."""
    kind, _, address = text.partition(";")
    address = decode_xtext(address)
    if kind.lower() == "rfc822" and not address.isascii():
        return "utf-8", address
    if kind.lower() == "utf-8":
        address = _UNICODE.sub(_read_unicode, address)
    return kind.lower(), address


def _read_unicode(found: re.Match[str]) -> str:
    number = int(found.group(1), 16)
    return chr(number) if number < 0x110000 else found.group()
