"""What an operator may do to accounts, aliases, windows and blocks: from the values of JSON to the store and back.

The control service in the running server and `kmsctl` without one both call these, so both do and refuse the
same. Each is one operation over a connection: the caller commits, or rolls back when it raises.
Flow: api.py -> control.py -> here, or kms/cli/offline.py -> here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import Any

import attrs

from kms.domain.account import Account, Alias, Directory
from kms.domain.address import AddressSyntaxError, Mailbox, normalise_domain
from kms.domain.address_group import parse_client_address
from kms.policy.block import Block
from kms.policy.limits import client_key
from kms.policy.recipient import (
    AliasLoop,
    DisabledMailbox,
    DomainKind,
    NoPostmaster,
    Resolved,
    UnknownRecipient,
    UnusableAlias,
    classify_domain,
    resolve_recipient,
)
from kms.store import accounts, client_ledger, relay_windows
from kms.store.accounts import AccountError
from kms.store.credentials import Verifiers
from kms.store.relay_windows import RelayWindow

Facts = dict[str, Any]
"""One JSON object."""


class NotFound(AccountError):
    """What the request names is not there."""


class Conflict(AccountError):
    """What the request would make is there already."""


def describe_account(account: Account) -> Facts:
    """Give an account as JSON: the attributes of `Account`, and `login`; nothing of its password."""
    facts = attrs.asdict(account, recurse=False)
    forward_to = [str(mailbox) for mailbox in account.forward_to]
    return {
        "login": account.login,
        **facts,
        "forward_to": forward_to,
        "extra_senders": list(account.extra_senders),
    }


def describe_alias(alias: Alias) -> Facts:
    """Give an alias as JSON: `address`, `targets`."""
    return {
        "address": f"{alias.local_part}@{alias.domain}",
        "targets": [str(target) for target in alias.targets],
    }


def describe_window(window: RelayWindow) -> Facts:
    """Give a relay window as JSON: `address`, `user`, `until` (ISO 8601, UTC)."""
    return {
        "address": window.address,
        "user": window.user,
        "until": window.until.isoformat(timespec="seconds"),
    }


# Accounts


def list_users(connection: Connection) -> list[Facts]:
    """All accounts, in the order of their making."""
    return [describe_account(account) for account in accounts.list_accounts(connection)]


def add_user(connection: Connection, domains: Directory, login: str, verifiers: Verifiers) -> Facts:
    """Make an account; raises AccountError."""
    name, domain = accounts.parse_login(_with_real_domain(domains, login), domains.local_domains)
    account = Account(name, domain)
    if _exists(connection, account.login):
        raise Conflict(f"The account {account.login} exists already")
    return describe_account(accounts.add_account(connection, account, verifiers, domains.local_domains))


def set_password(connection: Connection, domains: Directory, login: str, verifiers: Verifiers) -> Facts:
    """Give an account another password, which ends its windows; raises AccountError."""
    account = find_user(connection, domains, login)
    accounts.set_password(connection, account.login, verifiers)
    return describe_account(account)


def change_user(connection: Connection, domains: Directory, login: str, changes: Mapping[str, Any]) -> Facts:
    """Change an account; to disable it ends its windows.

    Args:
        changes: by names of `describe_account`, with values as they stand there.

    Raises:
        AccountError: no such account or name, or a value that is none for it.
    """
    account = find_user(connection, domains, login)
    values = {key: _read_change(key, value) for key, value in changes.items()}
    return describe_account(accounts.change_account(connection, account.login, values, domains.local_domains))


def remove_user(connection: Connection, domains: Directory, login: str) -> Facts:
    """Remove an account with its password and windows; its mailbox stays.

    Returns:
        The account, and as `named_by` the aliases that still lead to it.
    """
    account = find_user(connection, domains, login)
    named_by = accounts.remove_account(connection, account.login)
    return {
        **describe_account(account),
        "named_by": [f"{alias.local_part}@{alias.domain}" for alias in named_by],
    }


def find_user(connection: Connection, domains: Directory, login: str) -> Account:
    """Find an account by its login name, also under another name of its domain; raises NotFound."""
    try:
        return accounts.load_account(connection, _with_real_domain(domains, login))
    except AccountError:
        raise NotFound(f"There is no account {login}") from None


def _exists(connection: Connection, login: str) -> bool:
    try:
        accounts.load_account(connection, login)
    except AccountError:
        return False
    return True


def _with_real_domain(domains: Directory, address: str) -> str:
    """Put the local domain in the place of another name of it; text that is no address stays as it is."""
    name, at, domain = address.strip().rpartition("@")
    try:
        domain = normalise_domain(domain)
    except AddressSyntaxError:
        return address
    return f"{name}{at}{domains.domain_aliases.get(domain, domain)}"


def _read_change(key: str, value: Any) -> Any:
    if key not in _READERS:
        raise AccountError(f"An account has no {key} that could be changed")
    return _READERS[key](key, value)


def _read_text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise AccountError(f"{key} must be a text")
    return value


def _read_boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise AccountError(f"{key} must be true or false")
    return value


def _read_number(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise AccountError(f"{key} must be a whole number")
    return value


def _read_limit(key: str, value: Any) -> int | None:
    return None if value is None else _read_number(key, value)


def _read_texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise AccountError(f"{key} must be a list of texts")
    return tuple(value)


def _read_mailboxes(key: str, value: Any) -> tuple[Mailbox, ...]:
    return tuple(accounts.parse_target(text) for text in _read_texts(key, value))


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "full_name": _read_text,
    "is_enabled": _read_boolean,
    "quota_octets": _read_number,
    "quota_messages": _read_number,
    "forward_to": _read_mailboxes,
    "keeps_copy": _read_boolean,
    "extra_senders": _read_texts,
    "own_domains_only": _read_boolean,
    "language": _read_text,
    "may_use_apop": _read_boolean,
    "may_use_cram": _read_boolean,
    "messages_per_hour": _read_limit,
    "messages_per_day": _read_limit,
    "max_message_octets": _read_limit,
}


# Aliases


def list_aliases(connection: Connection) -> list[Facts]:
    """All aliases, in the order of their making."""
    return [describe_alias(alias) for alias in accounts.list_aliases(connection)]


def add_alias(connection: Connection, domains: Directory, address: str, targets: Sequence[str]) -> Facts:
    """Make an alias.

    Returns:
        The alias, and as `leads_to` what `resolve` says of it now.

    Raises:
        AccountError: it exists, or address or targets are not acceptable.
    """
    local_part, domain = _read_alias_address(domains, address)
    if any(
        (alias.local_part, alias.domain) == (local_part, domain)
        for alias in accounts.list_aliases(connection)
    ):
        raise Conflict(f"The alias {local_part}@{domain} exists already; remove it first")
    if _exists(connection, f"{local_part}@{domain}"):
        raise Conflict(f"{local_part}@{domain} is an account; let it forward its mail instead")
    alias = Alias(local_part, domain, tuple(map(accounts.parse_target, targets)))
    stored = accounts.add_alias(connection, alias, domains.local_domains)
    return {**describe_alias(stored), "leads_to": resolve(connection, domains, address)}


def remove_alias(connection: Connection, domains: Directory, address: str) -> Facts:
    """Remove an alias; raises NotFound."""
    local_part, domain = _read_alias_address(domains, address)
    try:
        accounts.remove_alias(connection, local_part, domain)
    except AccountError as error:
        raise NotFound(str(error)) from None
    return {"address": f"{local_part}@{domain}"}


def _read_alias_address(domains: Directory, address: str) -> tuple[str, str]:
    return accounts.parse_alias_address(_with_real_domain(domains, address), domains.local_domains)


def resolve(connection: Connection, domains: Directory, address: str) -> Facts:
    """Find who gets the mail of an address.

    Returns:
        `address`, `targets` (final ones; empty where nobody gets it), `problem` ("" where there is none).

    Raises:
        AccountError: it is no address.
    """
    mailbox = accounts.parse_target(address)
    found, aliases = accounts.load_accounts_and_aliases(connection)
    directory = attrs.evolve(domains, accounts=found, aliases=aliases)
    if classify_domain(directory, mailbox.domain) is not DomainKind.LOCAL:
        return {"address": str(mailbox), "targets": [], "problem": f"{mailbox.domain} is no local domain"}
    match resolve_recipient(directory, mailbox):
        case Resolved(targets):
            return {"address": str(mailbox), "targets": [str(target) for target in targets], "problem": ""}
        case UnknownRecipient():
            problem = "nobody has this address"
        case DisabledMailbox():
            problem = "the mailbox is disabled"
        case AliasLoop(names):
            problem = f"the aliases lead in a circle: {' -> '.join(names)}"
        case NoPostmaster():
            problem = "there is no account yet to be the postmaster"
        case UnusableAlias(name, trouble):
            problem = f"mail is deferred, for {name} cannot be used: {trouble}"
    return {"address": str(mailbox), "targets": [], "problem": problem}


# Relay windows


def list_windows(connection: Connection, now: datetime) -> list[Facts]:
    """All windows that are open at `now`, as they are stored."""
    return [describe_window(window) for window in relay_windows.load_live(connection, now)]


# Limits and blocks


def describe_block(block: Block) -> Facts:
    """Give a block as JSON: `client`, `kind`, `account` ("" = every one), `since`, `until` (ISO 8601), `why`."""
    return {
        "client": block.client,
        "kind": block.kind.value,
        "account": block.account,
        "since": block.since.isoformat(timespec="seconds"),
        "until": block.until.isoformat(timespec="seconds"),
        "why": block.why,
    }


def read_client(text: str) -> str:
    """Name whom an address, or a network as `blocks list` prints it, is counted for; raises AccountError."""
    try:
        return client_key(parse_client_address(text.removesuffix("/64")))
    except ValueError:
        raise AccountError(f"{text!r} is no IP address") from None


def list_blocks(connection: Connection, now: datetime) -> list[Facts]:
    """All blocks that last at `now`, as they are stored."""
    return [describe_block(block) for block in client_ledger.load_blocks(connection) if block.until > now]


def lift_blocks(connection: Connection, address: str, now: datetime) -> Facts:
    """Lift the blocks of a client; `lifted` says how many. Raises AccountError."""
    return {"lifted": client_ledger.lift_blocks(connection, read_client(address), now)}


def show_limits(connection: Connection, address: str, now: datetime) -> Facts:
    """Give the counters of a client as they are stored, and its blocks; raises AccountError."""
    client = read_client(address)
    messages, unknown = client_ledger.count_of(connection, client, now)
    return {
        "client": client,
        "messages": messages,
        "reserved": 0,
        "smtp_connections": 0,
        "pop3_connections": 0,
        "unknown_recipients": unknown,
        "blocks": [facts for facts in list_blocks(connection, now) if facts["client"] == client],
    }
