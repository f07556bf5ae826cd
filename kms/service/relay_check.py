"""Gathers the facts for the relay policy. The only caller of `policy.relay`."""

from __future__ import annotations

from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal

from kms.policy.gateway import GatewayRules
from kms.policy.relay import RelayFacts, RelayRules, RelayVerdict, judge_relay
from kms.service.gateway_watch import GatewayWatch
from kms.service.portal import IRelayAvatar, OpenWindow
from kms.service.visit import Visit


class RelayCheck:
    """May this client send to foreign domains?

    Args:
        rules: the settings; a reload replaces the attribute.
        portal: proves open relay windows.
        gateways: knows trusted addresses that behave like gateways.

    Attributes:
        gateway_rules: whether such an address loses its trust; a reload replaces the attribute.
    """

    def __init__(
        self,
        rules: RelayRules,
        portal: Portal,
        gateways: GatewayWatch,
        gateway_rules: GatewayRules = GatewayRules(),  # noqa: B008 - a frozen value
    ) -> None:
        self.rules = rules
        self._portal = portal
        self._gateways = gateways
        self.gateway_rules = gateway_rules

    def judge_at_once(self, visit: Visit) -> RelayVerdict:
        """Judge without asking for a relay window: what is allowed so is allowed."""
        return self._judge(visit, has_open_window=False)

    async def judge(self, visit: Visit) -> RelayVerdict:
        """Judge with every fact; the portal is asked for a window only where it can change the verdict."""
        verdict = self.judge_at_once(visit)
        if verdict.is_allowed or not self.rules.pop_before_smtp or visit.is_submission:
            return verdict
        return self._judge(visit, await self._has_open_window(visit))

    def is_in_group(self, visit: Visit) -> bool:
        """Tell whether the client is in the relay group, whatever that means to the verdict."""
        group = self.rules.address_group
        return group is not None and visit.client in group

    def _judge(self, visit: Visit, has_open_window: bool) -> RelayVerdict:
        facts = RelayFacts(
            client=visit.client,
            authentication=visit.authentication,
            has_open_window=has_open_window,
            needs_authentication=visit.is_submission,
            is_trust_suspended=self._gateways.is_suspended(visit, self.gateway_rules),
        )
        return judge_relay(facts, self.rules)

    async def _has_open_window(self, visit: Visit) -> bool:
        try:
            await self._portal.login(
                OpenWindow(visit.client, visit.ahead_seconds), visit.client, IRelayAvatar
            )
        except UnauthorizedLogin:
            return False
        return True
