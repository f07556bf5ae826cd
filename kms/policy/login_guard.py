"""May this login be checked at all? The brake on guessing passwords.

Distinct wrong passwords count, so that an old phone that repeats one for ever locks nobody out. Who reached
a limit is refused for a time without any check, so a right password does not get in either, and the answer
tells nothing of it. Accounts are never locked: guesses at one from many addresses only slow it down.

Flow: service/login_guard.py gathers the facts before and after each check, over SMTP and POP3 alike.
"""

from __future__ import annotations

import enum
import unicodedata
from datetime import timedelta

import attrs

from kms.domain.account import Directory
from kms.domain.address import AddressSyntaxError, normalise_domain
from kms.domain.address_group import AddressGroup
from kms.policy.limits import Limit, Mode, is_reached, mode_of

MOST_GUESSES_A_MINUTE = 30
"""Distinct wrong logins of one address within a minute, whatever the settings say."""

MINUTE = timedelta(minutes=1)

_FREE_ADDRESSES = 3  # his phone, his home and his office may all have an old password
_DELAY_FOR_EACH = timedelta(milliseconds=500)
_LONGEST_DELAY = timedelta(seconds=5)
MOST_ADDRESSES_COUNTED = _FREE_ADDRESSES + _LONGEST_DELAY // _DELAY_FOR_EACH
"""More addresses than these make no longer delay."""

_MOST_NAME_CHARACTERS = 320


class LoginVerdict(enum.Enum):
    """What is to be done with a login; the value of a refusal names the limit.

    WAIT: as many checks of this client are under way as it has guesses left; look again when one is over.
    """

    CHECK = "check"
    WAIT = "wait"
    REFUSED_PAIR = "failed_logins"
    REFUSED_ADDRESS = "failed_logins_per_address"
    REFUSED_PACE = "wrong logins a minute"


@attrs.frozen
class LoginRules:
    """The settings of `[limits]` about failed logins.

    Attributes:
        failed_logins: distinct wrong passwords of one address for one account, within `window`.
        failed_logins_per_address: the same for all accounts together.
        window: see there.
        block: how long the refusal lasts.
        exempt_group: clients that are never refused; None = nobody.
        observed: limits that only log.
    """

    failed_logins: int = 10
    failed_logins_per_address: int = 30
    window: timedelta = timedelta(hours=1)
    block: timedelta = timedelta(minutes=5)
    exempt_group: AddressGroup | None = None
    observed: frozenset[Limit] = frozenset()

    @property
    def pair_mode(self) -> Mode:
        """How the limit of address and account is meant."""
        return mode_of(Limit.FAILED_LOGINS, self.failed_logins, self.observed)

    @property
    def address_mode(self) -> Mode:
        """How the limit of the address is meant."""
        return mode_of(Limit.FAILED_LOGINS_PER_ADDRESS, self.failed_logins_per_address, self.observed)


@attrs.frozen
class LoginFacts:
    """What is known of a client and the account that it wants.

    Attributes:
        pair_failures: distinct wrong passwords of the client for this account, within the window.
        address_failures: the same for all accounts.
        minute_failures: those of the last minute.
        pair_checks: checks of this client for this account that are under way.
        address_checks: the same for all accounts.
        is_pair_blocked: client and account are refused together.
        is_address_blocked: the client is refused.
    """

    pair_failures: int = 0
    address_failures: int = 0
    minute_failures: int = 0
    pair_checks: int = 0
    address_checks: int = 0
    is_pair_blocked: bool = False
    is_address_blocked: bool = False


def judge_login(facts: LoginFacts, rules: LoginRules) -> LoginVerdict:
    """Decide before the password is looked at. Not to be asked for exempt and own addresses.

    A client has never more checks under way than guesses left, so that many at once get no more than one
    after the other; but always one, or the next would never be checked.
    """
    if facts.is_address_blocked and rules.address_mode is Mode.ENFORCE:
        return LoginVerdict.REFUSED_ADDRESS
    if facts.is_pair_blocked and rules.pair_mode is Mode.ENFORCE:
        return LoginVerdict.REFUSED_PAIR
    left = MOST_GUESSES_A_MINUTE - facts.minute_failures
    if left <= 0:
        return LoginVerdict.REFUSED_PACE
    if rules.address_mode is Mode.ENFORCE:
        left = min(left, rules.failed_logins_per_address - facts.address_failures)
    must_wait = facts.address_checks >= max(left, 1)
    if rules.pair_mode is Mode.ENFORCE:
        must_wait |= facts.pair_checks >= max(rules.failed_logins - facts.pair_failures, 1)
    return LoginVerdict.WAIT if must_wait else LoginVerdict.CHECK


def find_full_limits(facts: LoginFacts, rules: LoginRules) -> list[tuple[Limit, Mode]]:
    """Name the limits that a new wrong password has filled, and how they are meant; the pair's first."""
    found = []
    if is_reached(facts.pair_failures, rules.failed_logins):
        found.append((Limit.FAILED_LOGINS, rules.pair_mode))
    if is_reached(facts.address_failures, rules.failed_logins_per_address):
        found.append((Limit.FAILED_LOGINS_PER_ADDRESS, rules.address_mode))
    return found


def find_delay(addresses: int, rules: LoginRules) -> timedelta:
    """Say how long an account's next check is put off.

    Args:
        addresses: from so many distinct ones came wrong logins to the account within the window.
    """
    if rules.pair_mode is not Mode.ENFORCE:
        return timedelta(0)
    return max(timedelta(0), min((addresses - _FREE_ADDRESSES) * _DELAY_FOR_EACH, _LONGEST_DELAY))


def name_account(directory: Directory, login: str) -> str:
    """Give the one name under which the wrong logins to an account are counted.

    It depends on the text and the domains only, never on whether there is such an account: or a client could
    learn that from two spellings that count together.
    """
    name, at, domain = login[:_MOST_NAME_CHARACTERS].rpartition("@")
    if not at:
        name, domain = domain, next(iter(directory.local_domains), "")
    try:
        domain = normalise_domain(domain)
    except AddressSyntaxError:
        domain = domain.lower()
    name = unicodedata.normalize("NFC", name.lower())
    return f"{name}@{directory.domain_aliases.get(domain, domain)}"
