"""Carries decisions out: logs, records, ids and consequences in one place, so that a check has no effects.

A refusal is recorded, and the record's id ends its reply; an accept is kept with its transaction and stored in the
same commit as the message (message_story.py), or forgotten with it. Records hold up no reply: they are written
in one of the next group commits, behind what somebody waits for. While too many wait, or the store fails, a
refusal goes without an id.
Flow: `service.reception` brings every decision here; `service.explanation` never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from kms.domain.address import Mailbox
from kms.domain.decision import Decision, Record, Rule, Stage, format_decision_id
from kms.domain.reply import SENDER_DOMAIN_UNKNOWN, Reply
from kms.service.clock import Clock
from kms.service.database import Database
from kms.service.mail_log import MailLog
from kms.service.security_log import SecurityLog
from kms.service.visit import Visit
from kms.store import decisions as store
from kms.store import message_life

_MOST_WAITING = 20_000
_PURGED_AT_ONCE = 10_000


@attrs.define  # not frozen: one for each command of a message; nobody changes one
class Case:
    """What a decision was about.

    Attributes:
        visit: of whom.
        stage: when in the session.
        sender: the reverse-path, as far as it is known; None = null, or not known.
        recipient: at RCPT.
    """

    visit: Visit
    stage: Stage
    sender: Mailbox | None = None
    recipient: Mailbox | None = None


Consequence = Callable[[Case, Decision], object]


class Decisions:
    """Applies what the checks decide.

    Args:
        database: where records go.
        clock: when it was decided.
        logs: mail log and security log.
        keep: how long records are kept; 0 = there are none, and no ids. A reload replaces the attribute.

    Attributes:
        consequences: what else follows from a decision by a rule, enforced or only observed: the place where a
            limit counts. Called before the reply is said.
    """

    def __init__(
        self, database: Database, clock: Clock, logs: tuple[MailLog, SecurityLog], keep: timedelta
    ) -> None:
        self._database = database
        self._clock = clock
        self._mail_log, self._security_log = logs
        self.keep = keep
        self.consequences: dict[Rule, Consequence] = {
            Rule.UNKNOWN_RECIPIENT: self._recipient_was_unknown,
            Rule.RELAY_DENIED: self._relay_was_denied,
            Rule.RELAY_DENIED_WITHOUT_TRUST: self._relay_was_denied,
            Rule.RELAY_DENIED_AFTER_FAILED_AUTHENTICATION: self._relay_was_denied,
            Rule.SENDER_DOMAIN: self._sender_domain_was_missing,
            Rule.SENDER_MUST_MATCH_LOGIN: self._sender_was_not_owned,
            Rule.LOCAL_SENDER_NEEDS_AUTH: self._sender_was_not_owned,
        }
        self._last_number = 0
        self._waiting = 0
        self._log = Logger(namespace="kms.decisions")

    def start(self, greatest: int) -> None:
        """Number records above all that may have been given out before."""
        self._last_number = greatest + _MOST_WAITING

    def apply(self, case: Case, decision: Decision) -> Reply:
        """Carry a decision out.

        Returns:
            What to tell the client; the reply of a refusal ends with the record's id.
        """
        if decision.observed:
            self.note_observed(case, decision.observed)
        self._take_consequence(case, decision)
        if not decision.is_refusal:
            return decision.reply
        number = self._record(case, decision)
        reply = decision.reply if number is None else decision.reply.with_decision(format_decision_id(number))
        visit = case.visit
        self._mail_log.rejected(
            case.stage.value,
            visit.client,
            visit.session.client_name,
            reply,
            case.sender,
            case.recipient,
            visit.protocol_word,
        )
        return reply

    def note_observed(self, case: Case, observed: Iterable[Decision]) -> None:
        """Carry out what follows from limits that only observe: a line in the log, and a record."""
        for decision in observed:
            self._take_consequence(case, decision)
            self._record(case, decision, is_observed=True)

    def _take_consequence(self, case: Case, decision: Decision) -> None:
        consequence = self.consequences.get(decision.rule)
        if consequence is not None:
            consequence(case, decision)

    def _record(self, case: Case, decision: Decision, is_observed: bool = False) -> int | None:
        """Remember a decision; None where it is not."""
        if not self.keep or self._waiting >= _MOST_WAITING:
            return None
        self._last_number += 1
        record = Record(
            number=self._last_number,
            at=self._clock.now(),
            client=str(case.visit.client),
            stage=case.stage,
            rule=decision.rule.value,
            reply=str(decision.reply),
            facts={**_envelope_facts(case), **decision.facts},
            is_observed=is_observed,
        )
        self._waiting += 1
        self._database.run_batched(store.add, record, is_urgent=False).addBoth(self._recorded)
        return record.number

    def _recorded(self, result: object) -> None:
        self._waiting -= 1
        if isinstance(result, Failure):
            self._log.error("A decision could not be recorded: {error}", error=result.value)

    async def sweep(self) -> None:
        """Forget what has been kept long enough, a bite at a time so that no commit waits long."""
        before = self._clock.now() - self.keep
        for purge in (store.purge, message_life.purge):
            while await self._database.run(lambda db, purge=purge: purge(db, before, _PURGED_AT_ONCE)):  # type: ignore[misc]
                pass

    # Consequences that are lines in the security log

    def _recipient_was_unknown(self, case: Case, decision: Decision) -> None:
        assert case.recipient is not None
        self._security_log.recipient_unknown(case.visit.client, case.sender, case.recipient)

    def _relay_was_denied(self, case: Case, decision: Decision) -> None:
        assert case.recipient is not None
        self._security_log.relay_denied(case.visit.client, case.sender, case.recipient)

    def _sender_domain_was_missing(self, case: Case, decision: Decision) -> None:
        if decision.reply == SENDER_DOMAIN_UNKNOWN and case.sender is not None:
            self._security_log.sender_domain_missing(case.visit.client, case.sender)

    def _sender_was_not_owned(self, case: Case, decision: Decision) -> None:
        login = case.visit.account.login if case.visit.account else None
        self._security_log.sender_refused(case.visit.client, case.sender, login)


def _envelope_facts(case: Case) -> dict[str, str | int | None]:
    visit = case.visit
    facts: dict[str, str | int | None] = {"helo": visit.session.client_name, "protocol": visit.protocol_word}
    if visit.account is not None:
        facts["login"] = visit.account.login
    if case.stage is not Stage.CONNECT:
        facts["from"] = str(case.sender or "")
    if case.recipient is not None:
        facts["to"] = str(case.recipient)
    return facts
