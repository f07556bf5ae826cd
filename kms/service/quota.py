"""Is a mailbox full? And the one notice about it."""

from __future__ import annotations

from collections.abc import Callable

from kms.domain.account import Account
from kms.service.mailboxes import Mailboxes


class Quota:
    """Compares a mailbox with its account's quota.

    Args:
        mailboxes: knows the sizes.
        notify: tells the account and the postmaster, once for each time that the mailbox becomes full.
    """

    def __init__(self, mailboxes: Mailboxes, notify: Callable[[Account], object]) -> None:
        self._mailboxes = mailboxes
        self._notify = notify
        self._told: set[str] = set()

    async def is_full(self, account: Account) -> bool:
        """True where the mailbox has reached one of the account's quotas."""
        usage = await self._mailboxes.usage(account)
        full = bool(
            (account.quota_octets and usage.octets >= account.quota_octets)
            or (account.quota_messages and usage.messages >= account.quota_messages)
        )
        if not full:
            self._told.discard(account.login)
        elif account.login not in self._told:
            self._told.add(account.login)
            self._notify(account)
        return full
