"""Answers the SMTP session's events: asks the checks, receives the content, stores the message.

An answer that needs no waiting is a plain `Reply`, so that the common path costs no Deferred. The answer to the
end of data is a Deferred that fires after the commit: 250 is said only when message and envelope are on stable
storage (RFC 5321 6.1). Whatever is unknown is 451 and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kms.domain import reply
from kms.domain.content import Content, InlineContent
from kms.domain.decision import Decision, Rule, Stage
from kms.domain.envelope import Envelope
from kms.domain.message import count_received, split_header
from kms.domain.queue_entry import QueueEntry, format_queue_id
from kms.domain.reply import Reply
from kms.protocol.smtp_events import (
    ContentEnded,
    ContentReceived,
    ContentRefused,
    Event,
    LoginOffered,
    Question,
    RecipientOffered,
    SenderOffered,
    TransactionAborted,
    VerifierWanted,
)
from kms.service.arrivals import Arrivals
from kms.service.checks import Checks
from kms.service.client_ledger import ClientLedger
from kms.service.clock import Clock
from kms.service.decisions import Case, Decisions
from kms.service.incoming import BodyFiles, IncomingContent
from kms.service.mail_log import MailLog
from kms.service.message_story import tell_acceptance
from kms.service.portal import LoginPortal
from kms.service.queue import Queue
from kms.service.security_log import SecurityLog
from kms.service.session_rules import decide_for_session
from kms.service.smtp_login import SmtpLogins
from kms.service.trace_fields import TraceFields
from kms.service.visit import Transaction, Visit, transaction_of
from kms.store.client_ledger import ClientEvent
from kms.store.fault import Step, reach

Answer = Reply | Deferred[Reply] | Deferred[None] | None


class Reception:
    """Decides for all SMTP sessions of the server.

    Args:
        checks: decide.
        decisions: carries out what they decide.
        portal: proves logins.
        ledger: counts what clients do.
        queue: takes the message.
        files: where large contents go while they come.
        trace: composes the fields that go before a content.
        logs: mail log and security log.
        clock: when a message arrived.
    """

    def __init__(
        self,
        checks: Checks,
        decisions: Decisions,
        portal: LoginPortal,
        ledger: ClientLedger,
        queue: Queue,
        files: BodyFiles,
        trace: TraceFields,
        logs: tuple[MailLog, SecurityLog],
        clock: Clock,
    ) -> None:
        self._checks = checks
        self._decisions = decisions
        self._queue = queue
        self._files = files
        self._trace = trace
        self._mail_log, security_log = logs
        self._logins = SmtpLogins(portal, security_log)
        self._clock = clock
        self.arrivals = Arrivals(checks, decisions, ledger, self._mail_log)
        self._log = Logger(namespace="kms.reception")
        self._answers: dict[type, Callable[[Visit, Any], Answer]] = {
            SenderOffered: self._sender_offered,
            RecipientOffered: self._recipient_offered,
            ContentReceived: self._content_received,
            ContentEnded: self._content_ended,
            ContentRefused: self._content_refused,
            TransactionAborted: self._transaction_aborted,
            LoginOffered: self._login_offered,
            VerifierWanted: self._verifier_wanted,
        }

    def answer(self, visit: Visit, event: Event) -> Answer:
        """Answer one event of a session.

        Returns:
            A reply, or a Deferred of one; None, or a Deferred of None, for an event that wants no reply. A
            Deferred never fails: trouble of ours is 451 4.3.0, logged with its traceback.
        """
        try:
            return self._answers[type(event)](visit, event)
        except Exception:
            trouble = self._trouble(Failure())
            return trouble if isinstance(event, Question) else None

    def connected(self, visit: Visit) -> Reply | Deferred[Reply | None] | None:
        """A client has connected; see `Arrivals.connected`."""
        return self.arrivals.connected(visit)

    def connection_lost(self, visit: Visit) -> None:
        """The session is over, however: what was not committed is forgotten."""
        visit.drop_transaction()
        self.arrivals.gone(visit)

    def _wait(self, coroutine: Coroutine[Any, Any, Reply]) -> Deferred[Reply]:
        return Deferred.fromCoroutine(coroutine).addErrback(self._trouble)

    def _trouble(self, failure: Failure) -> Reply:
        self._log.failure("An event could not be answered", failure)
        return reply.TROUBLE

    def _sender_offered(self, visit: Visit, event: SenderOffered) -> Answer:
        decision = self._checks.senders.judge_at_once(visit, event)
        if decision is None:
            return self._wait(self._judge_sender(visit, event))
        return self._sender_judged(visit, event, decision)

    async def _judge_sender(self, visit: Visit, event: SenderOffered) -> Reply:
        return self._sender_judged(visit, event, await self._checks.senders.judge(visit, event))

    def _sender_judged(self, visit: Visit, event: SenderOffered, decision: Decision) -> Reply:
        said = self._decisions.apply(Case(visit, Stage.MAIL, event.reverse_path), decision)
        if not decision.is_refusal and not visit.is_over:
            place = self.arrivals.reserve_place(visit)
            visit.transaction = Transaction(event.reverse_path, place=place, request=event.request)
            visit.transaction.decisions.append((Stage.MAIL, "", decision))
        return said

    def _recipient_offered(self, visit: Visit, event: RecipientOffered) -> Answer:
        transaction = transaction_of(visit)  # before waiting: the client may go meanwhile
        decision = self._checks.recipients.judge_at_once(visit, event)
        if decision is None:
            return self._wait(self._judge_recipient(visit, transaction, event))
        return self._recipient_judged(visit, transaction, event, decision)

    async def _judge_recipient(
        self, visit: Visit, transaction: Transaction, event: RecipientOffered
    ) -> Reply:
        decision = await self._checks.recipients.judge(visit, event)
        return self._recipient_judged(visit, transaction, event, decision)

    def _recipient_judged(
        self, visit: Visit, transaction: Transaction, event: RecipientOffered, decision: Decision
    ) -> Reply:
        path = event.forward_path
        said = self._decisions.apply(Case(visit, Stage.RCPT, transaction.reverse_path, path), decision)
        if not decision.is_refusal:
            transaction.add(decision.targets, path, event.request)
            transaction.decisions.append((Stage.RCPT, str(path), decision))
        return said

    # AUTH

    def _login_offered(self, visit: Visit, event: LoginOffered) -> Answer:
        return self._wait(self._logins.log_in(visit, event))

    def _verifier_wanted(self, visit: Visit, event: VerifierWanted) -> Answer:
        return self._wait(self._logins.fetch_verifier(event))

    # The content

    def _content_of(self, visit: Visit, transaction: Transaction) -> IncomingContent:
        if transaction.content is None:
            number, now = self._queue.next_number()
            transaction.content = IncomingContent(self._files, number, now)
        return transaction.content

    def _prefix_maker(self, visit: Visit, transaction: Transaction) -> Callable[[bytes], bytes]:
        return lambda header: self._trace.compose(visit, transaction, header)

    def _content_received(self, visit: Visit, event: ContentReceived) -> Answer:
        transaction = visit.transaction
        assert transaction is not None
        content = self._content_of(visit, transaction)
        if content.has_failed:
            return None
        try:
            written = content.take(event.data, self._prefix_maker(visit, transaction))
        except Exception:
            content.failed(Failure())
            return None
        return None if written is None else written.addErrback(content.failed)

    def _content_ended(self, visit: Visit, event: ContentEnded) -> Answer:
        transaction, visit.transaction = visit.transaction, None
        assert transaction is not None
        try:
            content = self._content_of(visit, transaction)
            reach(Step.CONTENT_ENDED)
            if not content.is_empty:
                waiting = self._wait(self._large_content_ended(visit, transaction, event.data))
                return waiting.addCallback(_over, transaction)
            answer = self._small_content_ended(visit, transaction, event.data)
        except BaseException:
            transaction.give_back_place()
            raise
        return _over(answer, transaction) if isinstance(answer, Reply) else answer

    def _small_content_ended(
        self, visit: Visit, transaction: Transaction, data: bytes
    ) -> Reply | Deferred[Reply]:
        content = transaction.content
        assert content is not None
        header, _ = split_header(data)
        refusal = self._judge_content(visit, transaction, header, count_received(header), len(data))
        if refusal is not None:
            return self._refuse(visit, transaction, refusal)
        stored = InlineContent(self._trace.compose(visit, transaction, header) + data)
        entry = self._make_entry(visit, transaction, stored, header, is_8bit=not data.isascii())
        story = self._tell(visit, transaction)
        accepted = self._queue.accept(entry, stored, story, _counted(transaction))
        counted = self._checks.accounts.count_message(visit.account, accepted)
        return counted.addCallbacks(
            self._accepted,
            self._not_accepted,
            callbackArgs=(visit, transaction, entry),
            errbackArgs=(transaction,),
        )

    def _tell(self, visit: Visit, transaction: Transaction) -> str:
        return tell_acceptance(visit, transaction) if self._queue.keeps_stories else ""

    def _judge_content(
        self, visit: Visit, transaction: Transaction, header: bytes, received_count: int, octets: int
    ) -> Decision | None:
        refusal, observed = self._checks.judge_content(visit, transaction, header, received_count, octets)
        if observed:
            self._decisions.note_observed(Case(visit, Stage.CONTENT, transaction.reverse_path), observed)
            fine = Decision(Rule.CONTENT_FINE, reply.NOTHING_DONE, observed=observed)
            transaction.decisions.append((Stage.CONTENT, "", fine))
        return refusal

    async def _large_content_ended(self, visit: Visit, transaction: Transaction, data: bytes) -> Reply:
        content = transaction.content
        assert content is not None
        make_prefix = self._prefix_maker(visit, transaction)
        try:
            if data and not content.has_failed:
                written = content.take(data, make_prefix)
                if written is not None:
                    await written
            if content.has_failed:
                content.discard()
                return self._give_up(visit, transaction)
            scanner = content.scanner
            facts = (scanner.header, scanner.received_count, content.octets)
            refusal = self._judge_content(visit, transaction, *facts)
            if refusal is not None:
                content.discard()
                return self._refuse(visit, transaction, refusal)
            stored = await content.store(make_prefix)
            if content.has_failed:
                return self._give_up(visit, transaction)
            entry = self._make_entry(visit, transaction, stored, scanner.header, is_8bit=content.is_8bit)
            accepted = self._queue.accept(
                entry, stored, self._tell(visit, transaction), _counted(transaction)
            )
            await self._checks.accounts.count_message(visit.account, accepted)
        except BaseException:
            content.discard()
            raise
        return self._accepted(None, visit, transaction, entry)

    def _not_accepted(self, failure: Failure, transaction: Transaction) -> Reply:
        return _over(self._trouble(failure), transaction)

    def _make_entry(
        self, visit: Visit, transaction: Transaction, stored: Content, header: bytes, *, is_8bit: bool
    ) -> QueueEntry:
        content = transaction.content
        assert content is not None
        recipients = self._checks.archive.add_copy(tuple(transaction.recipients.values()))
        is_utf8 = is_8bit and not header.isascii()
        if is_utf8 and not visit.session.is_smtputf8:
            is_utf8 = False
            self._mail_log.header_undeclared(format_queue_id(content.number))
        return QueueEntry(
            number=content.number,
            envelope=Envelope(transaction.reverse_path, recipients, is_8bit, is_utf8, transaction.request),
            arrived_at=content.started_at,
            content_octets=stored.octets,
            due_at=content.started_at,
        )

    def _accepted(self, _: object, visit: Visit, transaction: Transaction, entry: QueueEntry) -> Reply:
        if transaction.place is not None:
            transaction.place.count()
        login = visit.account.login if visit.account else None
        self._mail_log.accepted(entry, visit.client, visit.session.client_name, login, visit.protocol_word)
        reach(Step.BEFORE_250)
        return reply.queued(entry.queue_id)

    def refused_by_session(self, visit: Visit, refusal: Reply, is_observed: bool) -> Reply:
        """A rule that the session knows itself has refused something, or would have; gives what to say."""
        stage, decision = decide_for_session(refusal)
        if is_observed:
            self._decisions.note_observed(Case(visit, stage), (decision,))
            return refusal
        return self._decisions.apply(Case(visit, stage), decision)

    def _refuse(self, visit: Visit, transaction: Transaction, refusal: Decision) -> Reply:
        return self._decisions.apply(Case(visit, Stage.CONTENT, transaction.reverse_path), refusal)

    def _give_up(self, visit: Visit, transaction: Transaction) -> Reply:
        """The disk did not take the content: no rule has decided that."""
        client, name, sender = visit.client, visit.session.client_name, transaction.reverse_path
        verb, word = Stage.CONTENT.value, visit.protocol_word
        self._mail_log.rejected(verb, client, name, reply.TROUBLE, sender, protocol=word)
        return reply.TROUBLE

    def _content_refused(self, visit: Visit, event: ContentRefused) -> Answer:
        transaction = transaction_of(visit)
        refusal = self._refuse(visit, transaction, decide_for_session(event.reply)[1])
        visit.drop_transaction()
        return refusal

    def _transaction_aborted(self, visit: Visit, event: TransactionAborted) -> Answer:
        visit.drop_transaction()
        return None


def _counted(transaction: Transaction) -> ClientEvent | None:
    return None if transaction.place is None else transaction.place.event()


def _over(answer: Reply, transaction: Transaction) -> Reply:
    transaction.give_back_place()
    return answer
