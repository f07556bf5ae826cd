"""Accounts and aliases as they are stored, and all that adding, changing and removing them entails.

Used by the control service in the running server and by `kmsctl` without one, so every check is here or in
`account_rules`. What ends an account's right (disabled, removed, another password) ends its relay windows in
the same transaction. Mailboxes on disk are not touched. The order of making is kept: the first account is the
postmaster where none is configured.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from sqlite3 import Connection
from typing import Any

import attrs

from kms.domain.account import Account, Alias
from kms.domain.address import Mailbox
from kms.store.account_counts import forget_account
from kms.store.account_rules import (
    AccountError,
    check_account,
    check_alias,
    parse_alias_address,
    parse_login,
    parse_target,
)
from kms.store.credentials import Verifiers, erase_secrets, remove_verifiers, save_verifiers
from kms.store.relay_windows import revoke_user
from kms.store.schema import StoreError

__all__ = [
    "AccountError",
    "add_account",
    "add_alias",
    "change_account",
    "list_accounts",
    "list_aliases",
    "load_account",
    "load_accounts_and_aliases",
    "parse_alias_address",
    "parse_login",
    "parse_target",
    "remove_account",
    "remove_alias",
    "set_enabled",
    "set_password",
]

_COLUMNS = """
    name, domain, full_name, is_enabled, quota_octets, quota_messages, forward_to, keeps_copy, extra_senders,
    own_domains_only, language, may_use_apop, may_use_cram, messages_per_hour, messages_per_day,
    max_message_octets
