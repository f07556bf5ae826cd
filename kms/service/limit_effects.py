"""What follows from the decisions about clients: counts, blocks, and lines of the security log.

An effect follows only where the limit is on and the client is not exempt; the check (client_check.py) has decided
with the same limits.
Flow: `Decisions.apply` calls these as consequences, before the reply is said.
"""

from __future__ import annotations

from datetime import timedelta

from kms.domain.decision import Decision, Rule
from kms.domain.reply import NO_PTR_RECORD
from kms.policy.block import BlockKind
from kms.policy.limits import Limit, Mode, client_key, is_reached
from kms.service.client_check import ClientCheck
from kms.service.client_ledger import ClientLedger
from kms.service.decisions import Case, Decisions
from kms.service.security_log import SecurityLog

_OF_TRANSACTIONS = {
    Rule.FREE_SPACE: Limit.MIN_FREE_SPACE,
    Rule.DECLARED_SIZE: Limit.MAX_MESSAGE_SIZE,
    Rule.CONTENT_SIZE: Limit.MAX_MESSAGE_SIZE,
    Rule.SENDER_DOMAIN: Limit.SENDER_DOMAIN_MUST_EXIST,
    Rule.MAX_RECIPIENTS: Limit.MAX_RECIPIENTS,
    Rule.MAX_RECEIVED_HOPS: Limit.MAX_RECEIVED_HOPS,
    Rule.FAILED_COMMANDS: Limit.MAX_FAILED_COMMANDS,
    Rule.DATA_RATE: Limit.MINIMUM_DATA_RATE,
}


class LimitEffects:
    """Carries out what the limits of clients decide.

    Args:
        check: knows the limits.
        ledger: counts and blocks.
        log: the security log.
    """

    def __init__(self, check: ClientCheck, ledger: ClientLedger, log: SecurityLog) -> None:
        self._check = check
        self._ledger = ledger
        self._log = log

    def follow(self, decisions: Decisions) -> None:
        """Be called for the decisions by these rules."""
        tell_unknown = decisions.consequences[Rule.UNKNOWN_RECIPIENT]

        def was_unknown(case: Case, decision: Decision) -> None:
            tell_unknown(case, decision)
            self._count_unknown_recipient(case)

        decisions.consequences |= {
            Rule.HARVEST_BLOCK: self._was_blocked,
            Rule.CONNECTIONS_PER_CLIENT: self._had_connections,
            Rule.CLIENT_MUST_HAVE_PTR: self._had_no_name,
            Rule.MESSAGES_PER_HOUR: self._had_sent_enough,
            Rule.UNKNOWN_RECIPIENT: was_unknown,
            Rule.DIRECTORY_HARVEST: self._has_harvested,
        }
        for rule, limit in _OF_TRANSACTIONS.items():
            self._tell_observed(decisions, rule, limit)

    def _tell_observed(self, decisions: Decisions, rule: Rule, limit: Limit) -> None:
        """Let what follows from a rule follow only where its limit is enforced."""
        effect = decisions.consequences.get(rule)

        def decided(case: Case, decision: Decision) -> None:
            if limit in self._check.limits.observed:
                self._log.observed(case.visit.client, limit.value)
            elif effect is not None:
                effect(case, decision)

        decisions.consequences[rule] = decided

    def _observes(self, case: Case, limit: Limit) -> bool:
        """Tell of a decision that is only observed, and say whether it is."""
        is_observed = self._check.limits.mode(limit) is Mode.OBSERVE
        if is_observed:
            self._log.observed(case.visit.client, limit.value)
        return is_observed

    def _was_blocked(self, case: Case, decision: Decision) -> None:
        if not self._observes(case, Limit.UNKNOWN_RECIPIENTS):
            self._log.connection_from_blocked(case.visit.client)

    def _had_connections(self, case: Case, decision: Decision) -> None:
        if not self._observes(case, Limit.CONNECTIONS_PER_CLIENT):
            limit = self._check.limits.connections_per_client
            self._log.too_many_connections("SMTP", case.visit.client, limit)

    def _had_no_name(self, case: Case, decision: Decision) -> None:
        if not self._observes(case, Limit.CLIENT_MUST_HAVE_PTR) and decision.reply is NO_PTR_RECORD:
            self._log.ptr_missing(case.visit.client)

    def _had_sent_enough(self, case: Case, decision: Decision) -> None:
        if self._observes(case, Limit.MESSAGES_PER_HOUR):
            return
        client, limit = case.visit.client, self._check.limits.messages_per_hour
        left = self._ledger.seconds_to_room(client_key(client), limit)
        until = self._ledger.clock.now() + timedelta(seconds=left)
        self._log.too_many_messages(client, case.sender, limit, until)

    def _count_unknown_recipient(self, case: Case) -> None:
        limits, client = self._check.limits, case.visit.client
        if limits.mode(Limit.UNKNOWN_RECIPIENTS) is Mode.OFF or self._check.is_free(case.visit):
            return
        key = client_key(client)
        if not is_reached(self._ledger.unknown_recipients_of(key), limits.unknown_recipients):
            self._ledger.count_unknown_recipient(key)

    def _has_harvested(self, case: Case, decision: Decision) -> None:
        if self._observes(case, Limit.UNKNOWN_RECIPIENTS):
            return
        limits, client = self._check.limits, case.visit.client
        length, count = limits.unknown_recipients_block, limits.unknown_recipients
        why = f"more than {count} unknown recipients within an hour, the last one {case.recipient}"
        self._ledger.block(client_key(client), BlockKind.HARVEST, length, why)
        self._log.harvest_detected(client, count, self._ledger.clock.now() + length)
        if case.recipient is not None:
            self._log.recipient_unknown(client, case.sender, case.recipient)
