"""The step of the schema for what an operator does with the queue (queue_work.py, queue_state.py).

`parked` says why an entry waits for no time at all: `hold`, `trash`, `offline`, or `@domain` for a suspended
destination; such entries stand in an index of their own, and never in that of what is due.
"""

OPERATOR_TABLES = (
    "ALTER TABLE message ADD COLUMN parked TEXT",
    "ALTER TABLE message ADD COLUMN parked_us INTEGER",
    "ALTER TABLE message ADD COLUMN next_hop TEXT",
    "ALTER TABLE message ADD COLUMN is_given_up INTEGER NOT NULL DEFAULT 0",
    "DROP INDEX message_due",
    """
    CREATE INDEX message_due ON message (due_us)
    WHERE lease_owner = '' AND set_aside_reason IS NULL AND parked IS NULL
    """,
    "CREATE INDEX message_parked ON message (parked, number) WHERE parked IS NOT NULL",
    """
    CREATE TABLE suspended_destination (
        domain TEXT PRIMARY KEY,
        since_us INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)
