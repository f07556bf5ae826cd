"""The story's texts are put together by hand: any encoder of JSON must read what was meant."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from kms.domain.account import Account
from kms.domain.address import Mailbox
from kms.domain.address_group import parse_client_address
from kms.domain.content import InlineContent
from kms.domain.decision import Decision, Facts, Rule, Stage
from kms.domain.envelope import Envelope, Recipient
from kms.domain.outcome import Deferred, Delivered, Failed, Outcome
from kms.domain.queue_entry import QueueEntry
from kms.domain.reply import Reply
from kms.protocol.smtp_server import SmtpServerSession, SmtpServerSettings
from kms.service.message_story import tell_acceptance, tell_attempt, tell_report
from kms.service.visit import Transaction, Visit
from kms.store.queue_store import NewEntry, Settlement

NOW = datetime(2026, 11, 24, 12, 0, 7, 5, tzinfo=UTC)
FAR = Mailbox('odd "one"', "far.test")
anything = st.text(st.characters(exclude_categories=["Cs"]))
facts = st.dictionaries(anything.map(lambda name: f"x{name}"), st.none() | st.integers() | anything)


def visit_of(helo: str, login: str | None) -> Visit:
    session = SmtpServerSession(SmtpServerSettings("mail.example.org"))
    session.client_name = helo
    visit = Visit(parse_client_address("2001:db8::7"), session)
    if login is not None:
        session.login_name = login
        visit.account = Account(login, "example.org")
    return visit


@given(helo=anything, login=st.none() | anything, sender=st.none() | anything, seen=facts)
def test_the_story_of_an_acceptance_is_json_with_all_that_was_decided(
    helo: str, login: str | None, sender: str | None, seen: Facts
) -> None:
    visit = visit_of(helo, login)
    path = None if sender is None else Mailbox(sender, "elsewhere.example")
    transaction = Transaction(path)
    transaction.decisions = [
        (Stage.MAIL, "", Decision(Rule.SENDER_FINE, Reply(250, None, "Ok"))),
        (Stage.RCPT, str(FAR), Decision(Rule.RELAY_BY_WINDOW, Reply(250, None, "Ok"), seen)),
    ]
    assert json.loads(tell_acceptance(visit, transaction)) == {
        "client": "2001:db8::7",
        "helo": helo,
        "login": None if login is None else f"{login}@example.org",
        "protocol": visit.protocol_word,
        "from": "" if path is None else str(path),
        "decisions": [
            {"stage": "MAIL", "about": "", "rule": Rule.SENDER_FINE.value},
            {"stage": "RCPT", "about": str(FAR), "rule": Rule.RELAY_BY_WINDOW.value, **seen},
        ],
    }


@given(where=anything, said=anything)
def test_the_story_of_an_attempt_is_json_with_every_outcome(where: str, said: str) -> None:
    reply = Reply(450, None, said)
    outcomes: dict[str, Outcome] = {
        "delivered": Delivered(reply, where),
        "failed": Failed(reply, where),
        "deferred": Deferred(reply, where),
        "deferred, perhaps taken all the same": Deferred(reply, where, is_ambiguous=True),
    }
    report = QueueEntry(0xAF, Envelope(None, ()), NOW, 10, NOW)
    settlement = Settlement(1, 0, (), due_at=NOW, reports=(NewEntry(report, InlineContent(b""), False),))
    story = json.loads(
        tell_attempt([(Recipient(1, FAR, FAR), outcome) for outcome in outcomes.values()], settlement)
    )
    assert story["outcomes"] == [
        {"to": str(FAR), "status": status, "where": where, "reply": str(reply)} for status in outcomes
    ]
    assert story["next_try"] == "2026-11-24T12:00:07+00:00"
    assert story["reports"] == ["AF"]


def test_an_attempt_after_which_nothing_is_left_has_no_next_try() -> None:
    assert json.loads(tell_attempt([], Settlement(1, 0, (1,)))) == {
        "outcomes": [],
        "next_try": None,
        "reports": [],
    }


def test_a_report_names_what_it_is_about() -> None:
    assert json.loads(tell_report("AF")) == {"report_about": "AF"}
