"""Addresses that could not be connected to: for some minutes they are tried after the others of their host.

So a broken IPv6 costs the time of one connection attempt now and then, and not one for each message (the spirit of
RFC 8305). Nothing is ever left out: where all are dead, all are tried. What is remembered is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence

from kms.service.clock import Clock

REMEMBERED_SECONDS = 600.0
_MOST_REMEMBERED = 10_000


class DeadAddresses:
    """Remembers them.

    Args:
        clock: for the minutes.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[tuple[str, int], float] = {}

    def add(self, address: str, port: int) -> None:
        """Nobody answered there."""
        if len(self._until) >= _MOST_REMEMBERED:
            self._until.clear()
        self._until[address, port] = self._clock.monotonic() + REMEMBERED_SECONDS

    def remove(self, address: str, port: int) -> None:
        """Somebody did."""
        self._until.pop((address, port), None)

    def sort(self, addresses: Sequence[str], port: int) -> list[str]:
        """Put the dead behind the others; else the order stays."""
        now = self._clock.monotonic()
        return sorted(addresses, key=lambda address: self._until.get((address, port), now) > now)
