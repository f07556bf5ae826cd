"""When a limit that trips again and again is worth an alarm, and what the administrator is told to do.

One alarm per client and limit, until it was quiet for an hour.

Flow: service/alarms.py asks whenever a limit trips, and writes the log line and the mail.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs

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


@attrs.frozen
class Alarm:
    """One thing to tell the postmaster.

    Attributes:
        limit: name of the setting that it is about.
        who: address, network or login.
        what: what happened, one sentence without its full stop.
        advice: what to do, a sentence or two.
    """

    limit: str
    who: str
    what: str
    advice: str


_ADVICE = {
    Limit.MESSAGES_PER_HOUR: (
        "If you know this client and it has so much to send, raise [limits] messages_per_hour or put it into the"
        " exempt group. If not, look for what sends there."
    ),
    Limit.UNKNOWN_RECIPIENTS: (
        "Somebody tries out addresses. Nothing has to be done; a firewall can keep the address out for longer. If"
        " it is a server of yours with an old list, correct the list, or put it into the exempt group."
    ),
    Limit.FAILED_LOGINS: (
        "Somebody guesses the password of an account, or a device has an old one. Ask the user; nobody else is"
        " locked out. `kmsctl blocks lift` ends the block before its time."
    ),
    Limit.FAILED_LOGINS_PER_ADDRESS: (
        "Somebody guesses passwords of many accounts. Keep the address out by a firewall (etc/fail2ban). If it is"
        " an office of yours, find the devices with old passwords, and lift the block: `kmsctl blocks lift`."
    ),
}
_ADVICE_ELSE = (
    "If you know this client and mean to serve it, raise the limit, or put its address into the exempt group of"
    " [limits]. If not, a firewall can keep it out."
)
_ADVICE_ACCOUNT = (
    "Ask the user whether he sent this. If not, his password is stolen: give the account another one (kmsctl user"
    " passwd) and look at what waits in the queue. If so, raise the limit for him (kmsctl user set)."
)
_ADVICE_GATEWAY = (
    "If it is a router with many machines behind it, take it out of the relay group, and let those behind it log in."
    " If it is a server that passes on mail of many, raise [relay] gateway_alarm."
)
_SUSPENDED = " Until it behaves for an hour, it is not trusted (suspend_gateway_trust)."


def make_trip_alarm(limit: Limit, who: str, trips: int) -> Alarm:
    """Make the alarm about a client that ran into a limit again and again."""
    times = "once" if trips == 1 else f"{trips} times"
    what = f"The limit {limit.value} has stopped {who} {times} within an hour"
    return Alarm(limit.value, who, what, _ADVICE.get(limit, _ADVICE_ELSE))


def make_account_alarm(limit: Limit, login: str) -> Alarm:
    """Make the alarm about an account that its brake has stopped."""
    what = f"The account {login} has reached its limit {limit.value}"
    return Alarm(limit.value, login, what, _ADVICE_ACCOUNT)


def make_gateway_alarm(address: str, names: int, is_suspended: bool) -> Alarm:
    """Make the alarm about a trusted address that behaves like a NAT gateway."""
    what = f"The trusted address {address} has shown {names} unrelated names within an hour, as a NAT gateway would"
    return Alarm("gateway_alarm", address, what, _ADVICE_GATEWAY + (_SUSPENDED if is_suspended else ""))
