"""The durable queue: add, claim what is due, settle what came of it; a crash loses nothing.

All operations run inside the caller's transaction (see `service.database`) and touch nothing but the
database, except that `claim` looks at body files. Promises: an entry is claimed by one owner at a time; an
outcome is taken only from the holder of the newest claim (its fence); the end of recipients and the report
about them are one transaction; an entry that cannot be read is set aside with a reason, and never deleted.

The fast path: a new entry is inserted leased to this process and tried from memory, so that its rows are
written and deleted, and never searched or read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from sqlite3 import Connection, DatabaseError
from typing import Any

import attrs

from kms.domain.content import Content, FileContent, InlineContent
from kms.domain.message_life import LifeEvent
from kms.store import message_life
from kms.store.bodies import body_path, find_damage
from kms.store.fault import Step, reach
from kms.store.many_rows import execute_in, execute_rows, select_in
from kms.store.queue_items import (
    Claimed,
    FinishedPart,
    NewEntry,
    NumberSource,
    PutBack,
    QueueCount,
    SetAside,
    Settled,
    Settlement,
)
from kms.store.queue_leases import (
    extend_leases,
    free_ended_leases,
    put_back,
    release_leases,
    set_aside,
    set_aside_unreachable,
)
from kms.store.queue_rows import (
    DELETE_RECIPIENT,
    INSERT_RECIPIENT,
    SELECT_MESSAGE,
    DamagedRow,
    MessageRow,
    StoredRow,
    message_row,
    read_entry,
    recipient_rows,
)
from kms.store.queue_triggers import insert_arrivals
from kms.store.queue_view import (
    count,
    earliest_due,
    greatest_number,
    list_entries,
    load_entry,
    recipients_of,
)
from kms.store.schema import to_us

__all__ = [
    "Claimed",
    "DamagedRow",
    "FinishedPart",
    "NewEntry",
    "NumberSource",
    "PutBack",
    "QueueCount",
    "QueueStore",
    "SetAside",
    "Settled",
    "Settlement",
    "count",
    "earliest_due",
    "extend_leases",
    "free_ended_leases",
    "greatest_number",
    "list_entries",
    "load_entry",
    "put_back",
    "release_leases",
    "set_aside",
    "set_aside_unreachable",
]

_NO_RECIPIENT = (None,) * 9
_MICROSECOND = timedelta(microseconds=1)


class QueueStore:
    """The operations of the queue.

    Args:
        spool: folder of the body files, absolute.
        owner: who holds the lease of entries that are added leased; give the same to `claim`.
        lease: how long they are leased from their arrival.
    """

    def __init__(self, spool: Path, owner: str = "server", lease: timedelta = timedelta(hours=2)) -> None:
        self._spool = spool
        self._owner = owner
        self._lease_us = lease // _MICROSECOND

    def add(self, connection: Connection, items: Sequence[NewEntry]) -> list[None]:
        """Insert new entries with their contents; made for `Database.run_batched`.

        Raises:
            ValueError: a `FileContent` does not lie where this entry's body file belongs.
        """
        insert_arrivals(connection, [self._arrival_row(item) for item in items])
        others = [row for item in items for row in islice(recipient_rows(item.entry), 1, None)]
        execute_rows(connection, INSERT_RECIPIENT, others)
        reach(Step.ROWS_WRITTEN)
        return [None] * len(items)

    def _arrival_row(self, item: NewEntry) -> tuple[Any, ...]:
        """Give all rows of an entry as one, but for those of further recipients."""
        recipient = next(recipient_rows(item.entry), _NO_RECIPIENT)
        data = item.content.data if isinstance(item.content, InlineContent) else None
        counted = (None, None) if item.counted is None else (item.counted.client, to_us(item.counted.at))
        return (*self._message_row(item), *recipient[1:], data, item.story, *counted)

    def _message_row(self, item: NewEntry) -> MessageRow:
        entry, content = item.entry, item.content
        is_in_file = isinstance(content, FileContent)
        if isinstance(content, InlineContent):
            crc32: int | None = zlib.crc32(content.data)
        else:
            crc32 = content.crc32
            if Path(content.path) != body_path(self._spool, entry.number):
                raise ValueError(f"{content.path} is not the body file of {entry.queue_id}")
        if not item.is_leased:
            return message_row(entry, crc32, is_in_file, "", 0)
        return message_row(entry, crc32, is_in_file, self._owner, to_us(entry.arrived_at) + self._lease_us)

    def claim(
        self, connection: Connection, now: datetime, limit: int, owner: str, until: datetime
    ) -> tuple[list[Claimed], list[SetAside]]:
        """Lease at most `limit` entries that are due to `owner`, the longest due first.

        Entries that turn out to be damaged (an impossible row; a content that is missing, cut, changed, or no
        plain file of ours) are set aside instead and come second. Body files are read whole for this.

        Args:
            now: entries due at this instant or before are taken.
            limit: 1 or more.
            owner: not empty.
            until: when `free_ended_leases` may give them to others.
        """
        rows = connection.execute(
            SELECT_MESSAGE
            + "WHERE lease_owner = '' AND set_aside_reason IS NULL AND parked IS NULL AND due_us <= ?"
            " ORDER BY due_us LIMIT ?",
            (to_us(now), limit),
        ).fetchall()
        recipients = recipients_of(connection, [row[0] for row in rows])
        claimed, damaged = [], []
        for row in rows:
            try:
                entry = read_entry(row, recipients.get(row[0], ()))
                content = self._read_content(connection, row)
            except DamagedRow as error:
                damaged.append(SetAside(row[0], str(error)))
            else:
                claimed.append(Claimed(attrs.evolve(entry, fence=entry.fence + 1), content))
        connection.executemany(
            "UPDATE message SET lease_owner = ?, lease_until_us = ?, fence = fence + 1 WHERE number = ?",
            [(owner, to_us(until), item.entry.number) for item in claimed],
        )
        set_aside(connection, damaged)
        return claimed, damaged

    def _read_content(self, connection: Connection, row: StoredRow) -> Content:
        number, octets, crc32, is_in_file = row[0], row[5], row[6], row[13]
        if is_in_file:
            file = FileContent(str(body_path(self._spool, number)), octets, crc32)
            damage = find_damage(file)
            if damage:
                raise DamagedRow(damage)
            return file
        try:
            found = connection.execute("SELECT data FROM content WHERE number = ?", (number,)).fetchone()
        except DatabaseError as error:
            raise DamagedRow(f"the content cannot be read: {error}") from error
        if found is None:
            raise DamagedRow("the content is missing")
        if len(found[0]) != octets or (crc32 is not None and zlib.crc32(found[0]) != crc32):
            raise DamagedRow("the content holds other octets than were written")
        return InlineContent(found[0])

    def finish_part(self, connection: Connection, items: Sequence[FinishedPart]) -> list[bool]:
        """Delete recipients that are finished while others of the same attempt are still tried.

        The entry stays leased, whatever is left of it, until `settle`; made for `Database.run_batched`.

        Returns:
            For each item, whether its claim was still the newest; if not, nothing was changed.
        """
        claims = _find_claims(connection, [item.number for item in items])
        answers = [item.number in claims and claims[item.number].fence == item.fence for item in items]
        connection.executemany(
            DELETE_RECIPIENT,
            [
                (item.number, recipient_id)
                for item, was_taken in zip(items, answers, strict=True)
                if was_taken
                for recipient_id in item.finished
            ],
        )
        return answers

    def settle(self, connection: Connection, items: Sequence[Settlement]) -> list[Settled]:
        """Take what came of attempts; made for `Database.run_batched`.

        Finished recipients are deleted. An entry with none left is deleted with its content; any other counts
        one attempt more, waits for its `due_at`, and is free to be claimed.

        Returns:
            One answer for each item, in their order.

        Raises:
            ValueError: `due_at` is None but recipients are left; the transaction must be rolled back.
        """
        claims = _find_claims(connection, [item.number for item in items])
        taken: dict[int, Settlement] = {}
        for item in items:
            if item.number not in taken and item.number in claims and claims[item.number].fence == item.fence:
                taken[item.number] = item
        kept = {
            number
            for number, item in taken.items()
            if item.added is not None or not claims[number].recipients <= {*item.finished}
        }
        gone = [number for number in taken if number not in kept]
        execute_in(connection, "DELETE FROM message WHERE number IN ({})", gone)
        if kept:
            _keep(connection, [taken[number] for number in kept])
        message_life.add(
            connection,
            [
                (item.number, item.at, LifeEvent.ATTEMPTED, item.story)
                for item in taken.values()
                if item.story and item.at is not None
            ],
        )
        reports = [report for item in taken.values() for report in item.reports]
        if reports:
            self.add(connection, reports)
            reach(Step.REPORT_WRITTEN)
        reach(Step.OUTCOME_WRITTEN)
        return [
            self._settled(item, claims, was_taken=taken.get(item.number) is item, is_kept=item.number in kept)
            for item in items
        ]

    def _settled(
        self, item: Settlement, claims: Mapping[int, _Claim], was_taken: bool, is_kept: bool
    ) -> Settled:
        if not was_taken or is_kept or not claims[item.number].is_in_file:
            return Settled(was_taken)
        return Settled(was_taken, str(body_path(self._spool, item.number)))


@attrs.define
class _Claim:
    """What the store has of an entry that is leased."""

    fence: int
    is_in_file: bool
    recipients: set[int]


_CLAIMS = """
    SELECT json_group_array(json_array(number, fence, is_in_file, json((
        SELECT json_group_array(recipient_id) FROM recipient WHERE recipient.number = message.number
    )))) FROM message WHERE number IN ({}) AND lease_owner <> ''
