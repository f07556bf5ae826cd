"""Decides about the limits of a login, and counts what it sends.

What `AccountCheck` judges changes nothing and tells nobody. `AccountCounts` is what it looks at: in memory, and
in the store for a restart. What two sessions do at once counts together: between a verdict and its count nothing
is awaited.

Flow: the checks ask at MAIL, RCPT and the end of the content; `service.decisions` notes a new recipient, the
reception a message that goes into the queue. The rules are in policy/account_limit.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kms.domain import reply
from kms.domain.account import Account
from kms.domain.address import Mailbox
from kms.domain.decision import Decision, Rule
from kms.policy.account_limit import (
    DAY,
    HOUR,
    AccountRules,
    Reached,
    SentTally,
    find_broken_size,
    find_reached_rates,
    find_reached_recipients,
)
from kms.policy.distinct_tally import DistinctTally
from kms.policy.limits import Limit, Mode
from kms.service.clock import Clock
from kms.service.database import Database
from kms.service.decisions import Case, Decisions
from kms.service.visit import Visit, transaction_of
from kms.store import account_counts as store
from kms.store.account_counts import FirstContact, SentMessage

_MOST_LOGINS = 20_000
_MOST_CONTACTS = 200_000
_DAY_SECONDS = DAY.total_seconds()
_NEW = "new_recipients_today"

_ANSWERS = {
    Limit.ACCOUNT_MESSAGES_PER_HOUR: (Rule.ACCOUNT_MESSAGES_PER_HOUR, reply.ACCOUNT_HOUR_FULL),
    Limit.ACCOUNT_MESSAGES_PER_DAY: (Rule.ACCOUNT_MESSAGES_PER_DAY, reply.ACCOUNT_DAY_FULL),
    Limit.ACCOUNT_MAX_MESSAGE_SIZE: (Rule.ACCOUNT_MAX_MESSAGE_SIZE, reply.ACCOUNT_MESSAGE_TOO_LARGE),
    Limit.ACCOUNT_NEW_RECIPIENTS_PER_DAY: (Rule.ACCOUNT_NEW_RECIPIENTS, reply.ACCOUNT_RECIPIENTS_FULL),
}
_BRAKES = {
    Rule.ACCOUNT_MESSAGES_PER_HOUR: Limit.ACCOUNT_MESSAGES_PER_HOUR,
    Rule.ACCOUNT_MESSAGES_PER_DAY: Limit.ACCOUNT_MESSAGES_PER_DAY,
    Rule.ACCOUNT_NEW_RECIPIENTS: Limit.ACCOUNT_NEW_RECIPIENTS_PER_DAY,
}
_RELAYED = (
    Rule.RELAY_BY_AUTHENTICATION,
    Rule.RELAY_BY_ADDRESS_GROUP,
    Rule.RELAY_BY_WINDOW,
    Rule.OPEN_RELAY,
)


class AccountCounts:
    """What logins with limits have sent lately."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._sent = SentTally()
        self._contacts = DistinctTally(_MOST_LOGINS, _MOST_CONTACTS)
        self._log = Logger(namespace="kms.accounts")

    def take(self, messages: Iterable[SentMessage], contacts: Iterable[FirstContact]) -> None:
        """Take over the counts of before a restart, in their order."""
        offset = self._clock.monotonic() - self._clock.now().timestamp()
        now = self._clock.monotonic()
        for message in messages:
            self._sent.add(message.login, min(message.at.timestamp() + offset, now))
        for contact in contacts:
            at = min(contact.at.timestamp() + offset, now)
            self._contacts.add(contact.login, contact.recipient, at, _DAY_SECONDS, _MOST_CONTACTS)

    def messages(self, login: str, ahead_seconds: float = 0.0) -> tuple[int, int]:
        """Count the messages of a login within the hour and the day before now, or before so many seconds later."""
        now = self._clock.monotonic() + ahead_seconds
        return self._sent.count(login, now, HOUR), self._sent.count(login, now, DAY)

    def contacts(self, login: str, ahead_seconds: float = 0.0) -> int:
        """Count the recipients that a login wrote to for the first time within that day."""
        return self._contacts.count(login, self._clock.monotonic() + ahead_seconds, _DAY_SECONDS)

    def has_new_contact(self, login: str, address: str) -> bool:
        """Say whether a recipient is among those."""
        return self._contacts.has(login, address, self._clock.monotonic(), _DAY_SECONDS)

    async def is_known(self, login: str, address: str) -> bool:
        """Say whether the store knows that a login has written to a recipient."""
        return await self._database.read(lambda db: store.is_contact(db, login, address))

    def note_contact(self, login: str, recipient: Mailbox) -> None:
        """A login may write to a recipient that is new to it."""
        now, address = self._clock.monotonic(), str(recipient)
        self._contacts.add(login, address, now, _DAY_SECONDS, _MOST_CONTACTS)
        contact = FirstContact(login, address, self._clock.now())
        self._database.run_batched(store.add_contacts, contact).addErrback(self._trouble)

    def count_message(self, login: str, accepted: Deferred[None]) -> Deferred[None]:
        """Count a message that is being stored; where that fails, it does not count."""
        at = self._clock.monotonic()
        self._sent.add(login, at)
        stored = self._database.run_batched(store.add_messages, SentMessage(login, self._clock.now()))
        stored.addErrback(self._trouble)
        return accepted.addErrback(self._take_back, login, at)

    def _take_back(self, failure: Failure, login: str, at: float) -> Failure:
        self._sent.take_back(login, at)
        return failure

    def _trouble(self, failure: Failure) -> None:
        self._log.error("What an account sent could not be stored: {error}", error=failure.value)

    async def sweep(self) -> None:
        """Forget what does not count any more."""
        now = self._clock.now()
        self._sent.sweep(self._clock.monotonic())
        self._contacts.sweep(self._clock.monotonic(), _DAY_SECONDS)
        await self._database.run(lambda db: store.purge(db, now))


