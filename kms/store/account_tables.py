"""The step of the schema for limits of accounts: their own values, and what they have sent (account_counts.py)."""

ACCOUNT_TABLES = (
    "ALTER TABLE account ADD COLUMN messages_per_hour INTEGER",
    "ALTER TABLE account ADD COLUMN messages_per_day INTEGER",
    "ALTER TABLE account ADD COLUMN max_message_octets INTEGER",
    """
    CREATE TABLE account_message (
        id INTEGER PRIMARY KEY,
        login TEXT NOT NULL,
        at_us INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE account_contact (
        login TEXT NOT NULL,
        recipient TEXT NOT NULL,
        first_us INTEGER NOT NULL,
        PRIMARY KEY (login, recipient)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX account_contact_first ON account_contact (first_us)",
)
