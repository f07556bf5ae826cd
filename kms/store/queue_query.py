"""The filters of `kmsctl queue … --query`, as SQL: from=, to=, domain=, status=, age> and age<, size> and size<.

Words are parted by blanks or commas, and all must hold. Addresses compare without regard to case, `*` stands for any
run of characters and `?` for one; `from=<>` is the null reverse-path. A status is one of those below, or a
pattern for the last words of the remote server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from sqlite3 import Connection

import attrs

from kms.config.problems import ValueFault
from kms.config.units import parse_duration, parse_size
from kms.store.accounts import AccountError
from kms.store.schema import to_us

IN_QUEUE = "parked IS NOT 'trash'"
IN_TRASH = "parked = 'trash'"

_WORD = re.compile(r"[^\s,]+")
_TERM = re.compile(r"(from|to|domain|status|age|size)([=<>])(.+)")
_COMPARED = ("age", "size")
_STATUSES = {
    "active": "lease_owner <> ''",
    "deferred": "lease_owner = '' AND parked IS NULL AND set_aside_reason IS NULL AND attempts > 0",
    "waiting": "lease_owner = '' AND parked IS NULL AND set_aside_reason IS NULL",
    "held": "parked = 'hold'",
    "offline": "parked = 'offline'",
    "suspended": "parked LIKE '@%'",
    "damaged": "set_aside_reason IS NOT NULL",
}


class QueryError(AccountError):
    """A query that makes no sense; the text says what would."""


@attrs.frozen
class QueueQuery:
    """Conditions that all hold.

    Attributes:
        conditions: of SQL, on the row of `message`.
        parameters: of all of them, in order.
    """

    conditions: tuple[str, ...] = ()
    parameters: tuple[object, ...] = ()

    def select(self, connection: Connection, after: int, limit: int, scope: str = IN_QUEUE) -> list[int]:
        """Find the numbers of entries above `after`, in their order, at most `limit` (-1 = all)."""
        where = " AND ".join((scope, "message.number > ?", *self.conditions))
        rows = connection.execute(
            f"SELECT message.number FROM message WHERE {where} ORDER BY message.number LIMIT ?",
            (after, *self.parameters, limit),
        )
        return [row[0] for row in rows]


def parse_query(texts: Iterable[str], now: datetime) -> QueueQuery:
    """Read the words of a query; raises QueryError."""
    conditions, parameters = [], []
    for word in (word for text in texts for word in _WORD.findall(text)):
        found = _TERM.fullmatch(word)
        if not found or (found[1] in _COMPARED) == (found[2] == "="):
            raise QueryError(
                f"{word!r} is no filter: write from=, to=, domain=, status=, age> (or <) and size> (or <)"
            )
        try:
            condition, values = _TERMS[found[1]](found[2], found[3], now)
        except ValueFault as fault:
            raise QueryError(f"{word!r}: {fault}") from None
        conditions.append(f"({condition})")
        parameters += values
    return QueueQuery(tuple(conditions), tuple(parameters))


_Term = tuple[str, list[object]]


def _pattern(text: str) -> str:
    """Make a pattern for GLOB, in which a bracket is a plain character."""
    return text.lower().replace("[", "[[]")


def _from(sign: str, text: str, now: datetime) -> _Term:
    if text == "<>":
        return "reverse_domain IS NULL", []
    return "lower(reverse_local_part || '@' || reverse_domain) GLOB ?", [_pattern(text)]


def _of_recipient(condition: str) -> Callable[[str, str, datetime], _Term]:
    query = f"EXISTS (SELECT 1 FROM recipient r WHERE r.number = message.number AND {condition} GLOB ?)"
    return lambda sign, text, now: (query, [_pattern(text)])


def _status(sign: str, text: str, now: datetime) -> _Term:
    known = _STATUSES.get(text.lower())
    return (known, []) if known else _of_recipient("lower(r.last_status)")(sign, text, now)


def _age(sign: str, text: str, now: datetime) -> _Term:
    return f"arrived_us {'<' if sign == '>' else '>'} ?", [to_us(now - parse_duration(text))]


def _size(sign: str, text: str, now: datetime) -> _Term:
    return f"octets {sign} ?", [parse_size(text)]


_TERMS: dict[str, Callable[[str, str, datetime], _Term]] = {
    "from": _from,
    "to": _of_recipient("lower(r.local_part || '@' || r.domain)"),
    "domain": _of_recipient("lower(r.domain)"),
    "status": _status,
    "age": _age,
    "size": _size,
}
