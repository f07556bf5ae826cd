"""What happened, and why: a decision by its id, or a message's life by its queue id, as JSON values.

The control service in the running server and `kmsctl` without one both ask here.
"""

from __future__ import annotations

from datetime import datetime
from sqlite3 import Connection
from typing import Any

from kms.domain.decision import Record, parse_decision_id
from kms.domain.message_life import LifeEntry
from kms.domain.queue_entry import format_queue_id, parse_queue_id
from kms.store import decisions, message_life
from kms.store.administration import NotFound
from kms.store.queue_rows import DamagedRow
from kms.store.queue_view import load_entry


def tell_why(connection: Connection, text: str) -> dict[str, Any]:
    """Tell of a decision, or of a message.

    Args:
        connection: to the store.
        text: a decision id or a queue id, in any case of letters.

    Returns:
        `{"decision": {…}}` as by `describe_record`, or `{"message": {…}}` as by `describe_life`.

    Raises:
        NotFound: it is no id, or nothing is remembered under it.
    """
    short_number = parse_decision_id(text)
    record = None if short_number is None else decisions.find(connection, short_number)
    if record is not None:
        return {"decision": describe_record(record)}
    number = parse_queue_id(text.upper())
    if number is not None:
        life = message_life.find(connection, number)
        if life:
            return {"message": describe_life(number, life, _describe_waiting(connection, number))}
    raise NotFound(f"Nothing is remembered under {text!r}: it is no id, or was forgotten (decisions_keep)")


def describe_record(record: Record) -> dict[str, Any]:
    """Give a record as JSON: `id`, `at`, `client`, `stage`, `rule`, `reply`, `is_observed`, `facts`."""
    return {
        "id": record.decision_id,
        "at": _print(record.at),
        "client": record.client,
        "stage": record.stage.value,
        "rule": record.rule,
        "reply": record.reply,
        "is_observed": record.is_observed,
        "facts": dict(record.facts),
    }


def describe_life(number: int, life: list[LifeEntry], waiting: dict[str, Any] | None) -> dict[str, Any]:
    """Give a life as JSON: `queue_id`, `events` (each with `at`, `event` and its facts), `waiting` or None."""
    return {
        "queue_id": format_queue_id(number),
        "events": [{"at": _print(entry.at), "event": entry.event.value, **entry.facts} for entry in life],
        "waiting": waiting,
    }


def _describe_waiting(connection: Connection, number: int) -> dict[str, Any] | None:
    """Say what is left of a message in the queue; None where it has left it."""
    try:
        entry = load_entry(connection, number)
    except DamagedRow as error:
        return {"damage": str(error)}
    if entry is None:
        return None
    return {
        "recipients": [str(recipient.forward_path) for recipient in entry.envelope.recipients],
        "next_try": _print(entry.due_at),
        "attempts": entry.attempts,
    }


def _print(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
