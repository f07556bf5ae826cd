"""Decides about a content at its end: has it come round too often? It changes nothing and tells nobody."""

from __future__ import annotations

from kms.domain import reply
from kms.domain.decision import Decision, Rule
from kms.domain.message import find_fields
from kms.policy.transaction import TransactionRules, judge_hops
from kms.service.directory import DirectoryCache
from kms.service.visit import Transaction


class ContentCheck:
    """May this content be stored?

    Args:
        rules: the settings; a reload replaces the attribute.
        directory: which accounts there are.
    """

    def __init__(self, rules: TransactionRules, directory: DirectoryCache) -> None:
        self.rules = rules
        self._directory = directory

    def judge(self, transaction: Transaction, header: bytes, received_count: int) -> Decision | None:
        """Judge a content by its header.

        Args:
            transaction: whose recipients are known.
            header: its header section, or as much as is remembered.
            received_count: how many `Received` fields it came with.

        Returns:
            A refusal; None where nothing speaks against it.
        """
        refusal = judge_hops(received_count, self.rules)
        if refusal is not None:
            facts = {"received_count": received_count, "max_received_hops": self.rules.max_received_hops}
            return Decision(Rule.MAX_RECEIVED_HOPS, refusal, {**facts})
        return self._judge_loop(transaction, header)

    def _judge_loop(self, transaction: Transaction, header: bytes) -> Decision | None:
        """Refuse what lay in a recipient's mailbox before (RFC 9228), while the client is still there to hear it.

        Later it would be a report, and whoever forges the field would choose whom it goes to.
        """
        if b"delivered-to" not in header.lower():
            return None
        passed = {value.decode("utf-8", "replace").lower() for value in find_fields(header, b"Delivered-To")}
        accounts = self._directory.current.accounts
        for target in map(str, transaction.recipients):
            if target in accounts and target in passed:
                return Decision(Rule.DELIVERED_TO_LOOP, reply.DELIVERED_TO_LOOP, {"delivered_to": target})
        return None
