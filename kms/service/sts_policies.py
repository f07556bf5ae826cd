"""The MTA-STS policies of the domains that mail goes to (RFC 8461): fetched, kept, renewed.

Promises: a policy that was fetched counts until its end, whatever the DNS and the policy's server say meanwhile,
unless they give a newer one; equal fetches under way are made once; one that failed is not made again for some
minutes; trouble of any kind never fails mail, and never undoes a policy. Where there are too many, those go that were
not used for the longest time. A policy is renewed as long as mail went to the domain within five weeks, so that one
mail a month keeps it; then it comes to its end. The last use is written when a policy is, at no cost to a message.

Flow: service/route_finder.py asks `find` for each transaction; mail_server's sweep lets renewals begin.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kms.domain.dns_answer import Texts
from kms.domain.published_tls import StsPolicy
from kms.policy.mta_sts import MAX_POLICY_OCTETS, StsError, parse_policy, parse_record
from kms.ports import Resolver
from kms.service.clock import Clock
from kms.service.database import Database
from kms.service.https_fetch import FetchError, FetchText
from kms.store import sts_policies as store
from kms.store.sts_policies import KeptPolicy

MAX_POLICIES = 5_000
PATH = "/.well-known/mta-sts.txt"
PAUSE_SECONDS = 300.0
SHORTEST_LIFE = timedelta(minutes=5)
RENEW_AFTER = timedelta(days=1)
IN_USE = timedelta(weeks=5)
RENEWALS_AT_ONCE = 4
RENEWALS_AT_A_SWEEP = 100


@attrs.define
class _Entry:
    """A policy in memory; when mail last went there; when its renewal was last `tried_at` (monotonic)."""

    kept: KeptPolicy
    used_at: datetime
    tried_at: float = -math.inf


class StsPolicies:
    """Knows the policies.

    Args:
        database: where they survive a restart.
        resolver: asks for the TXT records.
        fetch: gets policy files.
        clock: for their ends.
    """

    def __init__(self, database: Database, resolver: Resolver, fetch: FetchText, clock: Clock) -> None:
        self._database = database
        self._resolver = resolver
        self._fetch = fetch
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._paused: dict[str, tuple[str, float]] = {}
        self._fetching: dict[str, list[Deferred[StsPolicy | None]]] = {}
        self._due: deque[str] = deque()
        self._renewers = 0
        self._log = Logger(namespace="kms.delivery")

    def take(self, kept: Iterable[KeptPolicy]) -> None:
        """Take over what the store has kept."""
        in_order = sorted(kept, key=lambda one: one.used_at)
        self._entries = {one.domain: _Entry(one, one.used_at) for one in in_order}

    async def find(self, domain: str) -> StsPolicy | None:
        """Give the policy that counts for mail to `domain` now (RFC 8461 5.1); None = there is none."""
        entry = self._use(domain)
        policy_id = await self._find_id(domain)
        if entry is not None and policy_id in (None, entry.kept.policy_id):
            return entry.kept.policy
        known = None if entry is None else entry.kept.policy
        if policy_id is None or self._is_paused(domain, policy_id):
            return known
        return await self._share_fetch(domain, policy_id) or known

    async def sweep(self, may_fetch: bool = True) -> None:
        """Forget what has ended; begin to fetch again what is in use and is a day old, or half its life.

        A few are fetched at a time, and not awaited: a server that is slow delays only itself.
        """
        now = self._clock.now()
        self._entries = {name: entry for name, entry in self._entries.items() if entry.kept.expires_at > now}
        await self._database.run(lambda connection: store.purge(connection, now))
        due = [entry for entry in self._entries.values() if _is_due(entry, now)] if may_fetch else []
        due.sort(key=lambda entry: entry.tried_at)  # those that fail must not keep others from their turn
        self._due = deque(entry.kept.domain for entry in due[:RENEWALS_AT_A_SWEEP])
        for _ in range(self._renewers, RENEWALS_AT_ONCE):
            self._renewers += 1
            Deferred.fromCoroutine(self._renew_in_turn()).addErrback(
                lambda failure: self._log.failure("MTA-STS policies could not be renewed", failure)
            )

    async def _renew_in_turn(self) -> None:
        try:
            while self._due:
                domain = self._due.popleft()
                entry = self._entries.get(domain)
                if entry is not None and domain not in self._fetching and _is_due(entry, self._clock.now()):
                    await self._renew(entry)
        finally:
            self._renewers -= 1

    async def _renew(self, entry: _Entry) -> None:
        kept, entry.tried_at = entry.kept, self._clock.monotonic()
        policy_id = await self._find_id(kept.domain) or kept.policy_id
        if not self._is_paused(kept.domain, policy_id):
            await self._share_fetch(kept.domain, policy_id)

    def _use(self, domain: str) -> _Entry | None:
        """Note that mail goes to a domain, and give its policy where that counts."""
        entry = self._entries.pop(domain, None)
        if entry is None:
            return None
        self._entries[domain] = entry  # the last to be dropped
        entry.used_at = now = self._clock.now()
        return entry if entry.kept.expires_at > now else None

    async def _find_id(self, domain: str) -> str | None:
        answer = await self._resolver.lookup_texts(f"_mta-sts.{domain}")
        return parse_record(answer.texts) if isinstance(answer, Texts) else None

    def _is_paused(self, domain: str, policy_id: str) -> bool:
        failed_id, until = self._paused.get(domain, ("", 0.0))
        return failed_id == policy_id and self._clock.monotonic() < until

    async def _share_fetch(self, domain: str, policy_id: str) -> StsPolicy | None:
        """Fetch a policy, or await the fetch under way."""
        waiting = self._fetching.get(domain)
        if waiting is not None:
            turn: Deferred[StsPolicy | None] = Deferred()
            waiting.append(turn)
            return await turn
        self._fetching[domain] = []
        policy = None
        try:
            policy = await self._fetch_policy(domain, policy_id)
        except (FetchError, StsError) as error:
            self._pause(domain, policy_id)
            self._log.warn("The MTA-STS policy of {domain}: {error}", domain=domain, error=error)
        except Exception:  # whatever it is, it is no reason to lose mail
            self._pause(domain, policy_id)
            self._log.failure("The MTA-STS policy of {domain} could not be fetched", domain=domain)
        for turn in self._fetching.pop(domain):
            turn.callback(policy)
        return policy

    async def _fetch_policy(self, domain: str, policy_id: str) -> StsPolicy:
        policy = parse_policy(await self._fetch(f"mta-sts.{domain}", PATH, MAX_POLICY_OCTETS))
        now = self._clock.now()
        known = self._entries.get(domain)
        used_at = now if known is None else known.used_at
        kept = KeptPolicy(domain, policy_id, policy, now, now + max(policy.life, SHORTEST_LIFE), used_at)
        self._entries[domain] = _Entry(kept, used_at)
        dropped = list(self._entries)[: max(0, len(self._entries) - MAX_POLICIES)]
        for name in dropped:
            del self._entries[name]
        try:
            await self._database.run(lambda connection: store.save(connection, kept, dropped))
        except Exception:
            self._log.failure("The MTA-STS policy of {domain} could not be stored", domain=domain)
        return policy

    def _pause(self, domain: str, policy_id: str) -> None:
        if len(self._paused) >= MAX_POLICIES:
            self._paused.clear()
        self._paused[domain] = (policy_id, self._clock.monotonic() + PAUSE_SECONDS)


def _is_due(entry: _Entry, now: datetime) -> bool:
    is_stale = now - entry.kept.fetched_at >= min(RENEW_AFTER, entry.kept.policy.life / 2)
    return is_stale and now - entry.used_at < IN_USE
