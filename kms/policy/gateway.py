"""Does a trusted address behave like a NAT gateway? Then its trust reaches clients that nobody meant.

A mail server has one name and the senders of its house. Many unrelated HELO names, or senders of many unrelated
domains, come from many machines behind one address. Names count as one where they share the domain that
somebody registered; how that is told is a rule of thumb, good enough for an alarm.

Flow: service/gateway_watch.py asks at every MAIL of a trusted client that did not log in.
"""

from __future__ import annotations

from datetime import timedelta

import attrs

from kms.domain.address_group import AddressGroup, ClientAddress
from kms.policy.distinct_tally import DistinctTally, Seconds

WATCHED = timedelta(hours=1)
"""Names count for so long, and a suspended trust comes back after so long without offence."""

_HOUR = WATCHED.total_seconds()
_MOST_ADDRESSES = 5_000
_MOST_NAMES = 100_000
_COUNTRY_LETTERS = 2
_LONGEST_CATEGORY = 3  # as "co" and "com" in co.uk and com.au


@attrs.frozen
class GatewayRules:
    """The settings of `[relay]` about gateways.

    Attributes:
        trusted: the relay group; None = nobody is trusted.
        alarm: so many unrelated names within an hour are an offence; 0 = no watch.
        suspends_trust: an offender is not trusted until it behaves for an hour.
    """

    trusted: AddressGroup | None = None
    alarm: int = 20
    suspends_trust: bool = False

    def is_watched(self, client: ClientAddress) -> bool:
        """Say whether this client is trusted and watched."""
        return self.alarm > 0 and self.trusted is not None and client in self.trusted


class GatewayMemory:
    """Which names came from which trusted address lately, and which address offended when."""

    def __init__(self) -> None:
        self._hellos = DistinctTally(_MOST_ADDRESSES, _MOST_NAMES)
        self._domains = DistinctTally(_MOST_ADDRESSES, _MOST_NAMES)
        self._offended: dict[ClientAddress, Seconds] = {}

    def note(self, client: ClientAddress, hello: str, sender_domain: str, now: Seconds, alarm: int) -> int:
        """Note one MAIL.

        Args:
            hello: as the client wrote it; "" = none.
            sender_domain: of a foreign sender; "" = none.

        Returns:
            How many unrelated names it shows, where that is an offence; else 0.
        """
        for tally, name in ((self._hellos, hello), (self._domains, sender_domain)):
            if name:
                tally.add(client, find_house(name), now, _HOUR, alarm)
        count = max(tally.count(client, now, _HOUR) for tally in (self._hellos, self._domains))
        if count < alarm:
            return 0
        self._offended[client] = now
        if len(self._offended) > _MOST_ADDRESSES:
            del self._offended[min(self._offended, key=self._offended.__getitem__)]
        return count

    def count_with(self, client: ClientAddress, hello: str, sender_domain: str, now: Seconds) -> int:
        """Say how many unrelated names a client would show with a MAIL that is not noted yet, or is."""
        most = 0
        for tally, name in ((self._hellos, hello), (self._domains, sender_domain)):
            is_another = name != "" and not tally.has(client, find_house(name), now, _HOUR)
            most = max(most, tally.count(client, now, _HOUR) + is_another)
        return most

    def has_offended(self, client: ClientAddress, now: Seconds) -> bool:
        """Say whether the client offended within the last hour."""
        at = self._offended.get(client)
        return at is not None and now - at < _HOUR

    def sweep(self, now: Seconds) -> None:
        """Forget what lies more than an hour back."""
        self._hellos.sweep(now, _HOUR)
        self._domains.sweep(now, _HOUR)
        for client in [client for client in self._offended if not self.has_offended(client, now)]:
            del self._offended[client]


def find_house(name: str) -> str:
    """Bring names of one house into one: the domain that somebody registered, as far as that shows in the name.

    An address literal and a name without a dot are a house of their own.
    """
    name = name.lower().rstrip(".")
    if name.startswith("["):
        return name
    labels = name.split(".")
    is_in_country = len(labels[-1]) == _COUNTRY_LETTERS
    size = 3 if is_in_country and len(labels) > 2 and len(labels[-2]) <= _LONGEST_CATEGORY else 2
    return ".".join(labels[-size:])
