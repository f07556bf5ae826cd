"""The limits of one login, on top of those of the client's address.

Messages within an hour and a day, the size of each, and foreign recipients that a login writes to for the first
time: that last one is the brake for a stolen password. An account's own values take the place of the server's.

Flow: service/account_check.py gathers counts and makes decisions of the limits that are reached.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from datetime import timedelta

import attrs

from kms.domain.account import Account
from kms.policy.limits import Limit, Mode, is_reached, mode_of

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
Seconds = float


@attrs.frozen
class AccountRules:
    """The settings of `[limits]` about accounts; 0 = no limit.

    Attributes:
        messages_per_hour: messages answered 250 within any 60 minutes.
        messages_per_day: the same within any 24 hours.
        max_message_octets: size of one message in wire form.
        new_recipients_per_day: first-time foreign recipients within any 24 hours.
        observed: limits that only log.
    """

    messages_per_hour: int = 0
    messages_per_day: int = 0
    max_message_octets: int = 0
    new_recipients_per_day: int = 0
    observed: frozenset[Limit] = frozenset()

    def of(self, account: Account) -> AccountRules:
        """Put the account's own values in the place of the server's."""
        return attrs.evolve(
            self,
            messages_per_hour=_first(account.messages_per_hour, self.messages_per_hour),
            messages_per_day=_first(account.messages_per_day, self.messages_per_day),
            max_message_octets=_first(account.max_message_octets, self.max_message_octets),
        )

    @property
    def counts_messages(self) -> bool:
        """Messages must be counted."""
        return self.messages_per_hour > 0 or self.messages_per_day > 0

    def mode(self, limit: Limit, value: int) -> Mode:
        """Say how one of the limits is meant."""
        return mode_of(limit, value, self.observed)


def _first(own: int | None, servers: int) -> int:
    return servers if own is None else own


@attrs.frozen
class Reached:
    """A limit that is reached.

    Attributes:
        limit: which.
        count: how much there was.
        most: how much there may be.
        mode: how it is meant; never off.
    """

    limit: Limit
    count: int
    most: int
    mode: Mode


def find_reached_rates(in_hour: int, in_day: int, rules: AccountRules) -> list[Reached]:
    """Name the limits that one more message would break, given how many were sent within hour and day."""
    limits = (
        (Limit.ACCOUNT_MESSAGES_PER_HOUR, in_hour, rules.messages_per_hour),
        (Limit.ACCOUNT_MESSAGES_PER_DAY, in_day, rules.messages_per_day),
    )
    return [
        Reached(limit, count, most, rules.mode(limit, most))
        for limit, count, most in limits
        if is_reached(count, most)
    ]


def find_broken_size(octets: int | None, rules: AccountRules) -> list[Reached]:
    """Name the limit that a message of this size breaks; None = nobody knows the size yet."""
    most, limit = rules.max_message_octets, Limit.ACCOUNT_MAX_MESSAGE_SIZE
    if not most or octets is None or octets <= most:
        return []
    return [Reached(limit, octets, most, rules.mode(limit, most))]


def find_reached_recipients(in_day: int, rules: AccountRules) -> list[Reached]:
    """Name the limit that one more new recipient would break, given how many there were within the day."""
    most, limit = rules.new_recipients_per_day, Limit.ACCOUNT_NEW_RECIPIENTS_PER_DAY
    return [Reached(limit, in_day, most, rules.mode(limit, most))] if is_reached(in_day, most) else []


class SentTally:
    """When each login sent messages within the last day; a true sliding window.

    There are no more logins than accounts, and no more instants than the limits let through, or as many as are
    sent where only the hour is limited. `now` is in seconds of a clock that never jumps.
    """

    def __init__(self) -> None:
        self._sent: dict[str, array[float]] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, login: str, at: Seconds) -> None:
        """Count a message."""
        sent = self._sent.setdefault(login, array("d"))
        del sent[: bisect_right(sent, at - DAY.total_seconds())]
        sent.append(at)

    def take_back(self, login: str, at: Seconds) -> None:
        """Count a message no more: it was not accepted."""
        sent = self._sent.get(login, array("d"))
        if at in sent:
            sent.remove(at)

    def count(self, login: str, now: Seconds, span: timedelta) -> int:
        """Count the messages of a login within the span before `now`."""
        sent = self._sent.get(login, ())
        return len(sent) - bisect_right(sent, now - span.total_seconds())

    def sweep(self, now: Seconds) -> None:
        """Forget logins that have sent nothing for a day."""
        since = now - DAY.total_seconds()
        for login in [login for login, sent in self._sent.items() if not sent or sent[-1] <= since]:
            del self._sent[login]
