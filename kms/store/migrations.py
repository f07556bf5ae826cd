"""The tables of the store, and how they came to be: each step is run once, in order, by `schema.open_database`."""

from __future__ import annotations

from kms.store.account_tables import ACCOUNT_TABLES
from kms.store.client_tables import CLIENT_TABLES
from kms.store.queue_tables import OPERATOR_TABLES

_FIRST_TABLES = (
    """
    CREATE TABLE message (
        number INTEGER PRIMARY KEY,
        reverse_local_part TEXT,
        reverse_domain TEXT,
        is_8bit INTEGER NOT NULL,
        arrived_us INTEGER NOT NULL,
        octets INTEGER NOT NULL,
        crc32 INTEGER,
        attempts INTEGER NOT NULL,
        due_us INTEGER NOT NULL,
        warned_us INTEGER,
        fence INTEGER NOT NULL,
        lease_owner TEXT NOT NULL DEFAULT '',
        lease_until_us INTEGER NOT NULL DEFAULT 0,
        is_in_file INTEGER NOT NULL,
        set_aside_reason TEXT
    ) STRICT
    """,
    # A new entry is inserted leased, tried from memory and deleted: it never touches this index.
    """
    CREATE INDEX message_due ON message (due_us) WHERE lease_owner = '' AND set_aside_reason IS NULL
    """,
    """
    CREATE TABLE recipient (
        number INTEGER NOT NULL,
        recipient_id INTEGER NOT NULL,
        local_part TEXT NOT NULL,
        domain TEXT NOT NULL,
        original_local_part TEXT NOT NULL,
        original_domain TEXT NOT NULL,
        last_status TEXT,
        PRIMARY KEY (number, recipient_id)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE TABLE content (number INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT",
    """
    CREATE TABLE account (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        domain TEXT NOT NULL,
        full_name TEXT NOT NULL DEFAULT '',
        is_enabled INTEGER NOT NULL DEFAULT 1,
        quota_octets INTEGER NOT NULL DEFAULT 0,
        quota_messages INTEGER NOT NULL DEFAULT 0,
        forward_to TEXT NOT NULL DEFAULT '[]',
        keeps_copy INTEGER NOT NULL DEFAULT 1,
        extra_senders TEXT NOT NULL DEFAULT '[]',
        own_domains_only INTEGER NOT NULL DEFAULT 0,
        language TEXT NOT NULL DEFAULT '',
        UNIQUE (domain, name)
    ) STRICT
    """,
    """
    CREATE TABLE alias (
        id INTEGER PRIMARY KEY,
        local_part TEXT NOT NULL,
        domain TEXT NOT NULL,
        targets TEXT NOT NULL,
        UNIQUE (domain, local_part)
    ) STRICT
    """,
    """
    CREATE TABLE credential (
        login TEXT PRIMARY KEY,
        password_hash TEXT NOT NULL,
        scram_sha_256 TEXT
    ) STRICT
    """,
    """
    CREATE TABLE relay_window (
        address TEXT NOT NULL,
        user TEXT NOT NULL,
        until_us INTEGER NOT NULL,
        PRIMARY KEY (address, user)
    ) STRICT
    """,
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT",
)

_DECISIONS = (
    """
    CREATE TABLE decision (
        number INTEGER PRIMARY KEY,
        at_us INTEGER NOT NULL,
        client TEXT NOT NULL,
        stage TEXT NOT NULL,
        rule TEXT NOT NULL,
        reply TEXT NOT NULL,
        facts TEXT NOT NULL,
        is_observed INTEGER NOT NULL
    ) STRICT
    """,
    # What became of a message, kept after it has left the queue. Numbers grow with time: new rows stand at the end.
    """
    CREATE TABLE message_life (
        number INTEGER NOT NULL,
        at_us INTEGER NOT NULL,
        event TEXT NOT NULL,
        facts TEXT NOT NULL,
        PRIMARY KEY (number, at_us, event)
    ) STRICT, WITHOUT ROWID
    """,
)

_CHALLENGE_LOGINS = (
    "ALTER TABLE account ADD COLUMN may_use_apop INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE account ADD COLUMN may_use_cram INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE credential ADD COLUMN apop_secret TEXT",
    "ALTER TABLE credential ADD COLUMN cram_secret TEXT",
    "CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
    "INSERT INTO secret (name, value) VALUES ('scram', randomblob(32))",
)

_INTERNATIONAL_MAIL_AND_REPORTS = (
    "ALTER TABLE message ADD COLUMN has_utf8_header INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE message ADD COLUMN returned TEXT",
    "ALTER TABLE message ADD COLUMN envelope_id TEXT",
    "ALTER TABLE recipient ADD COLUMN notify INTEGER",
    "ALTER TABLE recipient ADD COLUMN original_recipient TEXT",
)

# The policies of other domains (RFC 8461), kept as long as they say.
_STS_POLICIES = (
    """
    CREATE TABLE sts_policy (
        domain TEXT PRIMARY KEY,
        policy_id TEXT NOT NULL,
        mode TEXT NOT NULL,
        mx TEXT NOT NULL,
        life_seconds INTEGER NOT NULL,
        fetched_us INTEGER NOT NULL,
        expires_us INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)

# When mail last went to the domain, as far as it is known: a policy that nobody needs is not fetched for ever.
_STS_POLICY_USE = (
    "ALTER TABLE sts_policy ADD COLUMN used_us INTEGER NOT NULL DEFAULT 0",
    "UPDATE sts_policy SET used_us = fetched_us",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    _FIRST_TABLES,
    _DECISIONS,
    _CHALLENGE_LOGINS,
    _INTERNATIONAL_MAIL_AND_REPORTS,
    CLIENT_TABLES,
    ACCOUNT_TABLES,
    OPERATOR_TABLES,
    _STS_POLICIES,
    _STS_POLICY_USE,
)
"""Step n leads from `user_version` n to n + 1. A step that was released is never changed; add a new one."""
