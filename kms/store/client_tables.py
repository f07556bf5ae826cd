"""The tables of what clients did lately, and of blocks; a step of the migrations in schema.py.

The two tables of events hold about an hour. Their keys grow with time, so that a new row stands at the end and
old ones leave from the beginning. client_ledger.py works with them.
"""

CLIENT_TABLES = (
    """
    CREATE TABLE counted_message (
        number INTEGER PRIMARY KEY,
        client TEXT NOT NULL,
        at_us INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE unknown_recipient (
        id INTEGER PRIMARY KEY,
        client TEXT NOT NULL,
        at_us INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE block (
        client TEXT NOT NULL,
        kind TEXT NOT NULL,
        account TEXT NOT NULL,
        since_us INTEGER NOT NULL,
        until_us INTEGER NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (client, kind, account)
    ) STRICT, WITHOUT ROWID
    """,
)
