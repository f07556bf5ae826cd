"""One statement for all rows that come with a message, and one for all that go with it.

Each statement that Python runs gives the interpreter's lock away and has to win it back from a busy reactor; that
costs more than what the statement does. So a row that is inserted into the view `arrival` becomes the rows of all
tables, and a message that is deleted takes its recipients and its content along. View and triggers are of the
connection that writes; the schema knows nothing of them.

Flow: `schema.open_database` prepares the connection; `QueueStore` uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from sqlite3 import Connection
from typing import Any

from kms.store.many_rows import execute_rows

NUMBERS_RESERVED = "numbers_reserved"
_RESERVE = 60_000_000  # a minute's worth of numbers, so that the mark is written once a minute

_MESSAGE = """
    number, reverse_local_part, reverse_domain, is_8bit, arrived_us, octets, crc32, attempts, due_us,
    warned_us, fence, lease_owner, lease_until_us, is_in_file, has_utf8_header, returned, envelope_id
"""
_RECIPIENT = """
    recipient_id, local_part, domain, original_local_part, original_domain, last_status, notify,
    original_recipient
"""
_OTHERS = "data, story, client, counted_us"


def _columns(names: str) -> list[str]:
    return [name.strip() for name in names.split(",")]


def _new(names: str) -> str:
    return ", ".join(f"NEW.{name}" for name in _columns(names))


_ALL = _columns(_MESSAGE) + _columns(_RECIPIENT) + _columns(_OTHERS)

_STATEMENTS = (
    f"CREATE TEMP VIEW arrival ({', '.join(_ALL)}) AS SELECT {', '.join(['NULL'] * len(_ALL))}",
    f"""
    CREATE TEMP TRIGGER message_arrives INSTEAD OF INSERT ON arrival BEGIN
        INSERT INTO message ({_MESSAGE}) VALUES ({_new(_MESSAGE)});
        INSERT INTO recipient (number, {_RECIPIENT})
            SELECT NEW.number, {_new(_RECIPIENT)} WHERE NEW.recipient_id IS NOT NULL;
        INSERT INTO content SELECT NEW.number, NEW.data WHERE NEW.data IS NOT NULL;
        INSERT OR REPLACE INTO message_life
            SELECT NEW.number, NEW.arrived_us, 'accepted', NEW.story WHERE NEW.story <> '';
        INSERT INTO counted_message
            SELECT NEW.number, NEW.client, NEW.counted_us WHERE NEW.client IS NOT NULL;
        INSERT INTO meta (key, value) SELECT '{NUMBERS_RESERVED}', NEW.number + {_RESERVE}
            WHERE NEW.number > coalesce((SELECT value FROM meta WHERE key = '{NUMBERS_RESERVED}'), 0)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value;
    END
    """,
    """
    CREATE TEMP TRIGGER message_leaves AFTER DELETE ON main.message BEGIN
        DELETE FROM recipient WHERE number = OLD.number;
        DELETE FROM content WHERE number = OLD.number;
    END
    """,
)


def prepare_connection(connection: Connection) -> None:
    """Make view and triggers, for as long as the connection is open."""
    for statement in _STATEMENTS:
        connection.execute(statement)


def insert_arrivals(connection: Connection, rows: Iterable[Sequence[Any]]) -> None:
    """Insert all rows of new entries.

    Args:
        rows: one of each entry: its message row, its first recipient's row without the number, the content's octets
            (None for a body file), its story, and client and instant where it is counted, else None twice.
    """
    execute_rows(connection, "INSERT INTO arrival VALUES {}", [tuple(row) for row in rows])
