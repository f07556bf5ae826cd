"""The queue in the store itself, where no server runs; the other half of queue_online.py.

All works here too; what is ordered is done when the server starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection
from typing import Any

import attrs

from kms.config.settings import Settings
from kms.domain.address import AddressSyntaxError, normalise_domain
from kms.store import queue_facts, queue_work
from kms.store.queue_facts import Plan, describe_state
from kms.store.queue_query import QueryError
from kms.store.queue_state import QueueState, load_state, make_due, save_state
from kms.store.queue_work import Asked, QueueOrder

_Facts = dict[str, Any]
_Run = Callable[[Callable[[Connection], Any]], Any]


class OfflineQueue:
    """The queue of one store; methods as in `session.QueueAdministration`.

    Args:
        run: runs an operation in a transaction.
        settings: of the configuration.
    """

    def __init__(self, run: _Run, settings: Settings) -> None:
        self._run = run
        self._settings = settings

    @property
    def _plan(self) -> Plan:
        settings = self._settings
        return Plan(settings.retry_rules, bool(settings.smarthosts), settings.directory)

    def list(self, query: str, after: str, limit: int, is_trash: bool) -> list[_Facts]:
        """See `QueueAdministration`."""
        now = _now()
        found: list[_Facts] = self._run(
            lambda store: queue_facts.list_page(store, [query], after, limit, is_trash, now)
        )
        return found

    def show(self, queue_id: str) -> _Facts:
        """See `QueueAdministration`."""
        now = _now()
        facts: _Facts = self._run(lambda store: queue_facts.show(store, queue_id, self._plan, now))
        return facts

    def count(self) -> _Facts:
        """See `QueueAdministration`."""
        return self._run(lambda store: {**queue_facts.count(store), **self._describe(load_state(store))})  # type: ignore[no-any-return]

    def forecast(self, query: str, hours: int) -> _Facts:
        """See `QueueAdministration`."""
        now, length = _now(), timedelta(hours=hours)
        facts: _Facts = self._run(
            lambda store: queue_facts.foresee_all(store, [query], self._plan, now, length)
        )
        return facts

    def change(self, what: str, body: _Facts) -> _Facts:
        """See `QueueAdministration`."""
        facts: _Facts = self._run(lambda store: self._change(store, what, body))
        return facts

    def _change(self, store: Connection, what: str, body: _Facts) -> _Facts:
        now, is_dry_run = _now(), bool(body.get("dry_run"))
        if what == "run":
            waiting = queue_facts.count(store)["states"].get("waiting", {}).get("messages", 0)
            return {"count": waiting if is_dry_run else queue_work.run_all(store, now), "dry_run": is_dry_run}
        if what in {order.value for order in QueueOrder}:
            order = QueueOrder(what)
            is_reroute = order is QueueOrder.REROUTE
            hop = queue_work.read_next_hop(body["next_hop"]) if is_reroute else ""
            numbers = queue_work.choose(store, order, body.get("ids", ()), body.get("query", ()), now)
            asked = Asked(order, numbers, hop, f"uid {os.getuid()}", is_dry_run)
            return queue_work.carry_out(store, asked, now)
        old = load_state(store)
        new = self._withhold(old, what, body)
        if not is_dry_run:
            save_state(store, new, now)
            make_due(store, tuple(old.suspended - new.suspended), now)
        return {**self._describe(new), "dry_run": is_dry_run}

    def _withhold(self, state: QueueState, what: str, body: _Facts) -> QueueState:
        match what:
            case "pause" | "continue":
                return attrs.evolve(state, is_paused=what == "pause")
            case "offline":
                if not body["on"] and self._settings.queue.offline:
                    raise QueryError("[queue] offline = yes in the configuration: change it there")
                return attrs.evolve(state, is_offline=body["on"])
        try:
            name = frozenset((normalise_domain(body["domain"]),))
        except AddressSyntaxError as error:
            raise QueryError(f"{body['domain']!r} is no domain: {error}") from None
        domains = state.suspended | name if what == "suspend" else state.suspended - name
        return attrs.evolve(state, suspended=domains)

    def _describe(self, state: QueueState) -> _Facts:
        return describe_state(state, state.is_offline or self._settings.queue.offline)


def _now() -> datetime:
    return datetime.now(UTC)
