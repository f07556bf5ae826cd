"""MTA-STS policies of other domains as they survive a restart, each until its end (RFC 8461 3.3).

Without that a restart would forget what a domain has demanded, and one forged answer would undo it.
`service.sts_policies` keeps the live ones in memory, and decides.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from sqlite3 import Connection

import attrs

from kms.domain.published_tls import StsMode, StsPolicy
from kms.store.schema import from_us, to_us


@attrs.frozen
class KeptPolicy:
    """One domain's policy.

    Attributes:
        policy_id: of the TXT record at the time.
        fetched_at: when its owner last confirmed it.
        expires_at: from then on it counts no more.
        used_at: when mail last went to the domain before that was written; it may have since.
    """

    domain: str
    policy_id: str
    policy: StsPolicy
    fetched_at: datetime
    expires_at: datetime
    used_at: datetime


def save(connection: Connection, kept: KeptPolicy, dropped: Sequence[str] = ()) -> None:
    """Keep a policy in the place of the domain's last one, and forget those of other domains that are dropped."""
    policy = kept.policy
    connection.executemany("DELETE FROM sts_policy WHERE domain = ?", [(domain,) for domain in dropped])
    connection.execute(
        "INSERT OR REPLACE INTO sts_policy VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            kept.domain,
            kept.policy_id,
            policy.mode.value,
            json.dumps(policy.mx),
            policy.life // timedelta(seconds=1),
            to_us(kept.fetched_at),
            to_us(kept.expires_at),
            to_us(kept.used_at),
        ),
    )


def load_live(connection: Connection, now: datetime, most: int) -> list[KeptPolicy]:
    """The policies that count at `now`, those used last first, and at most so many.

    One that cannot be read is left out: its owner has it still, and it must not hinder a start.
    """
    rows = connection.execute(
        "SELECT domain, policy_id, mode, mx, life_seconds, fetched_us, expires_us, used_us FROM sts_policy"
        " WHERE expires_us > ? ORDER BY used_us DESC, domain LIMIT ?",
        (to_us(now), most),
    )
    kept = []
    for row in rows:
        with suppress(ValueError, TypeError, OverflowError):
            kept.append(_read(*row))
    return kept


def _read(
    domain: str,
    policy_id: str,
    mode: str,
    mx: str,
    life_seconds: int,
    fetched_us: int,
    expires_us: int,
    used_us: int,
) -> KeptPolicy:
    policy = StsPolicy(StsMode(mode), timedelta(seconds=life_seconds), tuple(json.loads(mx)))
    return KeptPolicy(domain, policy_id, policy, *map(from_us, (fetched_us, expires_us, used_us)))


def purge(connection: Connection, now: datetime) -> int:
    """Forget the policies that have ended; says how many."""
    return connection.execute("DELETE FROM sts_policy WHERE expires_us <= ?", (to_us(now),)).rowcount
