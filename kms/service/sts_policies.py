"""The MTA-STS policies of the domains that mail goes to (RFC 8461): fetched, kept, renewed.

Promises: a policy that was fetched counts until its end, whatever the DNS and the policy's server say meanwhile,
unless they give a newer one; equal fetches under way are made once; one that failed is not made again for some
minutes; trouble of any kind never fails mail, and never undoes a policy. Where there are too many, those go that were
not used for the longest time.

Flow: service/route_finder.py asks `find` for each transaction; mail_server's sweep renews.
"""

from __future__ import annotations

import math
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
RENEWALS_AT_A_SWEEP = 10


@attrs.define
class _Entry:
    """A policy in memory; `was_used` since it was fetched; when its renewal was last `tried_at` (monotonic)."""

    kept: KeptPolicy
    was_used: bool = False
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
        self._log = Logger(namespace="kms.delivery")

    def take(self, kept: Iterable[KeptPolicy]) -> None:
        """Take over what the store has kept."""
        in_order = sorted(kept, key=lambda one: one.fetched_at)
        self._entries = {one.domain: _Entry(one) for one in in_order}

    async def find(self, domain: str) -> StsPolicy | None:
        """Give the policy that counts for mail to `domain` now (RFC 8461 5.1); None = there is none."""
        entry = self._live(domain)
        policy_id = await self._find_id(domain)
        if entry is not None and policy_id in (None, entry.kept.policy_id):
            entry.was_used = True
            self._entries[domain] = self._entries.pop(domain, entry)  # the last to be dropped
            return entry.kept.policy
        known = None if entry is None else entry.kept.policy
        if policy_id is None or self._is_paused(domain, policy_id):
            return known
        return await self._share_fetch(domain, policy_id) or known

    async def sweep(self) -> None:
        """Forget what has ended; fetch again what is in use and was not confirmed for a day, or half its life."""
        now = self._clock.now()
        self._entries = {name: entry for name, entry in self._entries.items() if entry.kept.expires_at > now}
        await self._database.run(lambda connection: store.purge(connection, now))
        stale = [entry for entry in self._entries.values() if entry.was_used and _is_stale(entry, now)]
        stale.sort(key=lambda entry: entry.tried_at)  # those that fail must not keep others from their turn
        for entry in stale[:RENEWALS_AT_A_SWEEP]:
            kept, entry.tried_at = entry.kept, self._clock.monotonic()
            policy_id = await self._find_id(kept.domain) or kept.policy_id
            if not self._is_paused(kept.domain, policy_id):
                await self._share_fetch(kept.domain, policy_id)

    def _live(self, domain: str) -> _Entry | None:
        entry = self._entries.get(domain)
        return None if entry is None or entry.kept.expires_at <= self._clock.now() else entry

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
        kept = KeptPolicy(domain, policy_id, policy, now, now + max(policy.life, SHORTEST_LIFE))
        self._entries.pop(domain, None)
        self._entries[domain] = _Entry(kept, was_used=True)
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


def _is_stale(entry: _Entry, now: datetime) -> bool:
    return now - entry.kept.fetched_at >= min(RENEW_AFTER, entry.kept.policy.life / 2)
