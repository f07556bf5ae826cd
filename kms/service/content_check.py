"""Decides about a content at its end: has it come round too often? It changes nothing and tells nobody."""

from __future__ import annotations

from kms.domain import reply
from kms.domain.decision import Decision, Facts, Rule
from kms.domain.message import find_fields
from kms.domain.reply import Reply
from kms.policy.limits import Limit
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
        if refusal is not None and Limit.MAX_RECEIVED_HOPS not in self.rules.observed:
            return self._decide_hops(received_count, refusal)
        return self._judge_loop(transaction, header)

    def observe(self, transaction: Transaction, received_count: int, octets: int) -> tuple[Decision, ...]:
        """Give what would be refused if it were not only observed; what MAIL has told is not told again."""
        rules, found = self.rules, []
        hops = judge_hops(received_count, rules)
        if hops is not None:
            found.append(self._decide_hops(received_count, hops))
        if octets > rules.max_message_octets > 0 and Rule.DECLARED_SIZE not in observed_in(transaction):
            facts: Facts = {"octets": octets, "max_octets": rules.max_message_octets}
            found.append(Decision(Rule.CONTENT_SIZE, reply.CONTENT_TOO_LARGE, facts))
        return tuple(found)

    def _decide_hops(self, received_count: int, refusal: Reply) -> Decision:
        facts: Facts = {"received_count": received_count, "max_received_hops": self.rules.max_received_hops}
        return Decision(Rule.MAX_RECEIVED_HOPS, refusal, facts)

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


def observed_in(transaction: Transaction) -> set[Rule]:
    """Name the rules that would have refused something of the transaction so far."""
    return {one.rule for _, _, decision in transaction.decisions for one in decision.observed}
