"""Decision records, kept for some days and up to a number of them: who was refused, by which rule, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from sqlite3 import Connection

from kms.domain.decision import ID_COUNT, Record, Stage
from kms.store.many_rows import execute_rows
from kms.store.schema import MAX_US, from_us, to_us

MOST_RECORDS = 1_000_000
_COLUMNS = "number, at_us, client, stage, rule, reply, facts, is_observed"


def add(connection: Connection, records: Sequence[Record]) -> list[None]:
    """Remember decisions; made for `Database.run_batched`."""
    rows = [
        (
            record.number,
            to_us(record.at),
            record.client,
            record.stage.value,
            record.rule,
            record.reply,
            json.dumps(record.facts, ensure_ascii=False),
            record.is_observed,
        )
        for record in records
    ]
    execute_rows(connection, f"INSERT OR REPLACE INTO decision ({_COLUMNS}) VALUES {{}}", rows)
    return [None] * len(records)


def greatest_number(connection: Connection) -> int:
    """The greatest number of a record; 0 where there is none."""
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM decision").fetchone()[0])


def find(connection: Connection, short_number: int) -> Record | None:
    """Give the newest record whose id is that of `short_number`; None where there is none, or it cannot be read.

    Args:
        short_number: from `parse_decision_id`, so below `ID_COUNT`; after so many records the ids begin anew.
    """
    greatest = greatest_number(connection)
    number = greatest - (greatest - short_number) % ID_COUNT
    row = connection.execute(f"SELECT {_COLUMNS} FROM decision WHERE number = ?", (number,)).fetchone()
    return None if row is None else _read(row)


def _read(row: tuple[int, int, str, str, str, str, str, int]) -> Record | None:
    number, at_us, client, stage, rule, reply, facts, is_observed = row
    try:
        at = from_us(min(max(at_us, 0), MAX_US))
        return Record(number, at, client, Stage(stage), rule, reply, json.loads(facts), bool(is_observed))
    except ValueError:
        return None


def purge(connection: Connection, before: datetime, limit: int) -> int:
    """Forget records of before an instant, and those beyond the newest `MOST_RECORDS`; says how many.

    Args:
        limit: at most so many at once, the oldest first.
    """
    overdue = greatest_number(connection) - MOST_RECORDS
    return connection.execute(
        "DELETE FROM decision WHERE number IN (SELECT number FROM decision ORDER BY number LIMIT ?)"
        " AND (at_us < ? OR number <= ?)",
        (limit, to_us(before), overdue),
    ).rowcount