"""


def add_account(
    connection: Connection, account: Account, verifiers: Verifiers | None, local_domains: Collection[str]
) -> Account:
    """Make an account.

    Args:
        verifiers: of its password; None makes an account that nobody can log in to.
        local_domains: those of the configuration, in A-label form.

    Returns:
        The account as it is stored.

    Raises:
        AccountError: it exists, an alias has its address, or something of it is not allowed.
    """
    account = check_account(account, local_domains)
    if _find(connection, account.login) is not None:
        raise AccountError(f"The account {account.login} exists already")
    if _has_alias(connection, account.name, account.domain):
        raise AccountError(f"{account.login} is an alias; remove it first")
    connection.execute(
        f"INSERT INTO account ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        _row(account),
    )
    if verifiers is not None:
        save_verifiers(connection, account.login, verifiers)
    return account


def change_account(
    connection: Connection, login: str, changes: Mapping[str, Any], local_domains: Collection[str]
) -> Account:
    """Change settings of an account.

    Args:
        login: its full login name.
        changes: new values by field of `Account`; name and domain cannot be changed.

    Returns:
        The account as it is stored now.

    Raises:
        AccountError: there is no such account, or a value is not allowed.
    """
    account = load_account(connection, login)
    for field in changes:
        if field in ("name", "domain") or field not in attrs.fields_dict(Account):
            raise AccountError(f"{field} of an account cannot be changed")
    account = check_account(attrs.evolve(account, **changes), local_domains)
    connection.execute(
        "UPDATE account SET full_name = ?, is_enabled = ?, quota_octets = ?, quota_messages = ?,"
        " forward_to = ?, keeps_copy = ?, extra_senders = ?, own_domains_only = ?, language = ?,"
        " may_use_apop = ?, may_use_cram = ?, messages_per_hour = ?, messages_per_day = ?,"
        " max_message_octets = ?"
        " WHERE name = ? AND domain = ?",
        (*_row(account)[2:], account.name, account.domain),
    )
    erase_secrets(connection, account.login, cram=not account.may_use_cram, apop=not account.may_use_apop)
    if not account.is_enabled:
        revoke_user(connection, account.login)
    return account


def set_enabled(connection: Connection, login: str, is_enabled: bool) -> None:
    """Let an account take mail and logins, or stop it; raises AccountError where there is none."""
    account = load_account(connection, login)
    connection.execute(
        "UPDATE account SET is_enabled = ? WHERE name = ? AND domain = ?",
        (is_enabled, account.name, account.domain),
    )
    if not is_enabled:
        revoke_user(connection, account.login)


def set_password(connection: Connection, login: str, verifiers: Verifiers) -> None:
    """Set a new password, and end the windows that the old one opened; raises AccountError."""
    account = load_account(connection, login)
    save_verifiers(connection, account.login, verifiers)
    revoke_user(connection, account.login)


def remove_account(connection: Connection, login: str) -> list[Alias]:
    """Remove an account with its password and windows; its mailbox on disk stays.

    Returns:
        The aliases that still name it as a target.

    Raises:
        AccountError: there is no such account.
    """
    account = load_account(connection, login)
    connection.execute("DELETE FROM account WHERE name = ? AND domain = ?", (account.name, account.domain))
    remove_verifiers(connection, account.login)
    forget_account(connection, account.login)
    revoke_user(connection, account.login)
    return [alias for alias in list_aliases(connection) if account.mailbox in alias.targets]


def load_account(connection: Connection, login: str) -> Account:
    """Find an account by its full login name, in any case of letters; raises AccountError."""
    account = _find(connection, login.lower())
    if account is None:
        raise AccountError(f"There is no account {login}")
    return account


def list_accounts(connection: Connection) -> list[Account]:
    """All accounts, in the order of their making; raises StoreError when a row is damaged."""
    return [_account(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM account ORDER BY id")]


def add_alias(connection: Connection, alias: Alias, local_domains: Collection[str]) -> Alias:
    """Make an alias, and return it as it is stored.

    Raises:
        AccountError: it exists, an account has its address, or something of it is not allowed.
    """
    alias = check_alias(alias, local_domains)
    address = f"{alias.local_part}@{alias.domain}"
    if _find(connection, address) is not None:
        raise AccountError(f"{address} is an account; let it forward its mail instead")
    if _has_alias(connection, alias.local_part, alias.domain):
        raise AccountError(f"The alias {address} exists already; remove it first")
    connection.execute(
        "INSERT INTO alias (local_part, domain, targets) VALUES (?, ?, ?)",
        (alias.local_part, alias.domain, _print_mailboxes(alias.targets)),
    )
    return alias


def remove_alias(connection: Connection, local_part: str, domain: str) -> None:
    """Remove an alias, given as `parse_alias_address` read it; raises AccountError where there is none."""
    found = connection.execute("DELETE FROM alias WHERE local_part = ? AND domain = ?", (local_part, domain))
    if found.rowcount == 0:
        raise AccountError(f"There is no alias {local_part}@{domain}")


def list_aliases(connection: Connection) -> list[Alias]:
    """All aliases, in the order of their making; raises StoreError when a row is damaged."""
    rows = connection.execute("SELECT local_part, domain, targets FROM alias ORDER BY id")
    return [
        Alias(local_part, domain, _read_mailboxes(targets, f"{local_part}@{domain}"))
        for local_part, domain, targets in rows
    ]


def load_accounts_and_aliases(
    connection: Connection,
) -> tuple[dict[str, Account], dict[str, tuple[Alias, ...]]]:
    """Read all that a `Directory` holds of the store: accounts by login, aliases by domain, in order."""
    accounts = {account.login: account for account in list_accounts(connection)}
    by_domain: dict[str, list[Alias]] = {}
    for alias in list_aliases(connection):
        by_domain.setdefault(alias.domain, []).append(alias)
    return accounts, {domain: tuple(aliases) for domain, aliases in by_domain.items()}


def _find(connection: Connection, login: str) -> Account | None:
    name, _, domain = login.rpartition("@")
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM account WHERE name = ? AND domain = ?", (name, domain)
    ).fetchone()
    return None if row is None else _account(row)


def _has_alias(connection: Connection, local_part: str, domain: str) -> bool:
    query = "SELECT 1 FROM alias WHERE local_part = ? AND domain = ?"
    return connection.execute(query, (local_part, domain)).fetchone() is not None


def _row(account: Account) -> tuple[str | int | None, ...]:
    return (
        account.name,
        account.domain,
        account.full_name,
        account.is_enabled,
        account.quota_octets,
        account.quota_messages,
        _print_mailboxes(account.forward_to),
        account.keeps_copy,
        json.dumps(account.extra_senders),
        account.own_domains_only,
        account.language,
        account.may_use_apop,
        account.may_use_cram,
        account.messages_per_hour,
        account.messages_per_day,
        account.max_message_octets,
    )


def _account(row: tuple[Any, ...]) -> Account:
    login = f"{row[0]}@{row[1]}"
    senders = _read_json(row[8], login)
    if not all(isinstance(sender, str) for sender in senders):
        raise StoreError(f"The entry of {login} in the database is damaged")
    return Account(
        name=row[0],
        domain=row[1],
        full_name=row[2],
        is_enabled=bool(row[3]),
        quota_octets=row[4],
        quota_messages=row[5],
        forward_to=_read_mailboxes(row[6], login),
        keeps_copy=bool(row[7]),
        extra_senders=tuple(senders),
        own_domains_only=bool(row[9]),
        language=row[10],
        may_use_apop=bool(row[11]),
        may_use_cram=bool(row[12]),
        messages_per_hour=row[13],
        messages_per_day=row[14],
        max_message_octets=row[15],
    )


def _print_mailboxes(mailboxes: Iterable[Mailbox]) -> str:
    return json.dumps([[mailbox.local_part, mailbox.domain] for mailbox in mailboxes])


def _read_mailboxes(text: str, name: str) -> tuple[Mailbox, ...]:
    try:
        return tuple(Mailbox(str(local_part), str(domain)) for local_part, domain in _read_json(text, name))
    except (TypeError, ValueError) as error:
        raise StoreError(f"The entry of {name} in the database is damaged") from error


def _read_json(text: str, name: str) -> list[Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise StoreError(f"The entry of {name} in the database is damaged") from error
    if not isinstance(found, list):
        raise StoreError(f"The entry of {name} in the database is damaged")
    return found
