"""The queue as JSON for `kmsctl` and the API: pages, one entry, counts, the forecast. Nothing here changes it.

A page is read by the primary key: however long the queue is, the first page without filters costs the same. Its rows
have the fields of `postqueue -j`, and more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from sqlite3 import Connection
from typing import Any

import attrs

from kms.domain.account import Directory
from kms.domain.envelope import Recipient
from kms.domain.queue_entry import QueueEntry, format_queue_id, parse_queue_id
from kms.policy.forecast import ForecastKind, Foreseen, forecast
from kms.policy.recipient import DomainKind, classify_domain
from kms.policy.retry import RetryRules
from kms.store import message_life
from kms.store.administration import NotFound
from kms.store.many_rows import select_in
from kms.store.queue_query import IN_QUEUE, IN_TRASH, parse_query
from kms.store.queue_rows import SELECT_MESSAGE, DamagedRow, read_entry
from kms.store.queue_state import HOLD, OFFLINE, TRASH, QueueState
from kms.store.queue_view import recipients_of

Facts = dict[str, Any]
MOST_FORESEEN = 1000
_EVENTS_SHOWN = 200
_STATES = {None: "waiting", HOLD: "held", TRASH: "trash", OFFLINE: "offline"}
_NAMES = {"active": "active", "held": "hold"}  # of Postfix's queues; all others are "deferred"


@attrs.frozen
class Plan:
    """What the future of an entry depends on.

    Attributes:
        has_smarthost: what leaves this server goes through a smarthost.
    """

    rules: RetryRules
    has_smarthost: bool
    directory: Directory

    def foresee(self, entry: QueueEntry, now: datetime, until: datetime) -> Iterator[Foreseen]:
        """Foresee an entry; see policy/forecast.py."""

        def is_through_smarthost(recipient: Recipient) -> bool:
            kind = classify_domain(self.directory, recipient.forward_path.domain)
            return self.has_smarthost and not entry.next_hop and kind is not DomainKind.LOCAL

        return forecast(entry, self.rules, is_through_smarthost, now, until)


def list_page(
    connection: Connection, query: Sequence[str], after: str, limit: int, is_trash: bool, now: datetime
) -> list[Facts]:
    """Read a page of the queue, or of the trash; raises QueryError.

    Args:
        after: the last queue id of the page before; "" for the first.
    """
    scope = IN_TRASH if is_trash else IN_QUEUE
    found = parse_query(query, now).select(connection, parse_queue_id(after.upper()) or 0, limit, scope)
    return list(map(_describe, _load(connection, found)))


def show(connection: Connection, queue_id: str, plan: Plan, now: datetime) -> Facts:
    """Tell all of one entry: its row in a page, `events` of its life, `warn_at` and `bounce_at` (or None).

    Raises:
        NotFound: it is neither in the queue nor in the trash.
    """
    number = parse_queue_id(queue_id.upper())
    loaded = [] if number is None else list(_load(connection, [number]))
    if not loaded:
        raise NotFound(
            f"There is no {queue_id} in the queue; `kmsctl why {queue_id}` may know what became of it"
        )
    (row,) = loaded
    at: dict[ForecastKind, str] = {}
    if row.entry is not None and row.state in ("waiting", "active"):
        until = now + plan.rules.bounce_after + plan.rules.warn_after + 2 * max(plan.rules.intervals)
        for event in plan.foresee(row.entry, now, until):
            at.setdefault(event.kind, _print(event.at))
    events = [
        {"at": _print(event.at), "event": event.event.value, **event.facts}
        for event in message_life.find(connection, row.number)
    ]
    return {
        **_describe(row),
        "warn_at": at.get(ForecastKind.WARN),
        "bounce_at": at.get(ForecastKind.BOUNCE),
        "events": events,
    }


def count(connection: Connection) -> Facts:
    """Count messages, recipients and octets, in all and by state; reads the whole queue."""
    by_state: dict[str, Counter[str]] = {}
    rows = connection.execute(
        "SELECT parked, lease_owner <> '', set_aside_reason IS NOT NULL, count(*), sum(octets),"
        " sum((SELECT count(*) FROM recipient r WHERE r.number = message.number)) FROM message GROUP BY 1, 2, 3"
    )
    for parked, is_leased, is_aside, messages, octets, recipients in rows:
        found = by_state.setdefault(_state(parked, is_leased, is_aside), Counter())
        found.update(messages=messages, recipients=recipients, octets=octets)
    trash = by_state.pop("trash", Counter())
    total: Counter[str] = sum(by_state.values(), Counter())
    names = ("messages", "recipients", "octets")
    return {
        **{name: total[name] for name in names},
        "trash": {name: trash[name] for name in names},
        "states": {state: dict(found) for state, found in sorted(by_state.items())},
    }


def foresee_all(
    connection: Connection, query: Sequence[str], plan: Plan, now: datetime, length: timedelta
) -> Facts:
    """Foresee what waits for its time: the entries that are due first, `MOST_FORESEEN` at most.

    Returns:
        `until`; `entries` and `left_out`, how many were looked at and not; `hours`, each with `from` and how many
        `try`, `warn` and `bounce` fall into it; `events`, the first of all, each with `at`, `queue_id`, `kind`.
    """
    until = now + length
    found = parse_query(query, now)
    where = " AND ".join(
        ("parked IS NULL", "set_aside_reason IS NULL", "due_us IS NOT NULL", *found.conditions)
    )
    numbers = [
        row[0]
        for row in connection.execute(
            f"SELECT number FROM message WHERE {where} ORDER BY due_us LIMIT ?",
            (*found.parameters, MOST_FORESEEN),
        )
    ]
    total = connection.execute(f"SELECT count(*) FROM message WHERE {where}", found.parameters).fetchone()[0]
    entries = [row.entry for row in _load(connection, numbers) if row.entry is not None]
    events = sorted(
        (event for entry in entries for event in plan.foresee(entry, now, until)), key=lambda event: event.at
    )
    hours: dict[int, Counter[str]] = {}
    for event in events:
        hours.setdefault((event.at - now) // timedelta(hours=1), Counter())[event.kind.value] += 1
    return {
        "until": _print(until),
        "entries": len(entries),
        "left_out": total - len(entries),
        "hours": [
            {"from": _print(now + hour * timedelta(hours=1)), "try": 0, "warn": 0, "bounce": 0, **kinds}
            for hour, kinds in sorted(hours.items())
        ],
        "events": [
            {"at": _print(event.at), "queue_id": event.queue_id, "kind": event.kind.value}
            for event in events[:_EVENTS_SHOWN]
        ],
    }


def describe_state(state: QueueState, is_offline: bool) -> Facts:
    """Tell what is withheld: `paused`, `offline`, `suspended`."""
    return {"paused": state.is_paused, "offline": is_offline, "suspended": sorted(state.suspended)}


@attrs.frozen
class _Row:
    number: int
    state: str
    damage: str | None
    octets: int
    parked: str | None
    entry: QueueEntry | None


def _load(connection: Connection, numbers: Sequence[int]) -> Iterator[_Row]:
    more = {
        row[0]: row[1:]
        for row in select_in(
            connection,
            "SELECT number, parked, lease_owner <> '', set_aside_reason FROM message WHERE number IN ({})",
            numbers,
        )
    }
    recipients = recipients_of(connection, numbers)
    rows = {row[0]: row for row in select_in(connection, SELECT_MESSAGE + "WHERE number IN ({})", numbers)}
    for number in numbers:
        if number not in rows:
            continue
        parked, is_leased, damage = more[number]
        entry = None
        try:
            entry = read_entry(rows[number], recipients.get(number, ()))
        except DamagedRow as error:
            damage = damage or str(error)
        state = _state(parked, is_leased, damage is not None)
        yield _Row(number, state, damage, rows[number][5], parked, entry)


def _state(parked: str | None, is_leased: bool, is_aside: bool) -> str:
    if is_aside and parked != TRASH:
        return "damaged"
    if is_leased:
        return "active"
    return _STATES.get(parked, "suspended")


def _describe(row: _Row) -> Facts:
    entry = row.entry
    facts: Facts = {
        "queue_name": _NAMES.get(row.state, "deferred"),
        "queue_id": format_queue_id(row.number),
        "message_size": row.octets,
        "forced_expire": False,
        "state": row.state,
        "damage": row.damage,
    }
    if entry is None:
        return {**facts, "arrival_time": 0, "sender": "", "recipients": []}
    return {
        **facts,
        "arrival_time": int(entry.arrived_at.timestamp()),
        "forced_expire": entry.is_given_up,
        "sender": str(entry.reverse_path or ""),
        "recipients": list(_describe_recipients(entry, entry.envelope.recipients)),
        "arrived_at": _print(entry.arrived_at),
        "attempts": entry.attempts,
        "next_try": _print(entry.due_at) if row.state == "waiting" else None,
        "next_hop": entry.next_hop,
        "waits_for": row.parked,
    }


def _describe_recipients(entry: QueueEntry, recipients: Iterable[Recipient]) -> Iterator[Facts]:
    for recipient in recipients:
        yield {
            "address": str(recipient.forward_path),
            "orig_address": str(recipient.original),
            "delay_reason": entry.last_status.get(recipient.recipient_id, ""),
        }


def _print(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
