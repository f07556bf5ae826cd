"""Watches trusted addresses for the behaviour of a NAT gateway, and may suspend their trust, never their access.

Flow: `Decisions` tells it of every MAIL that was accepted; relay_check.py asks whether the relay group still
counts for an address. The rules are in policy/gateway.py.
"""

from __future__ import annotations

from collections.abc import Callable

from kms.domain.address_group import ClientAddress
from kms.domain.decision import Decision
from kms.policy.gateway import GatewayMemory, GatewayRules
from kms.policy.recipient import DomainKind, classify_domain
from kms.service.clock import Clock
from kms.service.decisions import Case
from kms.service.directory import DirectoryCache

TellsOfGateways = Callable[[str, int, bool], object]


class GatewayWatch:
    """Which trusted addresses offend.

    Args:
        rules: the settings; a reload replaces the attribute.
        tell: gets address, number of names, and whether the trust is suspended, at every offence.
        clock: for the hour.
        is_own: says whether an address is this machine's; those are never gateways.
        directory: says which senders are ours.
    """

    def __init__(
        self,
        rules: GatewayRules,
        tell: TellsOfGateways,
        clock: Clock,
        is_own: Callable[[ClientAddress], bool],
        directory: DirectoryCache,
    ) -> None:
        self.rules = rules
        self._tell = tell
        self._clock = clock
        self._is_own = is_own
        self._directory = directory
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

    def note_sender(self, case: Case, decision: Decision) -> None:
        """A sender was accepted: see `Decisions.consequences`."""
        visit, sender = case.visit, case.sender
        if visit.account is not None or visit.is_submission:
            return
        directory = self._directory.current
        is_foreign = sender is not None and classify_domain(directory, sender.domain) is DomainKind.FOREIGN
        self.note(visit.client, visit.session.client_name, sender.domain if sender and is_foreign else "")

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
