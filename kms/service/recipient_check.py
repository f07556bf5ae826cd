"""Decides about RCPT: who is behind a local address, and may this client send to a foreign one?

The verdict is per recipient: in one transaction a local recipient gets 250 and a foreign one 550. The address
that the client has connected to, written as a literal, stands for the first local domain (RFC 5321 4.1.3); any
other literal is foreign.
"""

from __future__ import annotations

from typing import assert_never

from kms.domain import reply
from kms.domain.account import Account
from kms.domain.address import Mailbox, format_literal
from kms.domain.message import find_fields
from kms.domain.reply import Reply
from kms.policy.recipient import (
    AliasLoop,
    DisabledMailbox,
    DomainKind,
    NoPostmaster,
    Resolution,
    Resolved,
    UnknownRecipient,
    classify_domain,
    hides_a_route,
)
from kms.policy.relay import RelayVerdict
from kms.policy.transaction import TransactionRules, judge_recipient_count
from kms.protocol.smtp_events import RecipientOffered
from kms.service.directory import DirectoryCache
from kms.service.mail_log import MailLog
from kms.service.quota import Quota
from kms.service.relay_check import RelayCheck
from kms.service.security_log import SecurityLog
from kms.service.visit import Transaction, Visit


class RecipientCheck:
    """May this recipient be added to the transaction?

    Args:
        rules: the settings; a reload replaces the attribute.
        directory: who exists.
        relay: whether the client may send to foreign domains.
        quota: whether a mailbox is full.
        logs: tell of refusals.
    """

    def __init__(
        self,
        rules: TransactionRules,
        directory: DirectoryCache,
        relay: RelayCheck,
        quota: Quota,
        logs: tuple[MailLog, SecurityLog],
    ) -> None:
        self.rules = rules
        self._directory = directory
        self._relay = relay
        self._quota = quota
        self._mail_log, self._security_log = logs

    def judge_at_once(self, visit: Visit, event: RecipientOffered) -> Reply | None:
        """Judge where nothing has to be waited for; None where `judge` must be awaited."""
        transaction = _transaction_of(visit)
        refusal = judge_recipient_count(transaction.accepted, self.rules)
        if refusal is not None:
            return self._refuse(visit, transaction, event.forward_path, refusal)
        path = event.forward_path
        home = self._home_of(visit, path)
        match self._kind(home):
            case DomainKind.LOCAL:
                return self._judge_local(visit, transaction, path, home)
            case DomainKind.RELAY:
                return self._accept(transaction, (path,), path)
            case DomainKind.FOREIGN:
                verdict = self._relay.judge_at_once(visit)
                if not verdict.is_allowed:
                    return None
                return self._judge_foreign(visit, transaction, path, verdict)
            case kind:
                assert_never(kind)

    async def judge(self, visit: Visit, event: RecipientOffered) -> Reply:
        """Judge with the relay window and the mailboxes' sizes."""
        path = event.forward_path
        transaction = _transaction_of(visit)  # before waiting: the client may go meanwhile
        home = self._home_of(visit, path)
        if self._kind(home) is DomainKind.LOCAL:
            resolution = self._directory.resolve(home)
            assert isinstance(resolution, Resolved)
            return await self._judge_quota(visit, transaction, resolution, path)
        return self._judge_foreign(visit, transaction, path, await self._relay.judge(visit))

    def _home_of(self, visit: Visit, path: Mailbox) -> Mailbox:
        """Give the address to look up: the path itself, unless its domain is our own address literal."""
        if not path.domain.startswith("[") or self._kind(path) is not DomainKind.FOREIGN:
            return path
        server = visit.server_address()
        if server is None or path.domain != format_literal(server):
            return path
        return Mailbox(path.local_part, self._directory.current.local_domains[0])

    def judge_loop(self, transaction: Transaction, header: bytes) -> Reply | None:
        """Refuse what lay in a recipient's mailbox before (RFC 9228), while the client is still there to hear it.

        Later it would be a report, and whoever forges the field would choose whom it goes to.
        """
        if b"delivered-to" not in header.lower():
            return None
        passed = {value.decode("utf-8", "replace").lower() for value in find_fields(header, b"Delivered-To")}
        accounts = self._directory.current.accounts
        targets = map(str, transaction.recipients)
        return (
            reply.DELIVERED_TO_LOOP if any(name in accounts and name in passed for name in targets) else None
        )

    def _kind(self, path: Mailbox) -> DomainKind:
        if not path.domain:
            return DomainKind.LOCAL
        kind = classify_domain(self._directory.current, path.domain)
        return DomainKind.FOREIGN if kind is DomainKind.RELAY and hides_a_route(path) else kind

    def _judge_local(
        self, visit: Visit, transaction: Transaction, path: Mailbox, home: Mailbox
    ) -> Reply | None:
        resolution = self._directory.resolve(home)
        if isinstance(resolution, Resolved):
            if any(self._with_quota(resolution)):
                return None
            return self._accept(transaction, resolution.targets, path)
        refusal = _refusal_of(resolution)
        if refusal is reply.UNKNOWN_RECIPIENT:
            self._security_log.recipient_unknown(visit.client, transaction.reverse_path, path)
        return self._refuse(visit, transaction, path, refusal)

    def _with_quota(self, resolution: Resolved) -> list[Account]:
        accounts = self._directory.current.accounts
        found = (accounts.get(str(target)) for target in resolution.targets)
        return [account for account in found if account and (account.quota_octets or account.quota_messages)]

    async def _judge_quota(
        self, visit: Visit, transaction: Transaction, resolution: Resolved, path: Mailbox
    ) -> Reply:
        for account in self._with_quota(resolution):
            if await self._quota.is_full(account):
                return self._refuse(visit, transaction, path, reply.MAILBOX_FULL)
        return self._accept(transaction, resolution.targets, path)

    def _judge_foreign(
        self, visit: Visit, transaction: Transaction, path: Mailbox, verdict: RelayVerdict
    ) -> Reply:
        if not verdict.is_allowed:
            self._security_log.relay_denied(visit.client, transaction.reverse_path, path)
            return self._refuse(visit, transaction, path, reply.relaying_denied(str(path)))
        if visit.account is not None and visit.account.own_domains_only:
            return self._refuse(visit, transaction, path, reply.OWN_DOMAINS_ONLY)
        return self._accept(transaction, (path,), path)

    def _accept(self, transaction: Transaction, targets: tuple[Mailbox, ...], path: Mailbox) -> Reply:
        transaction.add(targets, path)
        return reply.RECIPIENT_OK

    def _refuse(self, visit: Visit, transaction: Transaction, path: Mailbox, refusal: Reply) -> Reply:
        sender = transaction.reverse_path
        name, protocol = visit.session.client_name, visit.protocol_word
        self._mail_log.rejected("RCPT", visit.client, name, refusal, sender, path, protocol)
        return refusal


def _transaction_of(visit: Visit) -> Transaction:
    assert visit.transaction is not None, "the session lets RCPT through only within a transaction"
    return visit.transaction


def _refusal_of(resolution: Resolution) -> Reply:
    match resolution:
        case UnknownRecipient():
            return reply.UNKNOWN_RECIPIENT
        case DisabledMailbox():
            return reply.MAILBOX_DISABLED
        case AliasLoop():
            return reply.ALIAS_LOOP
        case NoPostmaster():
            return reply.NO_POSTMASTER_YET
        case _:
            raise TypeError(resolution)
