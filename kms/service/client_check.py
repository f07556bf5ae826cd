"""Decides about clients by what they did lately: at connect, at MAIL, and at an unknown recipient.

It looks at the ledger and changes nothing (see `service.limit_effects` for what counts). A limit that only
observes gives its decision as an observed one. The exempt group is judged by its PTR record alone.
"""

from __future__ import annotations

from kms.domain import reply
from kms.domain.address_group import ClientAddress
from kms.domain.decision import Decision, Facts, Rule
from kms.domain.dns_answer import HostNames, LookupFailed
from kms.policy.block import BlockKind
from kms.policy.limits import ClientLimits, Limit, Mode, client_key, is_reached
from kms.ports import Resolver
from kms.service.client_ledger import ClientLedger
from kms.service.visit import Visit


class ClientCheck:
    """Does this client do too much?

    Args:
        limits: the settings; a reload replaces the attribute.
        ledger: what clients did.
        resolver: whether an address has a name.
    """

    def __init__(self, limits: ClientLimits, ledger: ClientLedger, resolver: Resolver) -> None:
        self.limits = limits
        self._ledger = ledger
        self._resolver = resolver

    def is_free(self, visit: Visit) -> bool:
        """Say whether the limits of strangers do not count: for the exempt group, and over LMTP."""
        return visit.session.is_lmtp or self.limits.is_exempt(visit.client)

    # At connect

    def is_suspect(self, client: ClientAddress) -> bool:
        """Say whether `judge_connection` may have something against a client: a quick look that decides nothing."""
        key = client_key(client)
        is_busy = is_reached(self._ledger.connections.count(key), self.limits.connections_per_client)
        is_blocked = is_busy or self._ledger.block_of(key, BlockKind.HARVEST) is not None
        return is_blocked and not self.limits.is_exempt(client)

    def judge_connection(self, visit: Visit) -> Decision:
        """Judge a client that connects; its own connection is not counted yet."""
        if self.is_free(visit):
            return _fine()
        client = visit.client_key
        over = [
            (mode, decision)
            for mode, decision in (
                self._judge_block(client, visit.ahead_seconds),
                self._judge_connections(client),
            )
            if decision is not None
        ]
        for mode, decision in over:
            if mode is Mode.ENFORCE:
                return decision
        return _fine(*(decision for _, decision in over))

    def _judge_block(self, client: str, ahead_seconds: float) -> tuple[Mode, Decision | None]:
        mode = self.limits.mode(Limit.UNKNOWN_RECIPIENTS)
        block = (
            None
            if mode is Mode.OFF
            else self._ledger.block_of(client, BlockKind.HARVEST, ahead_seconds=ahead_seconds)
        )
        if block is None:
            return mode, None
        facts: Facts = {"blocked_since": block.since.isoformat(), "blocked_until": block.until.isoformat()}
        return mode, Decision(Rule.HARVEST_BLOCK, reply.BLOCKED_FOR_HARVESTING, facts)

    def _judge_connections(self, client: str) -> tuple[Mode, Decision | None]:
        limit = self.limits.connections_per_client
        count = self._ledger.connections.count(client)
        mode = self.limits.mode(Limit.CONNECTIONS_PER_CLIENT)
        if not is_reached(count, limit):
            return mode, None
        facts: Facts = {"connections": count, "connections_per_client": limit}
        return mode, Decision(Rule.CONNECTIONS_PER_CLIENT, reply.TOO_MANY_CONNECTIONS, facts)

    def asks_for_name(self, visit: Visit) -> bool:
        """Whether `judge_name` must be awaited before the client is greeted."""
        return self.limits.client_must_have_ptr and not visit.session.is_lmtp

    async def judge_name(self, visit: Visit) -> Decision:
        """Judge whether the client's address has a name in the DNS."""
        answer = await self._resolver.lookup_names(str(visit.client))
        if isinstance(answer, HostNames):
            return _fine()
        refusal = reply.PTR_LOOKUP_TROUBLE if isinstance(answer, LookupFailed) else reply.NO_PTR_RECORD
        decision = Decision(Rule.CLIENT_MUST_HAVE_PTR, refusal, {"dns_ptr": str(answer)})
        if self.limits.mode(Limit.CLIENT_MUST_HAVE_PTR) is Mode.OBSERVE:
            return _fine(decision)
        return decision

    # In the session

    def judge_rate(self, visit: Visit) -> tuple[Mode, Decision] | None:
        """Judge at MAIL whether the client has sent enough for this hour; None where it has not."""
        limit = self.limits.messages_per_hour
        if not limit:
            return None
        count = self._ledger.messages_of(visit.client_key, visit.ahead_seconds)
        if not is_reached(count, limit) or self.is_free(visit):
            return None
        facts: Facts = {"messages": count, "messages_per_hour": limit}
        mode = self.limits.mode(Limit.MESSAGES_PER_HOUR)
        return mode, Decision(Rule.MESSAGES_PER_HOUR, reply.TOO_MANY_MESSAGES, facts)

    def judge_unknown_recipient(self, visit: Visit) -> Decision:
        """Judge a recipient that does not exist: it is refused, and one too many of them ends the session."""
        refusal = Decision(Rule.UNKNOWN_RECIPIENT, reply.UNKNOWN_RECIPIENT)
        mode = self.limits.mode(Limit.UNKNOWN_RECIPIENTS)
        if mode is Mode.OFF or self.is_free(visit):
            return refusal
        limit = self.limits.unknown_recipients
        count = self._ledger.unknown_recipients_of(visit.client_key, visit.ahead_seconds)
        count += visit.made_up_unknown_recipients
        if not is_reached(count, limit):
            return refusal
        facts: Facts = {"earlier_unknown_recipients": count, "unknown_recipients": limit}
        harvest = Decision(Rule.DIRECTORY_HARVEST, reply.TOO_MANY_UNKNOWN_RECIPIENTS, facts)
        if mode is Mode.ENFORCE:
            return harvest
        refusal.observed = (harvest,)
        return refusal


def _fine(*observed: Decision) -> Decision:
    return Decision(Rule.CLIENT_FINE, reply.NOTHING_DONE, observed=observed)
