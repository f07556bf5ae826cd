"""Is a mailbox full? And the one notice about it, which `service.decisions` asks for."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from kms.domain.account import Account
from kms.domain.decision import Decision, Rule
from kms.service.decisions import Case, Decisions
from kms.service.directory import DirectoryCache
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
        return _has_reached(account, await self._mailboxes.usage(account))

    def was_full(self, account: Account) -> None:
        """A recipient was refused for its full mailbox: tell, unless that was done already."""
        if account.login not in self._told:
            self._told.add(account.login)
            self._tell(account)

    def had_room(self, login: str) -> None:
        """The mailbox took mail: the next time that it is full is another one to tell of."""
        self._told.discard(login)

    def _tell(self, account: Account) -> None:
        told = self._notify(account)
        if told is not None:
            told.addErrback(lambda _: self._told.discard(account.login))


def follow_quota(decisions: Decisions, quota: Quota, directory: DirectoryCache) -> None:
    """Tell the owner of a full mailbox when a recipient is refused for it, and note when it has room again."""

    def refused(case: Case, decision: Decision) -> None:
        account = directory.current.accounts.get(str(decision.facts["account"]))
        if account is not None:
            quota.was_full(account)

    def accepted(case: Case, decision: Decision) -> None:
        for target in decision.targets:
            quota.had_room(str(target))

    decisions.consequences[Rule.QUOTA] = refused
    decisions.consequences[Rule.LOCAL_RECIPIENT] = accepted


def _has_reached(account: Account, usage: MailboxUsage) -> bool:
    octets, messages = account.quota_octets, account.quota_messages
    return bool((octets and usage.octets >= octets) or (messages and usage.messages >= messages))
