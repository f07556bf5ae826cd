"""How a queue entry stands in the tables `message` and `recipient`: written as tuples, read with suspicion.

A row that cannot be what kms wrote is `DamagedRow`: the queue sets such an entry aside, and never deletes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from kms.domain.address import Mailbox
from kms.domain.dsn_request import MessageRequest, Notify, RecipientRequest, Returned
from kms.domain.envelope import Envelope, Recipient
from kms.domain.queue_entry import QueueEntry
from kms.store.schema import MAX_US, from_us, to_us

MessageRow = tuple[
    int, str | None, str | None, int, int, int, int | None, int, int, int | None, int, str, int, int,
    int, str | None, str | None
]  # fmt: skip
StoredRow = tuple[*MessageRow, str | None, int]
RecipientRow = tuple[int, int, str, str, str, str, str | None, int | None, str | None]

INSERT_RECIPIENT = "INSERT INTO recipient VALUES {}"
DELETE_RECIPIENT = "DELETE FROM recipient WHERE number = ? AND recipient_id = ?"
SELECT_MESSAGE = """
    SELECT number, reverse_local_part, reverse_domain, is_8bit, arrived_us, octets, crc32, attempts, due_us,
        warned_us, fence, lease_owner, lease_until_us, is_in_file, has_utf8_header, returned, envelope_id,
        next_hop, is_given_up
    FROM message
"""
SELECT_RECIPIENTS = """
    SELECT number, recipient_id, local_part, domain, original_local_part, original_domain, last_status, notify,
        original_recipient
    FROM recipient
"""

_ALL_FLAGS = (Notify.SUCCESS | Notify.FAILURE | Notify.DELAY | Notify.EXPANSION).value
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class DamagedRow(ValueError):
    """The row holds what kms never writes; the text says what."""


def message_row(
    entry: QueueEntry, crc32: int | None, is_in_file: bool, lease_owner: str, lease_until_us: int
) -> MessageRow:
    """Print an entry as the first columns of an arrival (queue_triggers.py)."""
    envelope = entry.envelope
    reverse_path = envelope.reverse_path
    return (
        entry.number,
        None if reverse_path is None else reverse_path.local_part,
        None if reverse_path is None else reverse_path.domain,
        envelope.is_8bit,
        to_us(entry.arrived_at),
        entry.content_octets,
        crc32,
        entry.attempts,
        to_us(entry.due_at),
        None if entry.warned_at is None else to_us(entry.warned_at),
        entry.fence,
        lease_owner,
        lease_until_us,
        is_in_file,
        envelope.has_utf8_header,
        *_message_request(envelope.request),
    )


def recipient_rows(entry: QueueEntry) -> Iterator[RecipientRow]:
    """Print an entry's recipients as parameters of `INSERT_RECIPIENT`."""
    for recipient in entry.envelope.recipients:
        yield (
            entry.number,
            recipient.recipient_id,
            recipient.forward_path.local_part,
            recipient.forward_path.domain,
            recipient.original.local_part,
            recipient.original.domain,
            entry.last_status.get(recipient.recipient_id),
            *_recipient_request(recipient.request),
        )


def _message_request(request: MessageRequest | None) -> tuple[str | None, str | None]:
    if request is None:
        return None, None
    return request.returned and request.returned.value, request.envelope_id


def _recipient_request(request: RecipientRequest | None) -> tuple[int | None, str | None]:
    if request is None:
        return None, None
    return None if request.notify is None else request.notify.value, request.original_recipient


def read_entry(row: StoredRow, recipients: Iterable[RecipientRow]) -> QueueEntry:
    """Make an entry of its rows.

    Args:
        row: as `SELECT_MESSAGE` gives it.
        recipients: as `SELECT_RECIPIENTS` gives them, in the order of their ids.

    Raises:
        DamagedRow: a value is impossible, or there is no recipient.
    """
    number, local_part, domain, is_8bit, arrived_us, octets, _, attempts, due_us, warned_us, fence = row[:11]
    has_utf8_header, returned, envelope_id, next_hop, is_given_up = row[14:]
    if not 0 < number < 2**63:
        raise DamagedRow(f"the number {number} is impossible")
    if is_8bit not in (0, 1) or has_utf8_header not in (0, 1) or octets < 0 or attempts < 0 or fence < 0:
        raise DamagedRow("a counter or flag is impossible")
    reverse_path = None if local_part is None else _read_mailbox(local_part, domain)
    found, last_status = _read_recipients(recipients)
    return QueueEntry(
        number=number,
        envelope=Envelope(
            reverse_path,
            found,
            bool(is_8bit),
            bool(has_utf8_header),
            _read_message_request(returned, envelope_id),
        ),
        arrived_at=_read_instant(arrived_us),
        content_octets=octets,
        due_at=_read_instant(due_us),
        attempts=attempts,
        warned_at=None if warned_us is None else _read_instant(warned_us),
        fence=fence,
        last_status=last_status,
        next_hop=next_hop or "",
        is_given_up=bool(is_given_up),
    )


def _read_recipients(rows: Iterable[RecipientRow]) -> tuple[tuple[Recipient, ...], dict[int, str]]:
    found, last_status = [], {}
    for (
        _,
        recipient_id,
        local_part,
        domain,
        original_local_part,
        original_domain,
        status,
        notify,
        orcpt,
    ) in rows:
        if recipient_id < 1 or not domain:
            raise DamagedRow("a recipient has no domain or an impossible id")
        forward_path = _read_mailbox(local_part, domain)
        original = _read_mailbox(original_local_part, original_domain)
        found.append(Recipient(recipient_id, forward_path, original, _read_recipient_request(notify, orcpt)))
        if status is not None:
            last_status[recipient_id] = status
    if not found:
        raise DamagedRow("there is no recipient")
    return tuple(found), last_status


def _read_message_request(returned: str | None, envelope_id: str | None) -> MessageRequest | None:
    if envelope_id is None:
        return None
    _check_parameter(envelope_id)
    try:
        return MessageRequest(None if returned is None else Returned(returned), envelope_id)
    except ValueError:
        raise DamagedRow(f"RET={returned} is impossible") from None


def _read_recipient_request(notify: int | None, original_recipient: str | None) -> RecipientRequest | None:
    if original_recipient is None:
        return None
    if notify is not None and not 0 <= notify <= _ALL_FLAGS:
        raise DamagedRow(f"the flags {notify} of NOTIFY are impossible")
    _check_parameter(original_recipient)
    return RecipientRequest(None if notify is None else Notify(notify), original_recipient)


def _check_parameter(text: str) -> None:
    if " " in text or _CONTROL.search(text):
        raise DamagedRow("a parameter of DSN is impossible")


def _read_mailbox(local_part: str, domain: str | None) -> Mailbox:
    if domain is None or _CONTROL.search(local_part) or _CONTROL.search(domain):
        raise DamagedRow("an address is impossible")
    return Mailbox(local_part, domain)


def _read_instant(us: int) -> datetime:
    if not 0 <= us <= MAX_US:
        raise DamagedRow(f"the instant {us} is impossible")
    return from_us(us)
