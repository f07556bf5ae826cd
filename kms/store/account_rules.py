"""What an account or alias must be like to be stored: one place for `kmsctl` and the control service.

Names are lower-case and from a short list of characters, since they name folders and are typed by people.
What is wrong is said in one sentence for the operator.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable

import attrs

from kms.domain.account import Account, Alias
from kms.domain.address import AddressSyntaxError, Mailbox, normalise_domain, parse_mailbox

_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_-])?")
_LANGUAGE = re.compile(r"(?:[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)?")
_MAX_NAME = 64
_MAX_TEXT = 200
_MAX_ADDRESSES = 1000
_MAX_NUMBER = 2**62


class AccountError(ValueError):
    """The account or alias cannot be made, changed or found; the text is one sentence for the operator."""


def parse_login(text: str, local_domains: Collection[str]) -> tuple[str, str]:
    """Read NAME@DOMAIN as an operator types it.

    Args:
        text: upper case and U-labels are allowed.
        local_domains: in A-label form.

    Returns:
        Name and domain as an account holds them.

    Raises:
        AccountError: no such name is allowed, or the domain is not local.
    """
    name, at, domain = text.strip().rpartition("@")
    if not at:
        raise AccountError(f"{text!r} has no domain: write NAME@DOMAIN")
    name = name.lower()
    if not _NAME.fullmatch(name) or ".." in name or len(name) > _MAX_NAME:
        raise AccountError(
            f"{name!r} is no name for an account: use letters a to z, digits, and . _ - inside,"
            f" {_MAX_NAME} characters at most"
        )
    return name, _check_domain(domain, local_domains)


def parse_alias_address(text: str, local_domains: Collection[str] | None) -> tuple[str, str]:
    """Read the address of an alias, `*` and `?` included.

    Args:
        local_domains: in A-label form; None allows any, to find an alias whose domain is local no more.

    Returns:
        Local part and domain as an alias holds them.

    Raises:
        AccountError: it is no address, or its domain is not local.
    """
    mailbox = _parse_address(text.strip())
    local_part = unicodedata.normalize("NFC", mailbox.local_part.lower())
    return local_part, _check_domain(mailbox.domain, local_domains)


def check_account(account: Account, local_domains: Collection[str]) -> Account:
    """Return the account as it is to be stored; raises AccountError.

    Doubled addresses are dropped, and extra senders are brought into one form.
    """
    parse_login(account.login, local_domains)
    if len(account.full_name) > _MAX_TEXT or not account.full_name.isprintable():
        raise AccountError(f"The full name is longer than {_MAX_TEXT} characters or not printable")
    _check_numbers(account)
    if not _LANGUAGE.fullmatch(account.language):
        raise AccountError(f"{account.language!r} is no language: write a code such as en or pt-BR")
    forward_to = _check_targets(account.forward_to)
    if account.mailbox in forward_to:
        raise AccountError(f"{account.login} would be forwarded to itself; keep a copy instead")
    senders = tuple(dict.fromkeys(map(_check_sender, account.extra_senders)))
    if len(senders) > _MAX_ADDRESSES:
        raise AccountError(f"There are more than {_MAX_ADDRESSES} extra senders")
    return attrs.evolve(account, forward_to=forward_to, extra_senders=senders)


def _check_numbers(account: Account) -> None:
    for quota in (account.quota_octets, account.quota_messages):
        if not 0 <= quota < _MAX_NUMBER:
            raise AccountError(f"{quota} is no quota: it must be 0 (none) or more")
    for limit in (account.messages_per_hour, account.messages_per_day, account.max_message_octets):
        if limit is not None and not 0 <= limit < _MAX_NUMBER:
            raise AccountError(f"{limit} is no limit: it must be 0 (none) or more")


def check_alias(alias: Alias, local_domains: Collection[str]) -> Alias:
    """Return the alias as it is to be stored; raises AccountError. Doubled targets are dropped."""
    local_part, domain = parse_alias_address(str(Mailbox(alias.local_part, alias.domain)), local_domains)
    targets = _check_targets(alias.targets)
    if not targets:
        raise AccountError(f"The alias {alias.local_part}@{alias.domain} has no target")
    if targets == (Mailbox(local_part, domain),):
        raise AccountError(f"The alias {alias.local_part}@{alias.domain} would lead to itself")
    return Alias(local_part, domain, targets)


def parse_target(text: str) -> Mailbox:
    """Read one target of an alias or a forwarding; raises AccountError."""
    return _parse_address(text.strip())


def _check_targets(targets: Iterable[Mailbox]) -> tuple[Mailbox, ...]:
    found = tuple(dict.fromkeys(_parse_address(str(target)) for target in targets))
    if len(found) > _MAX_ADDRESSES:
        raise AccountError(f"There are more than {_MAX_ADDRESSES} targets")
    return found


def _check_sender(text: str) -> str:
    if not text.startswith("@"):
        return str(_parse_address(text))
    try:
        return "@" + normalise_domain(text[1:])
    except AddressSyntaxError as error:
        raise AccountError(f"{text!r} is no sender: {error}") from error


def _check_domain(domain: str, local_domains: Collection[str] | None) -> str:
    try:
        domain = normalise_domain(domain)
    except AddressSyntaxError as error:
        raise AccountError(f"{domain!r} is no domain: {error}") from error
    if local_domains is not None and domain not in local_domains:
        raise AccountError(f"{domain} is no local domain; the configuration has {', '.join(local_domains)}")
    return domain


def _parse_address(text: str) -> Mailbox:
    try:
        return parse_mailbox(text)
    except AddressSyntaxError as error:
        raise AccountError(f"{text!r} is no address: {error}") from error
