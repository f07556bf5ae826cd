"""Accounts, aliases, and the directory that knows them all: values, without passwords.

The directory is a snapshot: a change makes a new one. So a decision at RCPT reads memory and never waits.
How an address is resolved stands in policy/recipient.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import attrs

from kms.domain.address import Mailbox


@attrs.frozen
class Account:
    """One mailbox of a local domain.

    Attributes:
        name: the login's local part, lower-case.
        domain: a local domain, A-label form.
        full_name: for people; may be empty.
        is_enabled: a disabled account takes no mail and no login.
        quota_octets: 0 = none.
        quota_messages: 0 = none.
        forward_to: addresses that get a copy, or instead of the mailbox everything.
        keeps_copy: with `forward_to`, the mailbox gets the mail as well.
        extra_senders: addresses or `@domain` that it may use as MAIL FROM besides its own and its aliases.
        own_domains_only: may send to local domains only.
        language: of the reports it gets; "" = the server's.
        may_use_apop: APOP works for it, so its password is kept as it is from the next one on.
        may_use_cram: likewise CRAM-MD5.
        messages_per_hour: that it may send; 0 = any number, None = as many as the server's setting says.
        messages_per_day: the same.
        max_message_octets: the same of the size of one message.
    """

    name: str
    domain: str
    full_name: str = ""
    is_enabled: bool = True
    quota_octets: int = 0
    quota_messages: int = 0
    forward_to: tuple[Mailbox, ...] = ()
    keeps_copy: bool = True
    extra_senders: tuple[str, ...] = ()
    own_domains_only: bool = False
    language: str = ""
    may_use_apop: bool = False
    may_use_cram: bool = False
    messages_per_hour: int | None = None
    messages_per_day: int | None = None
    max_message_octets: int | None = None

    @property
    def login(self) -> str:
        """The full login name, `name@domain`."""
        return f"{self.name}@{self.domain}"

    @property
    def mailbox(self) -> Mailbox:
        """Its address."""
        return Mailbox(self.name, self.domain)


@attrs.frozen
class Alias:
    """One alias: mail for it goes to all `targets`.

    Attributes:
        local_part: lower-case; `*` stands for any run of characters, `?` for exactly one; `*` alone is the
            catch-all, used only when nothing else fits.
        domain: a local domain, A-label form.
        targets: accounts of this server, other aliases, or foreign addresses.
        trouble: why not all its targets are known now, so that it cannot be used; "" = they are.
    """

    local_part: str
    domain: str
    targets: tuple[Mailbox, ...]
    trouble: str = ""

    @property
    def is_pattern(self) -> bool:
        """Its local part stands for more than itself."""
        return "*" in self.local_part or "?" in self.local_part


@attrs.frozen
class Directory:
    """Who exists: a snapshot of domains, accounts and aliases.

    Attributes:
        local_domains: in the order of the configuration; the first is that of logins without a domain.
        relay_domains: taken from anyone and passed on.
        domain_aliases: other name -> local domain.
        accounts: by login name.
        aliases: by domain, exact ones and patterns alike, in the order of their making.
        postmaster: where postmaster's and abuse's mail goes; None = the first account.
        file_aliases: those of the aliases file; the others come first. One without a domain is of every local one.
    """

    local_domains: tuple[str, ...]
    relay_domains: frozenset[str] = frozenset()
    domain_aliases: dict[str, str] = attrs.field(factory=dict)
    accounts: dict[str, Account] = attrs.field(factory=dict)
    aliases: dict[str, tuple[Alias, ...]] = attrs.field(factory=dict)
    postmaster: Mailbox | None = None
    file_aliases: tuple[Alias, ...] = ()

    @cached_property
    def exact_aliases(self) -> dict[tuple[str, str], Alias]:
        """Aliases without `*` and `?`, by local part and domain; of two of one name the older counts."""
        exact: dict[tuple[str, str], Alias] = {}
        for alias in (*_all_aliases(self), *_spread(self.file_aliases, self.local_domains)):
            if not alias.is_pattern:
                exact.setdefault((alias.local_part, alias.domain), alias)
        return exact

    @cached_property
    def alias_patterns(self) -> dict[str, tuple[Alias, ...]]:
        """Aliases with `*` or `?`, by domain, in the order of their making, but the catch-all `*` last."""
        patterns: dict[str, list[Alias]] = {}
        for alias in sorted(_all_aliases(self), key=lambda alias: alias.local_part == "*"):
            if alias.is_pattern:
                patterns.setdefault(alias.domain, []).append(alias)
        return {domain: tuple(found) for domain, found in patterns.items()}


def _all_aliases(directory: Directory) -> list[Alias]:
    return [alias for aliases in directory.aliases.values() for alias in aliases]


def _spread(aliases: Iterable[Alias], domains: Sequence[str]) -> Iterator[Alias]:
    """Give each alias without a domain to every domain, after those that have one."""
    for alias in sorted(aliases, key=lambda alias: not alias.domain):
        for domain in (alias.domain,) if alias.domain else domains:
            yield attrs.evolve(alias, domain=domain)
