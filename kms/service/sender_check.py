"""Decides about MAIL: free space, declared size, whose address it is, whether its domain exists."""

from __future__ import annotations

from collections.abc import Callable

from kms.domain import reply
from kms.domain.address import Mailbox
from kms.domain.reply import Reply
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
from kms.service.directory import DirectoryCache
from kms.service.mail_log import MailLog
from kms.service.relay_check import RelayCheck
from kms.service.security_log import SecurityLog
from kms.service.visit import Transaction, Visit


class SenderCheck:
    """May this sender begin a transaction?

    Args:
        rules: the settings; a reload replaces the attribute.
        directory: which domains are local, whose address is whose.
        relay: whether the client fulfils a relay condition.
        resolver: whether the sender's domain exists.
        free_octets: free space of the spool, cheap to ask.
        mail_log, security_log: tell of refusals.
    """

    def __init__(
        self,
        rules: TransactionRules,
        directory: DirectoryCache,
        relay: RelayCheck,
        resolver: Resolver,
        free_octets: Callable[[], int],
        logs: tuple[MailLog, SecurityLog],
    ) -> None:
        self.rules = rules
        self._directory = directory
        self._relay = relay
        self._resolver = resolver
        self._free_octets = free_octets
        self._mail_log, self._security_log = logs

    def judge_at_once(self, visit: Visit, event: SenderOffered) -> Reply | None:
        """Judge where nothing has to be waited for; None where `judge` must be awaited."""
        rules = self.rules
        refusal = (
            self._judge_login(visit)
            or judge_free_space(self._free_octets(), rules)
            or judge_declared_size(event.declared_octets, rules)
        )
        if refusal is not None:
            return self._refuse(visit, event.reverse_path, refusal)
        if event.reverse_path is not None and self._must_ask(event.reverse_path):
            return None
        return self._open(visit, event.reverse_path)

    def _judge_login(self, visit: Visit) -> Reply | None:
        """A login lasts as long as its account: what an administrator changes acts in open sessions too."""
        if visit.account is None:
            return None
        account = self._directory.current.accounts.get(visit.account.login)
        if account is None or not account.is_enabled:
            return reply.ACCOUNT_DISABLED
        visit.account = account
        return None

    def _must_ask(self, sender: Mailbox) -> bool:
        rules = self.rules
        if rules.sender_must_match_login or rules.local_sender_needs_auth:
            return True
        return rules.sender_domain_must_exist and not self._is_local(sender)

    def _is_local(self, sender: Mailbox) -> bool:
        return classify_domain(self._directory.current, sender.domain) is DomainKind.LOCAL

    async def judge(self, visit: Visit, event: SenderOffered) -> Reply:
        """Judge with DNS and relay window."""
        sender = event.reverse_path
        assert sender is not None
        refusal = await self._judge_identity(visit, sender)
        if refusal is not None:
            login = visit.account.login if visit.account else None
            self._security_log.sender_refused(visit.client, sender, login)
            return self._refuse(visit, sender, refusal)
        refusal = await self._judge_domain(sender)
        if refusal is not None:
            if refusal is reply.SENDER_DOMAIN_UNKNOWN:
                self._security_log.sender_domain_missing(visit.client, sender)
            return self._refuse(visit, sender, refusal)
        return self._open(visit, sender)

    async def _judge_identity(self, visit: Visit, sender: Mailbox) -> Reply | None:
        if self._relay.rules.mode is RelayMode.OPEN:
            return None
        account = visit.account
        facts = SenderFacts(
            reverse_path=sender,
            is_local_sender=self._is_local(sender),
            is_authenticated=account is not None,
            may_use_sender=account is not None and may_send_as(self._directory.current, account, sender),
            fulfils_a_condition=(await self._relay.judge(visit)).is_allowed,
        )
        return judge_sender_identity(facts, self.rules)

    async def _judge_domain(self, sender: Mailbox) -> Reply | None:
        if not self.rules.sender_domain_must_exist or self._is_local(sender) or sender.domain.startswith("["):
            return None
        mx = await self._resolver.lookup_mx(sender.domain)
        addresses = await self._resolver.lookup_addresses(sender.domain) if needs_addresses(mx) else None
        return judge_sender_domain(mx, addresses)

    def _open(self, visit: Visit, sender: Mailbox | None) -> Reply:
        visit.transaction = Transaction(sender)
        return reply.SENDER_OK

    def _refuse(self, visit: Visit, sender: Mailbox | None, refusal: Reply) -> Reply:
        name, protocol = visit.session.client_name, visit.protocol_word
        self._mail_log.rejected("MAIL", visit.client, name, refusal, sender, protocol=protocol)
        return refusal
