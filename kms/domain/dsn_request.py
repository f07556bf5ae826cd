"""What the client asked of reports about its message: the parameters of RFC 3461, as it gave them.

They are kept with the message, and passed on to a next hop, as they came: in xtext (RFC 3461 4), or in the form
of RFC 6533 3 where an original recipient has the type `utf-8`.
Flow: `protocol/smtp_parameters` checks them; they go with the envelope into the queue.
"""

from __future__ import annotations

import enum

import attrs


class Returned(enum.Enum):
    """RET: how much of the message a report of failure is to return."""

    FULL = "FULL"
    HEADER = "HDRS"


class Notify(enum.Flag):
    """NOTIFY: the outcomes that are to be reported. No flag at all is NEVER."""

    NEVER = 0
    SUCCESS = 1
    FAILURE = 2
    DELAY = 4


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
