"""The directory in memory: domains of the configuration, accounts and aliases of the store.

RCPT reads `current` and never waits. A change, by the control service or a reload, makes a new snapshot, and
what was resolved before is forgotten with the old one.
"""

from __future__ import annotations

import attrs

from kms.config.settings import Settings
from kms.domain.account import Account, Alias, Directory
from kms.domain.address import Mailbox
from kms.domain.queue_entry import QueueEntry
from kms.policy.recipient import DomainKind, Resolution, classify_domain, resolve_recipient
from kms.service.database import Database
from kms.store.accounts import load_accounts_and_aliases

_MOST_RESOLVED = 10_000


class DirectoryCache:
    """The newest snapshot of who exists.

    Args:
        database: holds accounts and aliases.
        settings: give the domains and the postmaster.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._resolved: dict[Mailbox, Resolution] = {}
        self.current: Directory = settings.directory

    async def load(self, settings: Settings | None = None) -> None:
        """Read the store anew; with `settings`, take its domains too."""
        accounts, aliases = await self._database.run(load_accounts_and_aliases)
        if settings is not None:
            self.current = settings.directory
        self.take(accounts, aliases)

    def take(self, accounts: dict[str, Account], aliases: dict[str, tuple[Alias, ...]]) -> None:
        """Make a snapshot of these accounts and aliases and the configured domains."""
        self.current = attrs.evolve(self.current, accounts=accounts, aliases=aliases)
        self._resolved.clear()

    def take_file(self, aliases: tuple[Alias, ...]) -> None:
        """Make a snapshot with these aliases of the aliases file in place of those of before."""
        self.current = attrs.evolve(self.current, file_aliases=aliases)
        self._resolved.clear()

    def has_only_local(self, entry: QueueEntry) -> bool:
        """Tell whether all the recipients of a queue entry are in local domains."""
        domains = (recipient.forward_path.domain for recipient in entry.envelope.recipients)
        return all(classify_domain(self.current, domain) is DomainKind.LOCAL for domain in domains)

    def resolve(self, mailbox: Mailbox) -> Resolution:
        """Find the targets of an address in a local domain; answers are remembered until the next change."""
        known = self._resolved.get(mailbox)
        if known is None:
            if len(self._resolved) >= _MOST_RESOLVED:
                self._resolved.clear()
            known = self._resolved[mailbox] = resolve_recipient(self.current, mailbox)
        return known
