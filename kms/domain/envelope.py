"""The envelope: one reverse-path, its forward-paths, and what MAIL said of the content (RFC 5321 2.3.1)."""

from __future__ import annotations

import attrs

from kms.domain.address import Mailbox
from kms.domain.dsn_request import MessageRequest, RecipientRequest


@attrs.frozen
class Recipient:
    """One final target of a message, known for life by `recipient_id` and never by a place in a list.

    Attributes:
        recipient_id: 1, 2, … within the message.
        forward_path: where the message goes now, after aliases and forwarding.
        original: the address that RCPT named; the only one that a report shows, so that no report tells a
            private alias target.
        request: what RCPT asked of reports (RFC 3461); None = nothing.
    """

    recipient_id: int
    forward_path: Mailbox
    original: Mailbox
    request: RecipientRequest | None = None


@attrs.frozen
class Envelope:
    """What SMTP knows of one message besides its content.

    Attributes:
        reverse_path: the sender; None is the null reverse-path `<>` of reports (RFC 5321 4.5.5).
        recipients: in the order of their ids.
        is_8bit: the sender declared BODY=8BITMIME, or the content holds octets above 127 (RFC 6152).
        has_utf8_header: the sender declared SMTPUTF8, and the header holds octets above 127 (RFC 6532): only a
            server with SMTPUTF8 may get it.
        request: what MAIL asked of reports (RFC 3461); None = nothing.
    """

    reverse_path: Mailbox | None
    recipients: tuple[Recipient, ...]
    is_8bit: bool = False
    has_utf8_header: bool = False
    request: MessageRequest | None = None
