"""All checks of SMTP sessions, made from settings and the live state they look at.

The server has one set; `kmsctl explain --config CANDIDATE` makes another one from other settings over the same
state. No check changes anything.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.cred.portal import Portal

from kms.config.settings import Settings
from kms.domain.decision import Decision
from kms.ports import Resolver
from kms.service.account_check import AccountCheck, AccountCounts
from kms.service.archive import Archive
from kms.service.client_check import ClientCheck
from kms.service.client_ledger import ClientLedger
from kms.service.content_check import ContentCheck, observed_in
from kms.service.directory import DirectoryCache
from kms.service.gateway_watch import GatewayWatch
from kms.service.quota import Quota
from kms.service.recipient_check import RecipientCheck
from kms.service.relay_check import RelayCheck
from kms.service.sender_check import SenderCheck
from kms.service.visit import Transaction, Visit


@attrs.frozen
class LiveState:
    """What checks look at, besides their rules and the directory.

    Attributes:
        portal: proves open relay windows.
        quota: knows full mailboxes.
        resolver: the DNS.
        free_octets: of the spool.
        ledger: what clients did lately.
        gateways: knows trusted addresses that lost their trust.
        account_counts: what logins have sent.
    """

    portal: Portal
    quota: Quota
    resolver: Resolver
    free_octets: Callable[[], int]
    ledger: ClientLedger
    gateways: GatewayWatch
    account_counts: AccountCounts


@attrs.frozen
class Checks:
    """One set of checks.

    Attributes:
        clients: decide about clients by what they did lately.
        relay: may this client send to foreign domains?
        senders: decide about MAIL.
        recipients: decide about RCPT.
        contents: decide at the end of a content.
        accounts: decide about the limits of a login.
        archive: who gets a copy of what they let pass.
    """

    clients: ClientCheck
    relay: RelayCheck
    senders: SenderCheck
    recipients: RecipientCheck
    contents: ContentCheck
    accounts: AccountCheck
    archive: Archive

    def judge_content(
        self, visit: Visit, transaction: Transaction, header: bytes, received_count: int, octets: int
    ) -> tuple[Decision | None, tuple[Decision, ...]]:
        """Judge a whole content; gives a refusal, and what is only observed where there is none.

        An account is judged once more: only now the size is known, and other sessions may have sent meanwhile.
        """
        observed: tuple[Decision, ...] = ()
        refusal = self.contents.judge(transaction, header, received_count)
        if refusal is None and visit.account is not None:
            refusal, observed = self.accounts.split(self.accounts.judge_message(visit, octets))
        if refusal is not None:
            return refusal, ()
        if observed:
            told = observed_in(transaction)
            observed = tuple(one for one in observed if one.rule not in told)
        if self.contents.rules.observed:
            observed = (*self.contents.observe(transaction, received_count, octets), *observed)
        return None, observed

    def use(self, settings: Settings) -> None:
        """Take the rules of changed settings."""
        rules = settings.transaction_rules
        self.clients.limits = settings.client_limits
        self.archive.address = settings.delivery.archive_to
        self.relay.rules = settings.relay_rules
        self.relay.gateway_rules = settings.gateway_rules
        self.accounts.rules = settings.account_rules
        self.recipients.error_routes = settings.error_routes
        self.senders.rules = self.recipients.rules = self.contents.rules = rules


def build_checks(settings: Settings, directory: DirectoryCache, state: LiveState) -> Checks:
    """Make a set of checks from settings and what they look at."""
    rules = settings.transaction_rules
    relay = RelayCheck(settings.relay_rules, state.portal, state.gateways, settings.gateway_rules)
    accounts = AccountCheck(settings.account_rules, state.account_counts)
    clients = ClientCheck(settings.client_limits, state.ledger, state.resolver)
    return Checks(
        clients=clients,
        relay=relay,
        senders=SenderCheck(rules, directory, relay, state.resolver, state.free_octets, clients, accounts),
        recipients=RecipientCheck(
            rules, directory, relay, state.quota, clients, accounts, settings.error_routes
        ),
        contents=ContentCheck(rules, directory),
        accounts=accounts,
        archive=Archive(directory, settings.delivery.archive_to),
    )
