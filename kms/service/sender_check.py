"""Decides about MAIL: free space, declared size, whose address it is, whether its domain exists.

It gathers facts and asks the policies; it changes nothing and tells nobody (see `service.decisions`).
"""

from __future__ import annotations

from collections.abc import Callable

from kms.domain import reply
from kms.domain.address import Mailbox
from kms.domain.decision import Decision, Facts, Rule
from kms.domain.dns_answer import AddressAnswer, MxAnswer
from kms.policy.limits import Limit, Mode
from kms.policy.recipient import DomainKind, classify_domain, may_send_as
from kms.policy.relay import RelayMode
from kms.policy.sender import judge_sender_domain, needs_addresses
from kms.policy.transaction import (
    SenderFacts,
    TransactionRules,
    judge_declared_size,
    judge_free_space,
    judge_sender_identity,
)
from kms.ports import Resolver
from kms.protocol.smtp_events import SenderOffered
from kms.service.account_check import AccountCheck
from kms.service.client_check import ClientCheck
from kms.service.directory import DirectoryCache
from kms.service.relay_check import RelayCheck
from kms.service.visit import Visit


class SenderCheck:
    """May this sender begin a transaction?

    Args:
        rules: the settings; a reload replaces the attribute.
        directory: which domains are local, whose address is whose.
        relay: whether the client fulfils a relay condition.
        resolver: whether the sender's domain exists.
        free_octets: free space of the spool, cheap to ask.
        clients: whether the client has sent enough for this hour.
        accounts: the limits of a login.
    """

    def __init__(
        self,
        rules: TransactionRules,
        directory: DirectoryCache,
        relay: RelayCheck,
        resolver: Resolver,
        free_octets: Callable[[], int],
        clients: ClientCheck,
        accounts: AccountCheck,
    ) -> None:
        self.rules = rules
        self._directory = directory
        self._relay = relay
        self._resolver = resolver
        self._free_octets = free_octets
        self._clients = clients
        self._accounts = accounts

    def judge_at_once(self, visit: Visit, event: SenderOffered) -> Decision | None:
        """Judge where nothing has to be waited for; None where `judge` must be awaited."""
        sender = event.reverse_path
        refusal = self._judge_login(visit) or self._judge_room(event)[0]
        if refusal is None and visit.account is not None:
            refusal = self._judge_account(visit, event)[0]
        if refusal is not None:
            return refusal
        over = self._clients.judge_rate(visit)
        if over is not None and over[0] is Mode.ENFORCE:
            return over[1]
        return None if sender is not None and self._must_ask(sender) else self._fine(visit, event, over)

    async def judge(self, visit: Visit, event: SenderOffered) -> Decision:
        """Judge the rest, with DNS and relay window."""
        sender = event.reverse_path
        assert sender is not None
        refusal = await self._judge_identity(visit, sender)
        if refusal is not None:
            return refusal
        missing = await self._judge_domain(sender)
        if missing is not None and Limit.SENDER_DOMAIN_MUST_EXIST not in self.rules.observed:
            return missing
        over = self._clients.judge_rate(visit)  # again: others of this client may have come meanwhile
        if over is not None and over[0] is Mode.ENFORCE:
            return over[1]
        return self._fine(visit, event, over, missing)

    def has_room(self) -> bool:
        """Say whether more of a message that is on its way may go to the disk."""
        is_low = judge_free_space(self._free_octets(), self.rules) is not None
        return not is_low or Limit.MIN_FREE_SPACE in self.rules.observed

    def _judge_login(self, visit: Visit) -> Decision | None:
        """A login lasts as long as its account: what an administrator changes acts in open sessions too."""
        known = visit.account
        if known is None:
            return None
        account = self._directory.current.accounts.get(known.login)
        if account is None or not account.is_enabled:
            return Decision(Rule.ACCOUNT_DISABLED, reply.ACCOUNT_DISABLED, {"account": known.login})
        visit.account = account
        return None

    def _judge_room(self, event: SenderOffered) -> tuple[Decision | None, tuple[Decision, ...]]:
        """Give a refusal, and what is only observed."""
        rules = self.rules
        free_octets = self._free_octets()
        low, large = judge_free_space(free_octets, rules), judge_declared_size(event.declared_octets, rules)
        if low is None and large is None:
            return None, ()
        found: list[tuple[Limit, Decision]] = []
        if low is not None:
            facts: Facts = {"free_octets": free_octets, "min_free_octets": rules.min_free_octets}
            found.append((Limit.MIN_FREE_SPACE, Decision(Rule.FREE_SPACE, low, facts)))
        if large is not None:
            facts = {"declared_octets": event.declared_octets, "max_octets": rules.max_message_octets}
            found.append((Limit.MAX_MESSAGE_SIZE, Decision(Rule.DECLARED_SIZE, large, facts)))
        refusals = [decision for limit, decision in found if limit not in rules.observed]
        return refusals[0] if refusals else None, tuple(decision for _, decision in found)

    def _judge_account(
        self, visit: Visit, event: SenderOffered
    ) -> tuple[Decision | None, tuple[Decision, ...]]:
        return self._accounts.split(self._accounts.judge_message(visit, event.declared_octets))

    def _fine(
        self,
        visit: Visit,
        event: SenderOffered,
        over: tuple[Mode, Decision] | None,
        missing: Decision | None = None,
    ) -> Decision:
        observed = self._judge_account(visit, event)[1] if visit.account else ()
        if over is not None:
            observed = (over[1], *observed)
        if self.rules.observed:
            domain = () if missing is None else (missing,)
            observed = (*self._judge_room(event)[1], *domain, *observed)
        return Decision(Rule.SENDER_FINE, reply.SENDER_OK, observed=observed)

    def _must_ask(self, sender: Mailbox) -> bool:
        rules = self.rules
        if rules.sender_must_match_login or rules.local_sender_needs_auth:
            return True
        return rules.sender_domain_must_exist and not self._is_local(sender)

    def _is_local(self, sender: Mailbox) -> bool:
        return classify_domain(self._directory.current, sender.domain) is DomainKind.LOCAL

    async def _judge_identity(self, visit: Visit, sender: Mailbox) -> Decision | None:
        if self._relay.rules.mode is RelayMode.OPEN:
            return None
        account = visit.account
        verdict = await self._relay.judge(visit)
        facts = SenderFacts(
            reverse_path=sender,
            is_local_sender=self._is_local(sender),
            is_authenticated=account is not None,
            may_use_sender=account is not None and may_send_as(self._directory.current, account, sender),
            fulfils_a_condition=verdict.is_allowed,
        )
        refusal = judge_sender_identity(facts, self.rules)
        if refusal is None:
            return None
        login = account.login if account else None
        rule = Rule.SENDER_MUST_MATCH_LOGIN if login else Rule.LOCAL_SENDER_NEEDS_AUTH
        return Decision(rule, refusal, {"account": login, "relay_verdict": verdict.value})

    async def _judge_domain(self, sender: Mailbox) -> Decision | None:
        if not self.rules.sender_domain_must_exist or self._is_local(sender) or sender.domain.startswith("["):
            return None
        mx = await self._resolver.lookup_mx(sender.domain)
        addresses = await self._resolver.lookup_addresses(sender.domain) if needs_addresses(mx) else None
        refusal = judge_sender_domain(mx, addresses)
        return None if refusal is None else Decision(Rule.SENDER_DOMAIN, refusal, _dns_facts(mx, addresses))


def _dns_facts(mx: MxAnswer, addresses: AddressAnswer | None) -> Facts:
    facts: Facts = {"dns_mx": str(mx)}
    if addresses is not None:
        facts["dns_addresses"] = str(addresses)
    return facts
