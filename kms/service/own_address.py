"""Is an address one of this machine's own?

The kernel is asked which address it would use to reach it; nothing is sent. For one of its own that is the
address itself, so there is no list of interfaces to keep up to date. Answers are remembered for a minute.
"""

from __future__ import annotations

import socket

from kms.domain.address_group import ClientAddress
from kms.service.clock import Clock

_DISCARD_PORT = 9
_REMEMBERED_SECONDS = 60.0
_MOST_REMEMBERED = 10_000


def is_own_address(address: ClientAddress) -> bool:
    """Say whether programs of this machine speak from this address: 127.0.0.1, ::1, its interfaces' addresses."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _DISCARD_PORT))
            return bool(probe.getsockname()[0] == str(address))
    except OSError:
        return False


class OwnAddresses:
    """Remembers which addresses are this machine's.

    Args:
        clock: for the minute.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[ClientAddress, bool] = {}
        self._until = 0.0

    def has(self, address: ClientAddress) -> bool:
        """See `is_own_address`."""
        now = self._clock.monotonic()
        if now >= self._until or len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
            self._until = now + _REMEMBERED_SECONDS
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = is_own_address(address)
        return known
