"""When a limit that trips again and again is worth an alarm, and what the administrator is told to do.

One alarm per client and limit, until it was quiet for an hour.

Flow: service/alarms.py asks whenever a limit trips, and writes the log line and the mail; the words are those of
domain/alarm_sentence.py.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs

from kms.domain.alarm_sentence import Alarm
from kms.policy.limits import Limit

Seconds = float
HOUR: Seconds = 3600.0
_MOST_KEYS = 10_000


@attrs.define
class _Trips:
    instants: list[Seconds]
    is_reported: bool = False


class TripMemory:
    """What tripped lately, and what of it was reported; at most 10,000 pairs of client and limit."""

    def __init__(self) -> None:
        self._trips: OrderedDict[tuple[str, str], _Trips] = OrderedDict()

    def __len__(self) -> int:
        return len(self._trips)

    def trip(self, limit: str, who: str, now: Seconds, after: int) -> int:
        """Note that a limit has refused a client.

        Args:
            after: so many trips within an hour are an alarm; 0 = no alarms.

        Returns:
            How many trips there were, where an alarm is due now; else 0.
        """
        trips = self._trips.pop((limit, who), None)
        if trips is None or now - trips.instants[-1] >= HOUR:
            trips = _Trips([])
        self._trips[limit, who] = trips
        trips.instants = [*(at for at in trips.instants if now - at < HOUR), now][-max(after, 1) :]
        if len(self._trips) > _MOST_KEYS:
            self._trips.popitem(last=False)
        if trips.is_reported or not after or len(trips.instants) < after:
            return 0
        trips.is_reported = True
        return len(trips.instants)

    def sweep(self, now: Seconds) -> None:
        """Forget what was quiet for an hour."""
        while self._trips:
            key, trips = next(iter(self._trips.items()))
            if now - trips.instants[-1] < HOUR:
                break
            del self._trips[key]


_WITH_ADVICE = (
    Limit.MESSAGES_PER_HOUR,
    Limit.UNKNOWN_RECIPIENTS,
    Limit.FAILED_LOGINS,
    Limit.FAILED_LOGINS_PER_ADDRESS,
)


def make_trip_alarm(limit: Limit, who: str, trips: int) -> Alarm:
    """Make the alarm about a client that ran into a limit again and again."""
    situation = "what.once" if trips == 1 else "what.again"
    advice = limit.value if limit in _WITH_ADVICE else "other"
    return Alarm(limit.value, who, situation, (f"advice.{advice}",), trips)


def make_account_alarm(limit: Limit, login: str) -> Alarm:
    """Make the alarm about an account that its brake has stopped."""
    return Alarm(limit.value, login, "what.account", ("advice.account",))


def make_gateway_alarm(address: str, names: int, is_suspended: bool) -> Alarm:
    """Make the alarm about a trusted address that behaves like a NAT gateway."""
    advice = ("advice.gateway", "advice.suspended") if is_suspended else ("advice.gateway",)
    return Alarm("gateway_alarm", address, "what.gateway", advice, names)