class AccountCheck:
    """May this login send one more?

    Args:
        rules: the server's settings; a reload replaces the attribute.
        counts: what logins have sent.
    """

    def __init__(self, rules: AccountRules, counts: AccountCounts) -> None:
        self.rules = rules
        self._counts = counts

    def judge_message(self, visit: Visit, octets: int | None) -> list[Decision]:
        """Judge a message, at MAIL and at its end.

        Args:
            octets: its size, as far as that is known.

        Returns:
            The limits that are reached, enforced or observed; see `split`.
        """
        account = visit.account
        if account is None:
            return []
        rules = self.rules.of(account)
        in_hour = in_day = 0
        if rules.counts_messages:
            in_hour, in_day = self._counts.messages(account.login, visit.ahead_seconds)
        reached = [*find_reached_rates(in_hour, in_day, rules), *find_broken_size(octets, rules)]
        return [_decide(account, one) for one in reached]

    def must_ask(self, visit: Visit) -> bool:
        """Say whether a foreign recipient of this client is to be judged."""
        return visit.account is not None and self.rules.new_recipients_per_day > 0

    async def judge_recipient(self, visit: Visit, path: Mailbox, so_far: Decision) -> Decision:
        """Judge a foreign recipient; gives the decision so far, or a refusal."""
        account = visit.account
        if so_far.is_refusal or account is None or not self.must_ask(visit):
            return so_far
        counts, login, address = self._counts, account.login, str(path)
        transaction = transaction_of(visit)  # before waiting: the client may go meanwhile
        is_known = await counts.is_known(login, address)
        noted = {about for _, about, one in transaction.decisions if _NEW in one.facts}
        if is_known or address in noted or counts.has_new_contact(login, address):
            return so_far
        unnoted = sum(not counts.has_new_contact(login, one) for one in noted)  # in a made-up session
        count = counts.contacts(login, visit.ahead_seconds) + unnoted
        reached = find_reached_recipients(count, self.rules)
        refusal, observed = self.split([_decide(account, one) for one in reached])
        so_far.facts[_NEW] = count + 1
        so_far.observed += observed
        return refusal or so_far

    def split(self, reached: list[Decision]) -> tuple[Decision | None, tuple[Decision, ...]]:
        """Part the first limit that refuses from those that only observe."""
        if not reached:
            return None, ()
        modes = {rule: self.rules.mode(limit, 1) for limit, (rule, _) in _ANSWERS.items()}
        refusals = [one for one in reached if modes[one.rule] is Mode.ENFORCE]
        observed = tuple(one for one in reached if modes[one.rule] is Mode.OBSERVE)
        return (refusals[0] if refusals else None), observed

    def count_message(self, account: Account | None, accepted: Deferred[None]) -> Deferred[None]:
        """Count a message that is being stored, where a limit wants it."""
        if account is None or not self.rules.of(account).counts_messages:
            return accepted
        return self._counts.count_message(account.login, accepted)


def _decide(account: Account, reached: Reached) -> Decision:
    rule, refusal = _ANSWERS[reached.limit]
    return Decision(
        rule, refusal, {"account": account.login, "count": reached.count, reached.limit.value: reached.most}
    )


def follow_accounts(
    decisions: Decisions, counts: AccountCounts, tell: Callable[[Limit, str], object]
) -> None:
    """Note new recipients that are accepted, and tell of accounts that a limit has stopped."""

    def relayed(case: Case, decision: Decision) -> None:
        if _NEW in decision.facts and case.visit.account is not None and case.recipient is not None:
            counts.note_contact(case.visit.account.login, case.recipient)

    def braked(case: Case, decision: Decision) -> None:
        tell(_BRAKES[decision.rule], str(decision.facts["account"]))

    decisions.consequences.update(dict.fromkeys(_RELAYED, relayed))
    decisions.consequences.update(dict.fromkeys(_BRAKES, braked))
