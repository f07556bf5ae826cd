"""Decides about RCPT: who is behind a local address, and may this client send to a foreign one?

The verdict is per recipient: in one transaction a local recipient gets 250 and a foreign one 550. The address
that the client has connected to, written as a literal, stands for the first local domain (RFC 5321 4.1.3); any
other literal is foreign. Over LMTP no foreign one is taken, whoever asks. What `[routes]` gives back (`error:`)
of a local or relay domain is refused here. The check changes nothing and tells nobody (see `service.decisions`).
"""

from __future__ import annotations

from typing import assert_never

from kms.domain import reply
from kms.domain.account import Account
from kms.domain.address import Mailbox, format_literal
from kms.domain.decision import Decision, Facts, Rule
from kms.domain.reply import Reply
from kms.policy.limits import Limit
from kms.policy.recipient import (
    AliasLoop,
    DisabledMailbox,
    DomainKind,
    NoPostmaster,
    Resolution,
    Resolved,
    UnknownRecipient,
    UnusableAlias,
    classify_domain,
    hides_a_route,
)
from kms.policy.relay import RelayVerdict
from kms.policy.route_table import Refusal, RouteTable
from kms.policy.transaction import TransactionRules, judge_recipient_count
from kms.protocol.smtp_events import RecipientOffered
from kms.service.account_check import AccountCheck
from kms.service.client_check import ClientCheck
from kms.service.directory import DirectoryCache
from kms.service.quota import Quota
from kms.service.relay_check import RelayCheck
from kms.service.visit import Visit, transaction_of

_RELAY_RULES = {
    RelayVerdict.OPEN_RELAY: Rule.OPEN_RELAY,
    RelayVerdict.BY_ADDRESS_GROUP: Rule.RELAY_BY_ADDRESS_GROUP,
    RelayVerdict.BY_AUTHENTICATION: Rule.RELAY_BY_AUTHENTICATION,
    RelayVerdict.BY_RELAY_WINDOW: Rule.RELAY_BY_WINDOW,
    RelayVerdict.DENIED: Rule.RELAY_DENIED,
    RelayVerdict.DENIED_WITHOUT_TRUST: Rule.RELAY_DENIED_WITHOUT_TRUST,
    RelayVerdict.DENIED_AFTER_FAILED_AUTHENTICATION: Rule.RELAY_DENIED_AFTER_FAILED_AUTHENTICATION,
}


