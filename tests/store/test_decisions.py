from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Connection

import pytest

from kms.domain.decision import ID_COUNT, Record, Rule, Stage
from kms.store import decisions
from kms.store.schema import open_database

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FOREVER = 1000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Connection]:
    with closing(open_database(tmp_path / "kms.sqlite3")) as connection:
        yield connection


def make_record(number: int, at: datetime = NOW, is_observed: bool = False) -> Record:
    facts: dict[str, str | int | None] = {"to": "b@far.test", "ünï": 1, "login": None}
    return Record(number, at, "192.0.2.1", Stage.RCPT, Rule.QUOTA.value, "452 4.2.2 Full", facts, is_observed)


def test_a_record_is_found_by_its_number(store: Connection) -> None:
    records = [make_record(1), make_record(2, is_observed=True)]
    decisions.add(store, records)
    assert [decisions.find(store, number) for number in (1, 2, 3, 0)] == [*records, None, None]
    assert decisions.greatest_number(store) == 2


def test_an_empty_store_has_none(store: Connection) -> None:
    assert decisions.greatest_number(store) == 0
    assert decisions.find(store, 5) is None
    assert decisions.purge(store, NOW, FOREVER) == 0
    assert decisions.add(store, []) == []


def test_when_the_ids_have_begun_anew_the_newest_record_is_found(store: Connection) -> None:
    decisions.add(store, [make_record(5), make_record(ID_COUNT + 5), make_record(ID_COUNT + 9)])
    found = decisions.find(store, 5)
    assert found is not None
    assert found.number == ID_COUNT + 5


@pytest.mark.parametrize("column", ["facts", "stage"])
def test_a_row_that_cannot_be_read_is_no_record(store: Connection, column: str) -> None:
    decisions.add(store, [make_record(1)])
    store.execute(f"UPDATE decision SET {column} = 'nonsense'")
    assert decisions.find(store, 1) is None


def test_what_was_kept_long_enough_is_forgotten_a_bite_at_a_time(store: Connection) -> None:
    old = NOW - timedelta(days=8)
    decisions.add(store, [make_record(number, old) for number in (1, 2, 3)] + [make_record(4)])
    before = NOW - timedelta(days=7)
    assert [decisions.purge(store, before, 2) for _ in range(3)] == [2, 1, 0]
    assert decisions.find(store, 4) == make_record(4)


def test_more_than_so_many_are_never_kept(store: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MOST_RECORDS", 2)
    decisions.add(store, [make_record(number) for number in (1, 2, 3, 4)])
    assert decisions.purge(store, NOW - timedelta(days=7), FOREVER) == 2
    assert [decisions.find(store, number) is None for number in (1, 2, 3, 4)] == [True, True, False, False]
