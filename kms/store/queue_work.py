"""What an operator does to entries of the queue: retry, hold, release, bounce, remove, restore, reroute.

Promises: an entry that is being tried at this moment is left alone and named as busy (only hold and release take it:
they act once its outcome is there), so no outcome is ever lost, and nothing is both removed and delivered; what
is removed keeps its recipients and content until `purge`; each order stands in the message's life, with who gave it.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import attrs

from kms.config.network_kinds import parse_host_port
from kms.config.problems import ValueFault
from kms.domain.message_life import LifeEvent
from kms.domain.queue_entry import format_queue_id, parse_queue_id
from kms.store import message_life
from kms.store.administration import NotFound
from kms.store.bodies import body_path
from kms.store.many_rows import execute_in, select_in
from kms.store.queue_query import IN_QUEUE, IN_TRASH, QueryError, parse_query
from kms.store.schema import to_us

_SAMPLE = 10
_USUAL_PORT = 25


class QueueOrder(enum.Enum):
    """What can be ordered; the values are the commands of `kmsctl queue`."""

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    BOUNCE = "bounce"
    REMOVE = "remove"
    RESTORE = "restore"
    REROUTE = "reroute"


_FITS = {  # which entries an order means, and what it sets; :now and :hop are there
    QueueOrder.RETRY: ("parked IS NULL AND set_aside_reason IS NULL", "due_us = :now"),
    QueueOrder.HOLD: ("parked IS NOT 'hold'", "parked = 'hold', parked_us = :now"),
    QueueOrder.RELEASE: ("parked = 'hold'", "parked = NULL, due_us = :now"),
    QueueOrder.BOUNCE: ("set_aside_reason IS NULL", "is_given_up = 1, parked = NULL, due_us = :now"),
    QueueOrder.REMOVE: ("TRUE", "parked = 'trash', parked_us = :now"),
    QueueOrder.RESTORE: ("TRUE", "parked = NULL, is_given_up = 0, due_us = :now"),
    QueueOrder.REROUTE: (
        "set_aside_reason IS NULL",
        "next_hop = nullif(:hop, ''), due_us = :now, parked = CASE WHEN parked = 'hold' THEN parked END",
    ),
}
_MAY_BE_BUSY = (QueueOrder.HOLD, QueueOrder.RELEASE)


@attrs.frozen
class Asked:
    """One order.

    Attributes:
        numbers: of the entries.
        next_hop: for REROUTE, host:port; "" = the usual way again.
        by: who gives it, for the message's life.
        is_dry_run: say what would be done, and do nothing.
    """

    order: QueueOrder
    numbers: tuple[int, ...]
    next_hop: str = ""
    by: str = ""
    is_dry_run: bool = False


def read_next_hop(text: str) -> str:
    """Read the target of a reroute: host or host:port, or `-` for the usual way. Raises QueryError."""
    if text == "-":
        return ""
    try:
        hop = parse_host_port(text)
    except ValueFault as fault:
        raise QueryError(str(fault)) from None
    host = f"[{hop.host}]" if ":" in hop.host else hop.host
    return f"{host}:{hop.port or _USUAL_PORT}"


def choose(
    connection: Connection, order: QueueOrder, ids: Iterable[str], query: Sequence[str], now: datetime
) -> tuple[int, ...]:
    """Find the entries that are meant: those named, or those that a query fits.

    Raises:
        NotFound: one that is named is not there; nothing is to be done then.
        QueryError: neither or both are given, or the query makes no sense.
    """
    scope = IN_TRASH if order is QueueOrder.RESTORE else IN_QUEUE
    names = tuple(ids)
    if bool(names) == bool(query):
        raise QueryError("Name queue ids, or give --query; `age>0` means all")
    if query:
        return tuple(parse_query(query, now).select(connection, 0, -1, scope))
    numbers = dict.fromkeys(parse_queue_id(name.upper()) or 0 for name in names)
    statement = f"SELECT number FROM message WHERE {scope} AND number IN ({{}})"
    there = {row[0] for row in select_in(connection, statement, numbers)}
    for name in names:
        if (parse_queue_id(name.upper()) or 0) not in there:
            raise NotFound(f"There is no {name} in the {'trash' if scope == IN_TRASH else 'queue'}")
    return tuple(numbers)


def carry_out(connection: Connection, asked: Asked, now: datetime) -> dict[str, Any]:
    """Carry an order out on those of the entries that it means.

    Returns:
        JSON: `order`, `count`, `octets`, `recipients`, `sample` (queue ids), `busy` (ids of those being tried, which
        were left alone), `unfit` (how many it does not mean, such as a retry of what is held), `dry_run`.
    """
    condition, change = _FITS[asked.order]
    scope = IN_TRASH if asked.order is QueueOrder.RESTORE else IN_QUEUE
    statement = (
        f"SELECT number, octets, lease_owner, {scope} AND {condition} FROM message WHERE number IN ({{}})"
    )
    rows = list(select_in(connection, statement, asked.numbers))
    fits = [row for row in rows if row[3]]
    busy = [row[0] for row in fits if row[2] and asked.order not in _MAY_BE_BUSY]
    done = [row for row in fits if row[0] not in set(busy)]
    numbers = [row[0] for row in done]
    facts = {
        "order": asked.order.value,
        "count": len(done),
        "octets": sum(row[1] for row in done),
        "recipients": _count_recipients(connection, numbers),
        "sample": [format_queue_id(number) for number in numbers[:_SAMPLE]],
        "busy": [format_queue_id(number) for number in busy],
        "unfit": len(rows) - len(fits),
        "dry_run": asked.is_dry_run,
    }
    if not asked.is_dry_run:
        parameters = {"now": to_us(now), "hop": asked.next_hop}
        connection.executemany(
            f"UPDATE message SET {change} WHERE number = :number",
            [{**parameters, "number": number} for number in numbers],
        )
        _remember(connection, asked, numbers, now)
    return facts


def run_all(connection: Connection, now: datetime) -> int:
    """Let all that waits for its time be tried now; returns how many."""
    return connection.execute(
        "UPDATE message SET due_us = ? WHERE lease_owner = '' AND set_aside_reason IS NULL AND parked IS NULL"
        " AND due_us > ?",
        (to_us(now), to_us(now)),
    ).rowcount


def purge(connection: Connection, before: datetime, limit: int, spool: Path) -> list[str]:
    """Forget what was removed before an instant, `limit` entries at most.

    Returns:
        The paths of the body files that may be unlinked once this is committed; empty where none are left, which
        says nothing of whether entries are.
    """
    rows = connection.execute(
        f"SELECT number, is_in_file FROM message WHERE {IN_TRASH} AND parked_us < ? LIMIT ?",
        (to_us(before), limit),
    ).fetchall()
    for table in ("message", "recipient", "content"):
        execute_in(connection, f"DELETE FROM {table} WHERE number IN ({{}})", [row[0] for row in rows])
    return [str(body_path(spool, number)) for number, is_in_file in rows if is_in_file]


def _count_recipients(connection: Connection, numbers: Iterable[int]) -> int:
    query = "SELECT count(*) FROM recipient WHERE number IN ({})"
    return sum(row[0] for row in select_in(connection, query, numbers))


def _remember(connection: Connection, asked: Asked, numbers: Iterable[int], now: datetime) -> None:
    facts = {"order": asked.order.value, "by": asked.by}
    if asked.order is QueueOrder.REROUTE:
        facts["next_hop"] = asked.next_hop
    story = json.dumps(facts)
    message_life.add(connection, [(number, now, LifeEvent.ORDERED, story) for number in numbers])