"""


def _find_claims(connection: Connection, numbers: Iterable[int]) -> dict[int, _Claim]:
    """Look at entries; all of a bite come as one row, since each row costs a change of the interpreter's lock."""
    return {
        number: _Claim(fence, bool(is_in_file), {*recipients})
        for (rows,) in select_in(connection, _CLAIMS, numbers)
        for number, fence, is_in_file, recipients in json.loads(rows)
    }


def _keep(connection: Connection, items: Sequence[Settlement]) -> None:
    """Keep entries for their next attempt, with the recipients that are left or added."""
    finished = [(item.number, recipient_id) for item in items for recipient_id in item.finished]
    connection.executemany(DELETE_RECIPIENT, finished)
    added = [row for item in items if item.added is not None for row in recipient_rows(item.added)]
    execute_rows(connection, INSERT_RECIPIENT, added)
    rows = []
    for item in items:
        if item.due_at is None:
            raise ValueError(f"entry {item.number} has recipients left, but no time to try them")
        warned_us = None if item.warned_at is None else to_us(item.warned_at)
        rows.append((to_us(item.due_at), warned_us, item.parked, item.number))
    connection.executemany(
        "UPDATE message SET attempts = attempts + 1, due_us = ?, warned_us = coalesce(?, warned_us),"
        " parked = coalesce(parked, nullif(?, '')), lease_owner = '', lease_until_us = 0 WHERE number = ?",
        rows,
    )
    connection.executemany(
        "UPDATE recipient SET last_status = ? WHERE number = ? AND recipient_id = ?",
        [
            (status, item.number, recipient_id)
            for item in items
            for recipient_id, status in item.last_status.items()
        ],
    )
