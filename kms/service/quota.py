"""Is a mailbox full? And the one notice about it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from kms.domain.account import Account
from kms.service.mailboxes import Mailboxes, MailboxUsage

Notify = Callable[[Account], Deferred[None] | None]


class Quota:
    """Compares a mailbox with its account's quota.

    Args:
        mailboxes: knows the sizes.
        notify: tells the account and the postmaster, once for each time that the mailbox becomes full. Where
            its Deferred fails, they are told at the next chance. A restart forgets who was told.
    """

    def __init__(self, mailboxes: Mailboxes, notify: Notify) -> None:
        self._mailboxes = mailboxes
        self._notify = notify
        self._told: set[str] = set()

    async def is_full(self, account: Account) -> bool:
        """True where the mailbox has reached one of the account's quotas."""
        full = _has_reached(account, await self._mailboxes.usage(account))
        if not full:
            self._told.discard(account.login)
        elif account.login not in self._told:
            self._told.add(account.login)
            self._tell(account)
        return full

    def _tell(self, account: Account) -> None:
        told = self._notify(account)
        if told is not None:
            told.addErrback(lambda _: self._told.discard(account.login))


def _has_reached(account: Account, usage: MailboxUsage) -> bool:
    octets, messages = account.quota_octets, account.quota_messages
    return bool((octets and usage.octets >= octets) or (messages and usage.messages >= messages))