class RecipientCheck:
    """May this recipient be added to the transaction?

    Args:
        rules: the settings; a reload replaces the attribute.
        directory: who exists.
        relay: whether the client may send to foreign domains.
        quota: whether a mailbox is full.
        clients: whether the client has tried too many unknown recipients.
        accounts: the limits of a login.
        error_routes: `[routes]` where one of its lines says `error:`, else None; a reload replaces it.
    """

    def __init__(
        self,
        rules: TransactionRules,
        directory: DirectoryCache,
        relay: RelayCheck,
        quota: Quota,
        clients: ClientCheck,
        accounts: AccountCheck,
        error_routes: RouteTable | None = None,
    ) -> None:
        self.rules = rules
        self.error_routes = error_routes
        self._directory = directory
        self._relay = relay
        self._quota = quota
        self._clients = clients
        self._accounts = accounts

    def judge_at_once(
        self, visit: Visit, event: RecipientOffered, *, is_counted: bool = False
    ) -> Decision | None:
        """Judge where nothing has to be waited for; None where `judge` must be awaited.

        Args:
            is_counted: whether it is one too many was judged before.
        """
        refusal = None if is_counted else judge_recipient_count(transaction_of(visit).accepted, self.rules)
        if refusal is not None:
            over = self._decide_count(visit, refusal)
            if Limit.MAX_RECIPIENTS not in self.rules.observed:
                return over
            decision = self.judge_at_once(visit, event, is_counted=True)
            return decision if decision is None else _observe(decision, over)
        path = event.forward_path
        home = self._home_of(visit, path)
        kind = self._kind(home)
        routes = self.error_routes
        given_back = None if routes is None else self._judge_route(routes, visit, home, kind)
        if given_back is not None:
            return given_back
        match kind:
            case DomainKind.LOCAL:
                return self._judge_local(visit, home)
            case DomainKind.RELAY:
                return Decision(Rule.RELAY_DOMAIN, reply.RECIPIENT_OK, targets=(path,))
            case DomainKind.FOREIGN if visit.session.is_lmtp:
                return self._judge_foreign(visit, path, RelayVerdict.DENIED)
            case DomainKind.FOREIGN:
                verdict = self._relay.judge_at_once(visit)
                must_wait = not verdict.is_allowed or self._accounts.must_ask(visit)
                return None if must_wait else self._judge_foreign(visit, path, verdict)
            case _:
                assert_never(kind)

    async def judge(self, visit: Visit, event: RecipientOffered) -> Decision:
        """Judge with the relay window, the mailboxes' sizes, and whom an account has written to before."""
        refusal = judge_recipient_count(transaction_of(visit).accepted, self.rules)
        over = None if refusal is None else self._decide_count(visit, refusal)
        decision = await self._judge_slowly(visit, event)
        return decision if over is None else _observe(decision, over)

    async def _judge_slowly(self, visit: Visit, event: RecipientOffered) -> Decision:
        path = event.forward_path
        home = self._home_of(visit, path)
        if self._kind(home) is DomainKind.LOCAL:
            resolution = self._directory.resolve(home)
            assert isinstance(resolution, Resolved)
            return await self._judge_quota(resolution)
        decision = self._judge_foreign(visit, path, await self._relay.judge(visit))
        return await self._accounts.judge_recipient(visit, path, decision)

    def _decide_count(self, visit: Visit, refusal: Reply) -> Decision:
        accepted = transaction_of(visit).accepted
        facts: Facts = {"recipients": accepted, "max_recipients": self.rules.max_recipients}
        return Decision(Rule.MAX_RECIPIENTS, refusal, facts)

    def _home_of(self, visit: Visit, path: Mailbox) -> Mailbox:
        """Give the address to look up: the path itself, unless its domain is our own address literal."""
        if not path.domain.startswith("[") or self._kind(path) is not DomainKind.FOREIGN:
            return path
        server = visit.server_address()
        if server is None or path.domain != format_literal(server):
            return path
        return Mailbox(path.local_part, self._directory.current.local_domains[0])

    def _kind(self, path: Mailbox) -> DomainKind:
        if not path.domain:
            return DomainKind.LOCAL
        kind = classify_domain(self._directory.current, path.domain)
        return DomainKind.FOREIGN if kind is DomainKind.RELAY and hides_a_route(path) else kind

    def _judge_route(
        self, routes: RouteTable, visit: Visit, home: Mailbox, kind: DomainKind
    ) -> Decision | None:
        if kind is DomainKind.FOREIGN or not home.domain:  # the bare postmaster is in no domain
            return None
        domain = self._directory.current.domain_aliases.get(home.domain, home.domain)
        line = routes.find(transaction_of(visit).reverse_path, domain)
        if not isinstance(line, Refusal):
            return None
        return Decision(Rule.ERROR_ROUTE, reply.refused_by_route(line.text), {"domain": domain})

    def _judge_local(self, visit: Visit, home: Mailbox) -> Decision | None:
        resolution = self._directory.resolve(home)
        if isinstance(resolution, Resolved):
            return None if self._with_quota(resolution) else _accept_local(resolution)
        if isinstance(resolution, UnknownRecipient):
            return self._clients.judge_unknown_recipient(visit)
        if isinstance(resolution, UnusableAlias):
            facts: Facts = {"alias": resolution.name, "trouble": resolution.trouble}
            return Decision(Rule.ALIAS_UNUSABLE, reply.ALIAS_UNUSABLE, facts)
        rule, refusal = _refusal_of(resolution)
        return Decision(rule, refusal)

    def _with_quota(self, resolution: Resolved) -> list[Account]:
        accounts = self._directory.current.accounts
        limited = []
        for target in resolution.targets:
            account = accounts.get(str(target))
            if account is not None and (account.quota_octets or account.quota_messages):
                limited.append(account)
        return limited

    async def _judge_quota(self, resolution: Resolved) -> Decision:
        for account in self._with_quota(resolution):
            if await self._quota.is_full(account):
                return Decision(Rule.QUOTA, reply.MAILBOX_FULL, {"account": account.login})
        return _accept_local(resolution)

    def _judge_foreign(self, visit: Visit, path: Mailbox, verdict: RelayVerdict) -> Decision:
        rule = _RELAY_RULES[verdict]
        if not verdict.is_allowed:
            facts: Facts = {
                "authentication": visit.authentication.value,
                "in_relay_group": "yes" if self._relay.is_in_group(visit) else "no",
                "relay_window": "none open" if self._relay.rules.pop_before_smtp else "condition off",
            }
            return Decision(rule, reply.relaying_denied(str(path)), facts)
        if visit.account is not None and visit.account.own_domains_only:
            return Decision(Rule.OWN_DOMAINS_ONLY, reply.OWN_DOMAINS_ONLY, {"account": visit.account.login})
        return Decision(rule, reply.RECIPIENT_OK, targets=(path,))


def _accept_local(resolution: Resolved) -> Decision:
    return Decision(Rule.LOCAL_RECIPIENT, reply.RECIPIENT_OK, targets=resolution.targets)


def _observe(decision: Decision, over: Decision) -> Decision:
    """Add that a recipient is one too many, to the first accepted one that is."""
    facts = over.facts
    if not decision.is_refusal and facts["recipients"] == facts["max_recipients"]:
        decision.observed = (over, *decision.observed)
    return decision


def _refusal_of(resolution: Resolution) -> tuple[Rule, Reply]:
    match resolution:
        case DisabledMailbox():
            return Rule.MAILBOX_DISABLED, reply.MAILBOX_DISABLED
        case AliasLoop():
            return Rule.ALIAS_LOOP, reply.ALIAS_LOOP
        case NoPostmaster():
            return Rule.NO_POSTMASTER, reply.NO_POSTMASTER_YET
        case _:
            raise TypeError(resolution)
