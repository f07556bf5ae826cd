"""What the queue knows of one message.

Only unfinished recipients stand here: a delivered one is removed, a failed one is removed in the same
transaction that stores its report. So a crash gives neither two reports nor none.
"""

from __future__ import annotations

import re
from datetime import datetime

import attrs

from kms.domain.address import Mailbox
from kms.domain.envelope import Envelope

_QUEUE_ID = re.compile(r"[1-9A-F][0-9A-F]{0,15}")


def format_queue_id(number: int) -> str:
    """Print an entry's number as the queue id of logs, trace lines and replies: upper-case hexadecimal."""
    return f"{number:X}"


def parse_queue_id(text: str) -> int | None:
    """Read what `format_queue_id` printed; None when `text` is no queue id."""
    if not _QUEUE_ID.fullmatch(text):
        return None
    number = int(text, 16)
    return number if number < 2**63 else None


@attrs.define  # not frozen: measured, one for each message; nobody changes one
class QueueEntry:
    """One stored message with its unfinished recipients.

    Attributes:
        number: the entry's key, 63 bits, made from the time of arrival.
        queue_id: its printed form.
        envelope: reverse-path and the recipients still to be served.
        arrived_at: when responsibility was taken; retry, warning and bounce count from it.
        content_octets: size of the content in wire form.
        attempts: how often delivery was tried.
        due_at: not before this instant is the next attempt.
        warned_at: when the delay warning went out; None before. It is sent once.
        fence: counts the claims; an outcome is taken only from the holder of the newest (see queue_store).
        last_status: reply and hop of the last attempt that deferred, by recipient id, for lists and reports.
        next_hop: host:port that an operator sends what leaves this server to; "" = the usual way.
        is_given_up: an operator returns it to its sender.
    """

    number: int
    envelope: Envelope
    arrived_at: datetime
    content_octets: int
    due_at: datetime
    attempts: int = 0
    warned_at: datetime | None = None
    fence: int = 0
    last_status: dict[int, str] = attrs.field(factory=dict)
    next_hop: str = ""
    is_given_up: bool = False
    queue_id: str = attrs.field(init=False, eq=False)

    @queue_id.default
    def _print_number(self) -> str:
        return format_queue_id(self.number)

    @property
    def reverse_path(self) -> Mailbox | None:
        """The envelope's sender; None is the null reverse-path."""
        return self.envelope.reverse_path
