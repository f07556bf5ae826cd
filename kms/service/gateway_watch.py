"""Watches trusted addresses for the behaviour of a NAT gateway, and may suspend their trust, never their access.

Flow: `Decisions` tells it of every MAIL that was accepted; relay_check.py asks whether the relay group still
counts for an address. The rules are in policy/gateway.py.
"""

from __future__ import annotations

from collections.abc import Callable

from kms.domain.address import Mailbox
from kms.domain.address_group import ClientAddress
from kms.domain.decision import Decision
from kms.policy.gateway import GatewayMemory, GatewayRules
from kms.policy.recipient import DomainKind, classify_domain
from kms.service.clock import Clock
from kms.service.decisions import Case
from kms.service.directory import DirectoryCache
from kms.service.visit import Visit

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

    def note_sender(self, case: Case, decision: Decision) -> None:
        """Note a MAIL that was accepted: see `Decisions.consequences`."""
        rules, client = self.rules, case.visit.client
        names = self._names_of(case.visit, case.sender, rules)
        if names is not None:
            count = self._memory.note(client, *names, self._clock.monotonic(), rules.alarm)
            if count:
                self._tell(str(client), count, rules.suspends_trust)

    def _names_of(self, visit: Visit, sender: Mailbox | None, rules: GatewayRules) -> tuple[str, str] | None:
        """Give HELO name and domain of a foreign sender ("" = none); None where nobody watches."""
        if visit.account is not None or visit.is_submission:
            return None
        if not rules.is_watched(visit.client) or self._is_own(visit.client):
            return None
        directory = self._directory.current
        is_foreign = sender is not None and classify_domain(directory, sender.domain) is DomainKind.FOREIGN
        return visit.session.client_name, sender.domain if sender is not None and is_foreign else ""

    def is_suspended(self, visit: Visit, rules: GatewayRules) -> bool:
        """Say whether by these rules the relay group does not count for a client.

        What its own transaction shows counts, noted or (in a made-up session) not.
        """
        if not rules.suspends_trust or not rules.alarm:
            return False
        now = self._clock.monotonic() + visit.ahead_seconds
        if self._memory.has_offended(visit.client, now):
            return True
        if visit.transaction is None:
            return False
        names = self._names_of(visit, visit.transaction.reverse_path, rules)
        return names is not None and self._memory.count_with(visit.client, *names, now) >= rules.alarm

    def sweep(self) -> None:
        """Forget what lies back."""
        self._memory.sweep(self._clock.monotonic())
