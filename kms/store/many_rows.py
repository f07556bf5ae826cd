"""Statements that work on many rows at once.

`executemany` gives the interpreter's lock away and takes it back for each row; while the reactor is busy that
costs more than the row. One statement for many rows does it once. The texts are few and remembered, so SQLite
keeps them prepared.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from sqlite3 import Connection
from typing import Any

_MOST_PARAMETERS = 500
_MOST_ROWS = 64


@functools.lru_cache(maxsize=1024)
def _with_values(statement: str, rows: int, width: int) -> str:
    row = f"({', '.join('?' * width)})"
    return statement.format(", ".join([row] * rows))


def execute_rows(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run `statement`, which has one `{}` for a list of rows, in bites that every engine can swallow.

    Args:
        rows: all of one width.
    """
    for start in range(0, len(rows), _MOST_ROWS):
        bite = rows[start : start + _MOST_ROWS]
        text = _with_values(statement, len(bite), len(bite[0]))
        connection.execute(text, tuple(chain.from_iterable(bite)))


def execute_in(connection: Connection, statement: str, numbers: Iterable[int]) -> None:
    """Run `statement`, which has one `({})` for the list of numbers, in the same way."""
    for _ in select_in(connection, statement, numbers):
        pass


def select_in(connection: Connection, query: str, numbers: Iterable[int]) -> Iterator[tuple[Any, ...]]:
    """Run `query`, which has one `({})` for the list of numbers, in bites that every engine can swallow."""
    left = iter(numbers)
    while bite := tuple(islice(left, _MOST_PARAMETERS)):
        yield from connection.execute(query.format(", ".join("?" * len(bite))), bite)
