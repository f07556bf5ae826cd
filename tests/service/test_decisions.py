"""What follows from a decision; which replies end with an id stands in tests/dialogues/reception/."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kms.domain import reply
from kms.domain.decision import Decision, Record, Rule, Stage, parse_decision_id
from kms.service import decisions as service
from kms.service.decisions import Case
from kms.store import decisions
from kms.store.schema import StoreError
from tests.support.log_events import logged
from tests.support.results import result_of
from tests.support.smtp_rig import STRANGER, SmtpRig

FAR = "RCPT TO:<x@far.example>"


@pytest.fixture
def rig(tmp_path: Path) -> SmtpRig:
    return SmtpRig(tmp_path)


def refused(rig: SmtpRig, *lines: str) -> str:
    """Say lines, and give the last answer."""
    return rig.greeted().say("MAIL FROM:<anna@example.org>", *lines)[-1]


def find(rig: SmtpRig, answer: str) -> Record | None:
    found = re.search(r"\(([0-9A-Z]{6})\)$", answer)
    assert found
    number = parse_decision_id(found[1])
    assert number is not None
    return decisions.find(rig.database.connection, number)


def count_records(rig: SmtpRig) -> int:
    return int(rig.database.connection.execute("SELECT count(*) FROM decision").fetchone()[0])


def test_the_id_of_a_refusal_leads_to_who_asked_for_what_and_why_not(rig: SmtpRig) -> None:
    record = find(rig, refused(rig, FAR))
    assert record is not None
    assert (record.client, record.stage, record.rule) == (STRANGER, Stage.RCPT, Rule.RELAY_DENIED.value)
    assert record.reply == "550 5.7.1 Relaying to <x@far.example> denied"
    assert record.facts == {
        "helo": "client.example",
        "protocol": "ESMTP",
        "from": "anna@example.org",
        "to": "x@far.example",
        "authentication": "none",
        "in_relay_group": "no",
        "relay_window": "none open",
    }


def test_every_refusal_has_a_record_of_its_own(rig: SmtpRig) -> None:
    answers = rig.greeted().say("MAIL FROM:<>", *["RCPT TO:<nobody@example.org>"] * 5)[1:]
    assert len(set(answers)) == 5
    assert all(find(rig, answer) is not None for answer in answers)


def test_the_login_is_told(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.say("AUTH PLAIN AG90dG9AZXhhbXBsZS5vcmcAc2VjcmV0", "MAIL FROM:<otto@example.org>")
    record = find(rig, client.say(FAR)[0])
    assert record is not None
    assert record.facts["login"] == record.facts["account"] == "otto@example.org"


def test_an_accepted_message_remembers_its_decisions_and_no_record_is_made(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.say("MAIL FROM:<>", "RCPT TO:<anna@example.org>", "RCPT TO:<x@relay.example>", "DATA", "x", ".")
    (story,) = rig.database.connection.execute("SELECT facts FROM message_life").fetchone()
    told = json.loads(story)
    assert [(item["stage"], item["about"], item["rule"]) for item in told["decisions"]] == [
        ("MAIL", "", Rule.SENDER_FINE.value),
        ("RCPT", "anna@example.org", Rule.LOCAL_RECIPIENT.value),
        ("RCPT", "x@relay.example", Rule.RELAY_DOMAIN.value),
    ]
    assert (told["client"], told["from"], told["protocol"]) == (STRANGER, "", "ESMTP")
    assert count_records(rig) == 0


def test_a_limit_that_only_observes_is_recorded_and_changes_nothing(rig: SmtpRig) -> None:
    rig.greeted()
    (connection,) = rig.factory.live
    observed = Decision(Rule.MAX_RECIPIENTS, reply.TOO_MANY_RECIPIENTS)
    decision = Decision(Rule.SENDER_FINE, reply.SENDER_OK, observed=(observed,))
    lines = rig.mail_lines()
    assert rig.decisions.apply(Case(connection.visit, Stage.MAIL), decision) is reply.SENDER_OK
    assert rig.mail_lines() == lines
    record = decisions.find(rig.database.connection, decisions.greatest_number(rig.database.connection))
    assert record is not None
    assert record.is_observed
    assert record.reply == str(reply.TOO_MANY_RECIPIENTS)


def test_where_none_are_kept_no_reply_has_an_id_and_no_story_is_told(rig: SmtpRig) -> None:
    rig.decisions.keep = timedelta(0)
    rig.queue.keeps_stories = False
    assert refused(rig, FAR) == "550 5.7.1 Relaying to <x@far.example> denied"
    rig.greeted().say("MAIL FROM:<>", "RCPT TO:<anna@example.org>", "DATA", "x", ".")
    assert count_records(rig) == 0
    assert rig.database.connection.execute("SELECT count(*) FROM message_life").fetchone() == (0,)


def test_a_store_that_fails_keeps_nobody_waiting(rig: SmtpRig) -> None:
    rig.has_lost_records = True
    rig.database.failures.append(StoreError("the disk is full"))
    with logged("kms.decisions") as told:
        answer = refused(rig, FAR)
    assert answer.startswith("550 5.7.1 ")
    assert len(told) == 1
    assert find(rig, refused(rig, FAR)) is not None


def test_when_too_many_wait_a_refusal_goes_without_an_id(
    rig: SmtpRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_MOST_WAITING", 0)
    assert refused(rig, FAR).endswith("denied")
    assert count_records(rig) == 0


def test_after_a_restart_no_id_comes_again_that_may_have_been_given(rig: SmtpRig) -> None:
    refused(rig, FAR)
    greatest = decisions.greatest_number(rig.database.connection)
    rig.decisions.start(greatest)
    refused(rig, FAR)
    assert decisions.greatest_number(rig.database.connection) > greatest + 1


def test_what_was_kept_long_enough_is_swept_out(rig: SmtpRig) -> None:
    refused(rig, FAR)
    rig.greeted().say("MAIL FROM:<>", "RCPT TO:<anna@example.org>", "DATA", "x", ".")
    rig.database.connection.execute("DELETE FROM message")

    def left() -> list[Any]:
        tables = ("decision", "message_life")
        query = "SELECT count(*) FROM {}"
        return [rig.database.connection.execute(query.format(table)).fetchone()[0] for table in tables]

    result_of(rig.decisions.sweep())
    assert left() == [1, 1]
    rig.has_lost_records = True
    rig.reactor.advance(8 * 24 * 3600)
    result_of(rig.decisions.sweep())
    assert left() == [0, 0]
