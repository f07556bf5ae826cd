"""What an operator may do with the queue of the running server. Page, API and `kmsctl` all go through here.

Promises: an order is committed when its answer comes, and acts at once. Entries that wait in memory for their turn
are taken back first; those that are being tried at this moment are left alone and named as busy. Who gave an order,
and what, stands in the operations log.
Flow: queue_api.py calls these; what an order means is in store/queue_work.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import attrs
from twisted.logger import Logger

from kms.config.settings import Settings
from kms.domain.address import AddressSyntaxError, normalise_domain
from kms.service.clock import Clock
from kms.service.database import Database
from kms.service.directory import DirectoryCache
from kms.service.outbound import Outbound
from kms.service.queue_runner import QueueRunner
from kms.store import queue_facts, queue_work
from kms.store.queue_facts import Facts, Plan, describe_state
from kms.store.queue_query import QueryError
from kms.store.queue_state import QueueState, load_state, make_due, save_state, unpark_ended
from kms.store.queue_work import Asked, QueueOrder

_PURGED_AT_ONCE = 200
_AT_MOST_IN_A_PAGE = 1000


class Server(Protocol):
    """The part of `App` that is needed."""

    settings: Settings
    directory: DirectoryCache
    outbound: Outbound
    runner: QueueRunner

    @property
    def clock(self) -> Clock:
        """For all of it."""
        ...

    @property
    def database(self) -> Database:
        """The store."""
        ...


class QueueControl:
    """The operator's requests about the queue; values are those of the JSON API.

    Args:
        server: whose queue it is.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._database = server.database
        self._runner = server.runner
        self._outbound = server.outbound
        self._clock = server.clock
        self._withholding = server.runner.withholding
        self._log = Logger(namespace="kms.operator")

    # Reading

    async def list(self, query: Sequence[str], after: str, limit: int, is_trash: bool) -> Sequence[Facts]:
        """A page of the queue, or of the trash; raises QueryError."""
        now, most = self._clock.now(), min(max(limit, 1), _AT_MOST_IN_A_PAGE)
        return await self._database.read(
            lambda store: queue_facts.list_page(store, query, after, most, is_trash, now)
        )

    async def show(self, queue_id: str) -> Facts:
        """One entry; raises NotFound."""
        plan, now = self._plan(), self._clock.now()
        return await self._database.read(lambda store: queue_facts.show(store, queue_id, plan, now))

    async def count(self) -> Facts:
        """How much there is, and what is withheld."""
        facts = await self._database.read(queue_facts.count)
        return {**facts, **self.state()}

    async def forecast(self, query: Sequence[str], length: timedelta) -> Facts:
        """What will be tried, warned of and given up; raises QueryError."""
        plan, now = self._plan(), self._clock.now()
        return await self._database.read(
            lambda store: queue_facts.foresee_all(store, query, plan, now, length)
        )

    def state(self) -> Facts:
        """What is withheld."""
        return describe_state(self._withholding.state, self._withholding.is_offline)

    def _plan(self) -> Plan:
        return Plan(
            self._runner.rules, bool(self._server.settings.smarthosts), self._server.directory.current
        )

    # Orders about entries

    async def order(self, order: QueueOrder, asked: Mapping[str, Any], by: str) -> Facts:
        """Carry out an order on entries; see `queue_work.carry_out`.

        Args:
            asked: `ids` or `query`, lists of texts; `next_hop` for a reroute; `dry_run`.
            by: who gives it.

        Raises:
            NotFound: an id is not there; nothing was done.
            QueryError: what is asked makes no sense.
        """
        now = self._clock.now()
        ids, query = asked.get("ids") or (), asked.get("query") or ()
        hop = (
            queue_work.read_next_hop(str(asked.get("next_hop") or "")) if order is QueueOrder.REROUTE else ""
        )
        numbers = await self._database.read(lambda store: queue_work.choose(store, order, ids, query, now))
        wanted = Asked(order, numbers, hop, by, bool(asked.get("dry_run")))
        if not wanted.is_dry_run:
            meant = frozenset(numbers)
            self._outbound.withdraw(lambda transmission: transmission.entry.number in meant)
        facts = await self._database.run(lambda store: queue_work.carry_out(store, wanted, now))
        if not wanted.is_dry_run:
            what = ", ".join([*ids, *query])
            self._tell(by, f"{order.value} {what}: {facts['count']} messages, {len(facts['busy'])} busy")
            self._runner.wake()
        return facts

    async def run_all(self, is_dry_run: bool, by: str) -> Facts:
        """Try everything that waits for its time."""
        if is_dry_run:
            facts = await self._database.read(queue_facts.count)
            waiting = facts["states"].get("waiting", {}).get("messages", 0)
            return {"count": waiting, "dry_run": True}
        now = self._clock.now()
        count = await self._database.run(lambda store: queue_work.run_all(store, now))
        self._tell(by, f"run: {count} messages")
        self._runner.wake()
        return {"count": count, "dry_run": False}

    # Withholding

    async def pause(self, is_paused: bool, is_dry_run: bool, by: str) -> Facts:
        """Begin nothing more, or go on; what is under way ends."""
        state = attrs.evolve(self._withholding.state, is_paused=is_paused)
        return await self._withhold(state, is_dry_run, by, "pause" if is_paused else "continue")

    async def go_offline(self, is_offline: bool, is_dry_run: bool, by: str) -> Facts:
        """Hold all outgoing mail, or let it go; raises QueryError where the configuration holds it."""
        if not is_offline and self._withholding.configured_offline:
            raise QueryError("[queue] offline = yes in the configuration: change it there, and reload")
        state = attrs.evolve(self._withholding.state, is_offline=is_offline)
        return await self._withhold(state, is_dry_run, by, f"offline {'on' if is_offline else 'off'}")

    async def suspend(self, domain: str, is_suspended: bool, is_dry_run: bool, by: str) -> Facts:
        """Send nothing to a domain (or a host that mail was rerouted to), or let it go again; raises QueryError."""
        try:
            name = normalise_domain(domain)
        except AddressSyntaxError as error:
            raise QueryError(f"{domain!r} is no domain: {error}") from None
        old = self._withholding.state
        domains = old.suspended | {name} if is_suspended else old.suspended - {name}
        verb = "suspend" if is_suspended else "resume"
        return await self._withhold(attrs.evolve(old, suspended=domains), is_dry_run, by, f"{verb} {name}")

    async def _withhold(self, state: QueueState, is_dry_run: bool, by: str, what: str) -> Facts:
        if is_dry_run:
            return {
                **describe_state(state, self._withholding.configured_offline or state.is_offline),
                "dry_run": True,
            }
        now, resumed = self._clock.now(), tuple(self._withholding.state.suspended - state.suspended)
        await self._database.run(lambda store: save_state(store, state, now))
        self._withholding.state = state
        self._withdraw_withheld()
        standing = self._withholding.standing()

        def free(store: Any) -> None:
            unpark_ended(store, standing)
            make_due(store, resumed, now)

        await self._database.run(free)
        self._tell(by, what)
        self._runner.wake()
        return {**self.state(), "dry_run": False}

    def _withdraw_withheld(self) -> None:
        """Take back what waits for its turn and is withheld now."""
        withholding = self._withholding
        self._outbound.withdraw(
            lambda item: (
                withholding.is_paused
                or any(withholding.reason(item.entry, one.forward_path.domain) for one in item.recipients)
            )
        )

    # What is not asked for

    def load(self, store: Any) -> None:
        """Take over what is withheld since before a restart, and free what is not any more; at start."""
        self._withholding.state = load_state(store)
        unpark_ended(store, self._withholding.standing())

    def use(self, settings: Settings) -> None:
        """Take changed settings: `[queue] offline` acts at once, a rate from the next attempt on."""
        withholding = self._withholding
        withholding.set_rate(settings.delivery.rate_per_destination)
        if withholding.configured_offline == settings.queue.offline:
            return
        withholding.configured_offline = settings.queue.offline
        self._withdraw_withheld()
        standing = withholding.standing()
        freed = self._database.run(lambda store: unpark_ended(store, standing))
        freed.addCallbacks(
            lambda _: self._runner.wake(), lambda failure: self._log.failure("Mail stays parked", failure)
        )

    async def sweep(self) -> None:
        """Forget what has been in the trash for `[queue] trash_keeps`."""
        settings = self._server.settings
        before, spool = self._clock.now() - settings.queue.trash_keeps, Path(settings.spool_dir)
        files = await self._database.run(
            lambda store: queue_work.purge(store, before, _PURGED_AT_ONCE, spool)
        )
        for path in files:
            self._runner.remove_body(path)

    def _tell(self, by: str, what: str) -> None:
        self._log.info("queue {what} (by {by})", what=what, by=by)
