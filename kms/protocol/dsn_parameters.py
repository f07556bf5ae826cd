"""Prints what a sender asked of reports as parameters of MAIL and RCPT, for a next hop with DSN (RFC 3461 5.2.1).

They are passed on as they came, but for two things that only we can know: the targets of an address that stands
for several are not asked for success, since the sender has heard of the expansion from us (5.2.7.3 b); and a
target that an alias put in the place of an address goes with that address as the original recipient, so that the
sender finds in the hop's report the address he knows.

Flow: `outgoing_message` prepares them with the message.
"""

from __future__ import annotations

from kms.domain.dsn_request import (
    MessageRequest,
    Notify,
    decode_original_recipient,
    encode_utf8_address,
    encode_xtext,
)
from kms.domain.envelope import Recipient

_WORDS = (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY)


def print_message_request(request: MessageRequest | None) -> str:
    """Print RET and ENVID, each with a blank before it."""
    if request is None:
        return ""
    returned = f" RET={request.returned.value}" if request.returned is not None else ""
    return returned + (f" ENVID={request.envelope_id}" if request.envelope_id else "")


def print_recipient_request(recipient: Recipient) -> str:
    """Print NOTIFY and ORCPT, each with a blank before it."""
    request = recipient.request
    if request is None:
        return ""
    original = _print_original(recipient, request.original_recipient)
    return _print_notify(request.notify) + (f" ORCPT={original}" if original else "")


def _print_notify(notify: Notify | None) -> str:
    if notify is None:
        return ""
    return " NOTIFY=" + (",".join(str(word.name) for word in _WORDS if word in notify) or "NEVER")


def _print_original(recipient: Recipient, original: str) -> str:
    """Print ORCPT in ASCII, which any server with DSN takes (RFC 6533 3)."""
    if original:
        return original if original.isascii() else _print_utf8(decode_original_recipient(original)[1])
    if recipient.original == recipient.forward_path:
        return ""
    address = str(recipient.original)
    return f"rfc822;{encode_xtext(address)}" if address.isascii() else _print_utf8(address)


def _print_utf8(address: str) -> str:
    return f"utf-8;{encode_utf8_address(address)}"
