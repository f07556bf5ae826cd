"""The limits of `[limits]`: their names, how each is meant (off, observe, enforce), and whom they count.

A client is counted by its address, over IPv6 by its /64, since whoever has one address there has them all. A
limit of 0 (or "no") is off; one that is named in `observe` decides and is logged, and lets through. Those of
`ClientLimits` do not apply to the exempt group. The reception's limits for one transaction stand in
transaction.py; what is remembered of a client stands in client_memory.py.

Flow: the configuration makes the values, the service's checks ask `mode_of` and `is_reached`.
"""

from __future__ import annotations

import enum
import functools
import ipaddress
from datetime import timedelta

import attrs

from kms.domain.address_group import AddressGroup, ClientAddress

_INTERFACE_BITS = 64


class Limit(enum.Enum):
    """Every limit that `observe` can name; the value is its name in the INI file."""

    MESSAGES_PER_HOUR = "messages_per_hour"
    CONNECTIONS_PER_CLIENT = "connections_per_client"
    UNKNOWN_RECIPIENTS = "unknown_recipients"
    SENDER_DOMAIN_MUST_EXIST = "sender_domain_must_exist"
    CLIENT_MUST_HAVE_PTR = "client_must_have_ptr"
    MAX_RECIPIENTS = "max_recipients"
    MAX_FAILED_COMMANDS = "max_failed_commands"
    MAX_MESSAGE_SIZE = "max_message_size"
    MAX_RECEIVED_HOPS = "max_received_hops"
    MIN_FREE_SPACE = "min_free_space"
    FAILED_LOGINS = "failed_logins"
    FAILED_LOGINS_PER_ADDRESS = "failed_logins_per_address"
    ACCOUNT_MESSAGES_PER_HOUR = "account_messages_per_hour"
    ACCOUNT_MESSAGES_PER_DAY = "account_messages_per_day"
    ACCOUNT_MAX_MESSAGE_SIZE = "account_max_message_size"
    ACCOUNT_NEW_RECIPIENTS_PER_DAY = "account_new_recipients_per_day"
    MINIMUM_DATA_RATE = "minimum_data_rate"


class Mode(enum.Enum):
    """OFF: nothing is judged. OBSERVE: judged and logged, but let through. ENFORCE: judged and refused."""

    OFF = "off"
    OBSERVE = "observe"
    ENFORCE = "enforce"


def mode_of(limit: Limit, value: float | timedelta, observed: frozenset[Limit]) -> Mode:
    """Say how a limit is meant.

    Args:
        value: of its setting; 0 and False are off.
        observed: what `observe` names.
    """
    if not value:
        return Mode.OFF
    return Mode.OBSERVE if limit in observed else Mode.ENFORCE


def is_reached(count: int, limit: int) -> bool:
    """Say whether one more would be too many; a limit of 0 is none."""
    return 0 < limit <= count


@functools.lru_cache(maxsize=4096)
def client_key(client: ClientAddress) -> str:
    """Name whom a client's address is counted for.

    Returns:
        An IPv4 address as it is; for IPv6 its network, `2001:db8::/64`.
    """
    if client.version == 4:
        return str(client)
    if client.ipv4_mapped is not None:
        return str(client.ipv4_mapped)
    network = ipaddress.IPv6Address(int(client) >> _INTERFACE_BITS << _INTERFACE_BITS)
    return f"{network}/64"


@attrs.frozen
class ClientLimits:
    """How much one client may do, and who is exempt from it.

    Attributes:
        messages_per_hour: messages answered 250 within any 60 minutes.
        connections_per_client: connections to the SMTP ports at one time.
        unknown_recipients: those within an hour that are only refused; one more blocks the client.
        unknown_recipients_block: for how long.
        client_must_have_ptr: clients without a PTR record are turned away; spares the exempt group not.
        exempt_group: None = nobody.
        observed: limits that only log.
    """

    messages_per_hour: int = 300
    connections_per_client: int = 20
    unknown_recipients: int = 10
    unknown_recipients_block: timedelta = timedelta(hours=1)
    client_must_have_ptr: bool = False
    exempt_group: AddressGroup | None = None
    observed: frozenset[Limit] = frozenset()

    def is_exempt(self, client: ClientAddress) -> bool:
        """Say whether the limits of strangers do not count for this client."""
        return self.exempt_group is not None and client in self.exempt_group

    def mode(self, limit: Limit) -> Mode:
        """Say how one of the limits named here is meant, for whoever is not exempt."""
        value: float = getattr(self, limit.value)
        return mode_of(limit, value, self.observed)
