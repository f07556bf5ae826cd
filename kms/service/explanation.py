"""What would happen to a made-up session, and why: `kmsctl explain`.

A real protocol session and the server's own checks judge it; only `service.decisions` is missing, so nothing is
counted, logged, recorded, stored or told. There is no second implementation of any rule.
Flow: control.py asks; for a candidate configuration another set of checks is made over the same live state.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kms.config.loader import load_settings
from kms.config.settings import Settings
from kms.domain import reply
from kms.domain.decision import Decision, Rule, Stage
from kms.domain.message import HeaderScanner
from kms.domain.reply import Reply
from kms.policy.recipient import find_account
from kms.policy.relay import Authentication
from kms.protocol.smtp_events import (
    ContentEnded,
    ContentReceived,
    ContentRefused,
    Event,
    RecipientOffered,
    SenderOffered,
)
from kms.protocol.smtp_server import SmtpServerSession
from kms.service.checks import Checks, LiveState, build_checks
from kms.service.database import Database
from kms.service.directory import DirectoryCache
from kms.service.inquiry import Inquiry, InquiryError, Step
from kms.service.session_rules import decide_for_session
from kms.service.smtp_service_rules import SmtpServiceRules
from kms.service.visit import Transaction, Visit

_QUEUE_ID = "1"


class Explainer:
    """Explains sessions.

    Args:
        database: holds the accounts, for a candidate configuration.
        state: what the checks look at.
        current: gives the server's own checks and directory.
        service_rules: gives how a port behaves, from settings and its name.
        settings: gives those in force.
    """

    def __init__(
        self,
        database: Database,
        state: LiveState,
        current: Callable[[], tuple[Checks, DirectoryCache]],
        service_rules: Callable[[Settings, str], SmtpServiceRules],
        settings: Callable[[], Settings],
    ) -> None:
        self._database = database
        self._state = state
        self._current = current
        self._service_rules = service_rules
        self._settings = settings

    async def explain(self, inquiry: Inquiry, candidate: Path | None = None) -> list[Step]:
        """Say what would happen.

        Args:
            inquiry: the session.
            candidate: a configuration to judge by, in the place of the one in force.

        Raises:
            InquiryError: it makes no sense, such as a login of nobody.
            ConfigError: the candidate has faults.
        """
        settings = self._settings()
        checks, directory = self._current()
        if candidate is not None:
            settings = load_settings(candidate)
            directory = DirectoryCache(self._database, settings)
            await directory.load(settings)
            checks = build_checks(settings, directory, self._state)
        rules = self._service_rules(settings, inquiry.service)
        return await _Rehearsal(inquiry, checks, directory, rules).play()


class _Rehearsal:
    """One made-up session on its way."""

    def __init__(
        self, inquiry: Inquiry, checks: Checks, directory: DirectoryCache, rules: SmtpServiceRules
    ) -> None:
        self._inquiry = inquiry
        self._checks = checks
        self._directory = directory
        self._hostname = rules.session.hostname
        self._session = SmtpServerSession(
            rules.session,
            is_encrypted=inquiry.is_encrypted or rules.is_tls_at_once,
            may_send_plain_passwords=rules.may_send_plain_passwords(inquiry.client),
            sign=self._sign_refusal,
        )
        self._visit = Visit(
            inquiry.client, self._session, rules.is_submission, ahead_seconds=inquiry.ahead_seconds
        )
        self._by_session: tuple[Stage, Decision] | None = None
        self._observed: tuple[Decision, ...] = ()
        self._scanner = HeaderScanner()
        self._steps: list[Step] = []

    async def play(self) -> list[Step]:
        inquiry = self._inquiry
        _check_text(inquiry.helo, inquiry.sender, *inquiry.recipients)
        await self._connect()
        await self._say(f"{'LHLO' if self._session.is_lmtp else 'EHLO'} {inquiry.helo}")
        self._log_in()
        size = "" if inquiry.declared_octets is None else f" SIZE={inquiry.declared_octets}"
        is_ascii = all(text.isascii() for text in (inquiry.sender, *inquiry.recipients))
        utf8 = "" if is_ascii else " SMTPUTF8"
        await self._say(f"MAIL FROM:<{inquiry.sender}>{size}{utf8}")
        for recipient in inquiry.recipients:
            await self._say(f"RCPT TO:<{recipient}>")
        if inquiry.message is not None:
            await self._say("DATA")
            if self._session.is_receiving_content:
                await self._send(_stuff(inquiry.message) + b".\r\n", ".")
        return self._steps

    async def _connect(self) -> None:
        clients = self._checks.clients
        decision = clients.judge_connection(self._visit)
        if not decision.is_refusal and clients.asks_for_name(self._visit):
            decision = await clients.judge_name(self._visit)
        greeting = decision.reply if decision.is_refusal else reply.greeting(self._hostname)
        self._session.greet(greeting)
        if decision.is_refusal or decision.observed:
            self._keep("", Stage.CONNECT, decision)
        else:
            self._keep("")

    def _log_in(self) -> None:
        """Put the session into the state that AUTH would have left."""
        match self._inquiry.authentication:
            case Authentication.FAILED:
                self._session.has_failed_login = True
            case Authentication.SUCCEEDED:
                account = find_account(self._directory.current, self._inquiry.login)
                if account is None or not account.is_enabled:
                    raise InquiryError(f"Nobody can log in as {self._inquiry.login!r}")
                self._session.login_name = account.login
                self._visit.account = account

    async def _say(self, command: str) -> None:
        await self._send(command.encode() + b"\r\n", command)

    async def _send(self, data: bytes, command: str) -> None:
        if self._session.is_closing:
            return
        self._session.receive_data(data)
        self._by_session, self._observed = None, ()
        stage, decision = None, None
        while (event := self._session.next_event()) is not None:
            judged = await self._judge(event)
            if judged is not None:
                stage, decision = judged
                self._session.reply(decision.reply)
        if decision is None and self._by_session is not None:
            stage, decision = self._by_session
        self._keep(command, stage, decision)

    def _sign_refusal(self, reply: Reply, is_observed: bool = False) -> Reply:
        if is_observed:
            self._observed = (decide_for_session(reply)[1],)
        else:
            self._by_session = decide_for_session(reply)
        return reply

    def _keep(self, command: str, stage: Stage | None = None, decision: Decision | None = None) -> None:
        replies = self._session.data_to_send().decode("utf-8", "replace").splitlines()
        self._steps.append(Step(command, replies, stage, decision, self._observed))

    async def _judge(self, event: Event) -> tuple[Stage, Decision] | None:
        visit, checks = self._visit, self._checks
        match event:
            case SenderOffered():
                senders = checks.senders
                decision = senders.judge_at_once(visit, event) or await senders.judge(visit, event)
                if not decision.is_refusal:
                    visit.transaction = Transaction(event.reverse_path)
                    visit.transaction.decisions.append((Stage.MAIL, "", decision))
                return Stage.MAIL, decision
            case RecipientOffered():
                assert visit.transaction is not None
                recipients = checks.recipients
                decision = recipients.judge_at_once(visit, event) or await recipients.judge(visit, event)
                if not decision.is_refusal:
                    visit.transaction.add(decision.targets, event.forward_path)
                    about = str(event.forward_path)
                    visit.transaction.decisions.append((Stage.RCPT, about, decision))
                visit.made_up_unknown_recipients += decision.rule is Rule.UNKNOWN_RECIPIENT
                return Stage.RCPT, decision
            case ContentReceived():
                self._scanner.feed(event.data)
            case ContentEnded():
                self._scanner.feed(event.data)
                return Stage.CONTENT, self._judge_content()
            case ContentRefused():
                return decide_for_session(event.reply)
        return None

    def _judge_content(self) -> Decision:
        assert self._visit.transaction is not None
        scanner = self._scanner
        octets = len(_with_line_end(self._inquiry.message or b""))
        refusal, observed = self._checks.judge_content(
            self._visit, self._visit.transaction, scanner.header, scanner.received_count, octets
        )
        return refusal or Decision(Rule.CONTENT_FINE, reply.queued(_QUEUE_ID), observed=observed)


def _check_text(*texts: str) -> None:
    for text in texts:
        if "\r" in text or "\n" in text:
            raise InquiryError("A name or an address has no line end in it")


def _stuff(content: bytes) -> bytes:
    return _with_line_end((b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:])


def _with_line_end(content: bytes) -> bytes:
    return content if content.endswith(b"\r\n") or not content else content + b"\r\n"
