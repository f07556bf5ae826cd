"""Watches trusted addresses for the behaviour of a NAT gateway, and may suspend their trust, never their access.

Flow: the reception tells it of every MAIL that was accepted; relay_check.py asks whether the relay group still
counts for an address. The rules are in policy/gateway.py.
"""

from __future__ import annotations

from collections.abc import Callable

from kms.domain.address_group import ClientAddress
from kms.policy.gateway import GatewayMemory, GatewayRules
from kms.service.clock import Clock

TellsOfGateways = Callable[[str, int, bool], object]


class GatewayWatch:
    """Which trusted addresses offend.

    Args:
        rules: the settings; a reload replaces the attribute.
        tell: gets address, number of names, and whether the trust is suspended, at every offence.
        clock: for the hour.
        is_own: says whether an address is this machine's; those are never gateways.
    """

    def __init__(
        self,
        rules: GatewayRules,
        tell: TellsOfGateways,
        clock: Clock,
        is_own: Callable[[ClientAddress], bool],
    ) -> None:
        self.rules = rules
        self._tell = tell
        self._clock = clock
        self._is_own = is_own
        self._memory = GatewayMemory()

    def note(self, client: ClientAddress, hello: str, sender_domain: str) -> None:
        """Note a MAIL of a client that did not log in.

        Args:
            hello: as the client wrote it; "" = none.
            sender_domain: of a foreign sender; "" = none, or a sender of ours.
        """
        rules = self.rules
        if not rules.is_watched(client) or self._is_own(client):
            return
        names = self._memory.note(client, hello, sender_domain, self._clock.monotonic(), rules.alarm)
        if names:
            self._tell(str(client), names, rules.suspends_trust)

    def is_suspended(self, client: ClientAddress) -> bool:
        """Say whether the relay group does not count for this address now."""
        rules = self.rules
        return (
            rules.suspends_trust
            and rules.alarm > 0
            and self._memory.has_offended(client, self._clock.monotonic())
        )

    def sweep(self) -> None:
        """Forget what lies back."""
        self._memory.sweep(self._clock.monotonic())
