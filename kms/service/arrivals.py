"""Clients that come and go: whether one is let in, and what the ledger counts of it while it is there.

A client counts as connected from the moment it is let in, so also while the DNS is asked for its name, until its
connection is lost. Flow: the reception asks for every connection, and at every accepted MAIL.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kms.domain.address_group import ClientAddress
from kms.domain.decision import Decision, Stage
from kms.domain.reply import Reply
from kms.protocol.smtp_server import SmtpServerSession, SmtpServerSettings
from kms.service.checks import Checks
from kms.service.client_ledger import ClientLedger, Place
from kms.service.decisions import Case, Decisions
from kms.service.mail_log import MailLog
from kms.service.visit import Visit


class Arrivals:
    """Lets clients in.

    Args:
        checks: decide.
        decisions: carries out what they decide.
        ledger: counts connections and messages under way.
        log: the mail log.
    """

    def __init__(self, checks: Checks, decisions: Decisions, ledger: ClientLedger, log: MailLog) -> None:
        self._checks = checks
        self._decisions = decisions
        self._ledger = ledger
        self._mail_log = log
        self._log = Logger(namespace="kms.reception")

    def is_suspect(self, client: ClientAddress) -> bool:
        """Say whether a client may be turned away; see `ClientCheck.is_suspect`."""
        return self._checks.clients.is_suspect(client)

    def turn_away(self, client: ClientAddress, settings: SmtpServerSettings) -> Reply | None:
        """Refuse a client (421) before a connection is made of it, where that is certain already; else None."""
        clients = self._checks.clients
        visit = Visit(client, SmtpServerSession(settings))
        decision = clients.judge_connection(visit)
        if not decision.reply.is_transient:
            return None
        self._mail_log.connected(client)
        said = self._decisions.apply(Case(visit, Stage.CONNECT), decision)
        self._mail_log.disconnected(client)
        return said

    def connected(self, visit: Visit) -> Reply | Deferred[Reply | None] | None:
        """A client has connected.

        Returns:
            What it is refused with (421 or 554), or None; a Deferred of that, which does not fail, where the DNS
            is asked.
        """
        self._mail_log.connected(visit.client)
        clients = self._checks.clients
        refusal = self._apply(visit, clients.judge_connection(visit))
        if refusal is not None:
            return refusal
        if not visit.session.is_lmtp:
            visit.is_counted = True
            self._ledger.connections.add(visit.client_key)
        if not clients.asks_for_name(visit):
            return None
        return Deferred.fromCoroutine(self._judge_name(visit)).addErrback(self._trouble)

    async def _judge_name(self, visit: Visit) -> Reply | None:
        decision = await self._checks.clients.judge_name(visit)
        return None if visit.is_over else self._apply(visit, decision)

    def _apply(self, visit: Visit, decision: Decision) -> Reply | None:
        said = self._decisions.apply(Case(visit, Stage.CONNECT), decision)
        return said if decision.is_refusal else None

    def _trouble(self, failure: Failure) -> None:
        """A fault of ours keeps nobody out."""
        self._log.failure("A client could not be judged", failure)

    def gone(self, visit: Visit) -> None:
        """The connection is lost."""
        visit.is_over = True
        if visit.is_counted:
            visit.is_counted = False
            self._ledger.connections.remove(visit.client_key)
        self._mail_log.disconnected(visit.client)

    def reserve_place(self, visit: Visit) -> Place | None:
        """Reserve a place among the messages of an hour; None where they are not counted."""
        clients = self._checks.clients
        if not clients.limits.messages_per_hour or clients.is_free(visit):
            return None
        return self._ledger.reserve(visit.client_key)
