"""Tells the postmaster, once, of what a limit stopped again and again: a line in the security log and a mail.

Promises: one alarm per client and limit until it was quiet for an hour; at most 20 mails an hour, so that a
botnet does not fill the postmaster's mailbox (the log has them all). An alarm that cannot be mailed is logged.

Flow: whoever keeps a limit calls; policy/alarm.py decides; notices.py makes the mail.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from kms.domain.alarm_sentence import BUILT_IN_ALARM_SENTENCES, Alarm
from kms.domain.decision import Decision, Rule
from kms.policy.alarm import (
    HOUR,
    TripMemory,
    make_account_alarm,
    make_gateway_alarm,
    make_trip_alarm,
)
from kms.policy.limits import Limit, client_key
from kms.service.clock import Clock
from kms.service.decisions import Case, Decisions
from kms.service.security_log import SecurityLog

_MOST_MAILS = 20


_TRIPS = {
    Rule.MESSAGES_PER_HOUR: Limit.MESSAGES_PER_HOUR,
    Rule.CONNECTIONS_PER_CLIENT: Limit.CONNECTIONS_PER_CLIENT,
    Rule.DIRECTORY_HARVEST: Limit.UNKNOWN_RECIPIENTS,
}


class Alarms:
    """Reports alarms.

    Args:
        after: trips of one limit by one client within an hour; 0 = no alarms. A reload replaces the attribute.
        tell: mails an alarm to the postmaster; it fails only after it was logged.
        log: the security log.
        clock: for the hours.
    """

    def __init__(
        self, after: int, tell: Callable[[Alarm], Deferred[None]], log: SecurityLog, clock: Clock
    ) -> None:
        self.after = after
        self._tell = tell
        self._log = log
        self._clock = clock
        self._memory = TripMemory()
        self._mailed: list[float] = []

    def tripped(self, limit: Limit, client: str) -> None:
        """A limit has refused a client, as `client_key` names it."""
        trips = self._memory.trip(limit.value, client, self._clock.monotonic(), self.after)
        if trips:
            self._report(make_trip_alarm(limit, client, trips))

    def braked(self, limit: Limit, login: str) -> None:
        """A limit of its own has refused a message of an account; that is an alarm at once."""
        if self._memory.trip(limit.value, login, self._clock.monotonic(), min(self.after, 1)):
            self._report(make_account_alarm(limit, login))

    def found_gateway(self, address: str, names: int, is_suspended: bool) -> None:
        """A trusted address behaves like a NAT gateway; that is an alarm whatever `after` is."""
        if self._memory.trip("gateway_alarm", address, self._clock.monotonic(), 1):
            self._report(make_gateway_alarm(address, names, is_suspended))

    def _report(self, alarm: Alarm) -> None:
        self._log.alarm(BUILT_IN_ALARM_SENTENCES.describe(alarm))
        now = self._clock.monotonic()
        self._mailed = [at for at in self._mailed if now - at < HOUR]
        if len(self._mailed) < _MOST_MAILS:
            self._mailed.append(now)
            self._tell(alarm).addErrback(lambda _: None)  # it was logged

    def sweep(self) -> None:
        """Forget what was quiet for an hour."""
        self._memory.sweep(self._clock.monotonic())


def follow_trips(decisions: Decisions, alarms: Alarms) -> None:
    """Be told of the limits that refuse clients; after `LimitEffects.follow`, whose effects stay.

    A limit that only observes trips too: whoever tries one out wants to know what it would do.
    """

    def follow(rule: Rule, limit: Limit) -> None:
        effect = decisions.consequences.get(rule)

        def tripped(case: Case, decision: Decision) -> None:
            if effect is not None:
                effect(case, decision)
            alarms.tripped(limit, client_key(case.visit.client))

        decisions.consequences[rule] = tripped

    for rule, limit in _TRIPS.items():
        follow(rule, limit)
