"""Logins, and faults of ours, behind the session; more stands in tests/dialogues/reception/."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from kms.domain.reply import TROUBLE
from kms.protocol.smtp_events import ContentReceived
from kms.store.accounts import set_password
from kms.store.credentials import make_verifiers
from kms.store.schema import StoreError
from tests.support.log_events import logged
from tests.support.scram_client import ScramClient, encode
from tests.support.smtp_rig import MEMBER, SmtpRig

GOOD = "AUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAc2VjcmV0"
BAD = "AUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAd3Jvbmc="


@pytest.fixture
def rig(tmp_path: Path) -> SmtpRig:
    return SmtpRig(tmp_path)


# Logins


def test_failed_logins_are_told_to_the_security_log(rig: SmtpRig) -> None:
    client = rig.greeted()
    assert client.say(BAD) == ["535 5.7.8 Authentication failed"]
    client.say("AUTH LOGIN", "bm9ib2R5", "d3Jvbmc=")
    assert rig.security_lines() == [
        "Failed SMTP login from 203.0.113.9 with SASL method PLAIN.",
        "Failed SMTP login from 203.0.113.9 with SASL method LOGIN.",
    ]


def test_a_login_that_cannot_be_checked_is_no_failed_one(rig: SmtpRig) -> None:
    client = rig.greeted(MEMBER)
    rig.database.failures.append(StoreError("the disk is gone"))
    with logged("kms.reception") as told:
        assert client.say(BAD) == ["454 4.7.0 Temporary authentication failure"]
    assert len(told) == 1
    client.say("MAIL FROM:<>")
    assert client.say("RCPT TO:<far@elsewhere.example>") == ["250 2.1.5 Recipient ok"]
    assert rig.security_lines() == []


def test_while_too_many_passwords_are_checked_a_login_is_put_off(
    rig: SmtpRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kms.service.hashing_queue._MOST_WAITING", 0)
    rig.hashing.is_held = True
    first, other, second = rig.greeted(), rig.greeted(), rig.greeted(MEMBER)
    assert first.say(GOOD) == other.say(GOOD) == []
    with logged("kms.reception") as told:
        assert second.say(GOOD) == ["454 4.7.0 Temporary authentication failure"]
    assert told == []
    rig.hashing.release()
    assert first.hear() == ["235 2.7.0 Authentication successful"]
    second.say("MAIL FROM:<>")
    assert second.say("RCPT TO:<far@elsewhere.example>") == ["250 2.1.5 Recipient ok"]


def test_ten_failed_logins_end_the_session(rig: SmtpRig) -> None:
    client = rig.greeted()
    said = [client.say(BAD) for _ in range(10)]
    assert said[-1][-1] == "421 4.7.0 Too many failed logins, closing connection"
    assert client.is_lost


def test_a_scram_login_authorises_once_the_client_has_acknowledged_it(tmp_path: Path) -> None:
    rig = SmtpRig(tmp_path, session={"mechanisms": ("SCRAM-SHA-256",)})
    set_password(rig.database.connection, "anna@example.org", make_verifiers("secret", with_scram=True))
    session, login = rig.greeted(), ScramClient("anna", "secret")
    [first] = session.say(f"AUTH SCRAM-SHA-256 {encode(login.first)}")
    [final] = session.say(encode(login.answer(base64.b64decode(first[4:]).decode())))
    assert login.believes(base64.b64decode(final[4:]).decode())
    visit = session.connection.visit
    assert visit.account is None
    assert session.say("") == ["235 2.7.0 Authentication successful"]
    assert visit.account is not None
    assert visit.account.login == "anna@example.org"


def test_a_verifier_that_cannot_be_read_is_no_failed_login(tmp_path: Path) -> None:
    rig = SmtpRig(tmp_path, session={"mechanisms": ("SCRAM-SHA-256",)})
    client = rig.greeted()
    rig.database.failures.append(StoreError("the disk is gone"))
    with logged("kms.reception") as told:
        assert client.say(f"AUTH SCRAM-SHA-256 {encode('n,,n=anna,r=abc')}") == [
            "454 4.7.0 Temporary authentication failure"
        ]
    assert len(told) == 1
    assert rig.security_lines() == []


# Faults of ours


def test_a_fault_in_an_event_without_answer_says_nothing(rig: SmtpRig) -> None:
    client = rig.greeted()
    with logged("kms.reception") as told:
        assert rig.reception.answer(client.connection.visit, ContentReceived(b"x")) is None
    assert len(told) == 1


def test_a_fault_in_a_question_is_answered_and_logged(rig: SmtpRig, monkeypatch: pytest.MonkeyPatch) -> None:
    client = rig.greeted()

    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patched, logged("kms.reception") as told:
        patched.setattr(rig.senders, "judge_at_once", fail)
        assert client.say("MAIL FROM:<>") == [str(TROUBLE)]
    assert len(told) == 1
    assert client.say("MAIL FROM:<>") == ["250 2.1.0 Sender ok"]
