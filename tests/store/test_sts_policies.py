from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection

import attrs
import pytest

from kms.domain.published_tls import StsMode, StsPolicy
from kms.store import schema
from kms.store.migrations import _STS_POLICY_USE, MIGRATIONS
from kms.store.schema import IN_MEMORY, open_database, to_us
from kms.store.sts_policies import KeptPolicy, load_live, purge, save
from tests.support.queue_entries import NOW

WEEK = timedelta(weeks=1)
POLICY = StsPolicy(StsMode.ENFORCE, WEEK, ("mx.far.test", "*.far.test"))
FAR = KeptPolicy("far.test", "1", POLICY, NOW - WEEK, NOW + WEEK, NOW)
NEAR = KeptPolicy(
    "near.test", "b", StsPolicy(StsMode.NONE, WEEK, ()), NOW, NOW + timedelta(days=1), NOW - timedelta(days=1)
)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with closing(open_database(IN_MEMORY)) as connection:
        yield connection


def test_policies_come_back_as_they_were_the_last_used_first(connection: Connection) -> None:
    save(connection, NEAR)
    save(connection, FAR)
    assert load_live(connection, NOW, 10) == [FAR, NEAR]
    assert load_live(connection, NOW, 1) == [FAR]


def test_a_domain_has_one_policy(connection: Connection) -> None:
    later = attrs.evolve(FAR, policy_id="2", policy=attrs.evolve(POLICY, mode=StsMode.TESTING))
    save(connection, FAR)
    save(connection, later)
    assert load_live(connection, NOW, 10) == [later]


def test_a_policy_ends(connection: Connection) -> None:
    save(connection, FAR)
    save(connection, NEAR)
    assert load_live(connection, NEAR.expires_at, 10) == [FAR]
    assert purge(connection, NEAR.expires_at) == 1
    assert load_live(connection, NOW, 10) == [FAR]


def test_one_of_an_older_version_was_used_when_it_was_fetched(tmp_path: Path) -> None:
    path = tmp_path / "kms.sqlite3"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", MIGRATIONS[: MIGRATIONS.index(_STS_POLICY_USE)])
        with closing(open_database(path)) as connection:
            times = (to_us(NOW), to_us(NOW + WEEK))
            connection.execute("INSERT INTO sts_policy VALUES ('a.test', '1', 'none', '[]', 7, ?, ?)", times)
    with closing(open_database(path)) as connection:
        (kept,) = load_live(connection, NOW, 10)
    assert (kept.domain, kept.used_at) == ("a.test", NOW)


@pytest.mark.parametrize(
    "change",
    [
        "mode = 'strict'",
        "mx = '[\"x'",
        "mx = '7'",
        "life_seconds = 1 << 60",
        "fetched_us = 1 << 62",
        "used_us = 1 << 62",
    ],
)
def test_one_that_cannot_be_read_hinders_no_start(connection: Connection, change: str) -> None:
    save(connection, FAR)
    save(connection, NEAR)
    connection.execute(f"UPDATE sts_policy SET {change} WHERE domain = 'near.test'")
    assert load_live(connection, NOW, 10) == [FAR]
