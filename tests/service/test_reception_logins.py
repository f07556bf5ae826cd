"""Logins, and faults of ours, behind the session; more stands in tests/dialogues/reception/."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from kms.domain.reply import TROUBLE
from kms.policy.gateway import GatewayRules
from kms.policy.login_guard import LoginRules
from kms.protocol.smtp_events import ContentReceived
from kms.store.accounts import set_password
from kms.store.credentials import make_verifiers
from kms.store.schema import StoreError
from tests.support.log_events import logged
from tests.support.results import without_ids
from tests.support.scram_client import ScramClient, encode
from tests.support.smtp_rig import GROUP, MEMBER, SmtpRig

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
    assert without_ids(said[-1])[-1] == "421 4.7.0 Too many failed logins, closing connection"
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


def offer(password: str) -> str:
    text = f"\0anna@example.org\0{password}"
    return f"AUTH PLAIN {base64.b64encode(text.encode()).decode()}"


def test_a_client_that_guessed_too_often_is_put_off_even_with_the_right_password(rig: SmtpRig) -> None:
    rig.guard.rules = LoginRules(failed_logins=3)
    for number in range(3):
        assert rig.greeted().say(offer(f"guess {number}")) == ["535 5.7.8 Authentication failed"]
    client = rig.greeted()
    assert client.say(GOOD) == ["454 4.7.0 Too many failed logins, try again later"]
    assert rig.hashing.calls == 3
    assert rig.greeted("198.51.100.1").say(GOOD) == ["235 2.7.0 Authentication successful"]
    rig.advance(300)
    assert client.say(GOOD) == ["235 2.7.0 Authentication successful"]
    assert (
        "Logins from 203.0.113.9 for user anna@example.org refused for 5 minutes: too many wrong passwords"
        " (failed_logins)"
    ) in rig.security_lines()


def test_a_login_that_was_put_off_does_not_void_the_address_group(rig: SmtpRig) -> None:
    rig.guard.rules = LoginRules(failed_logins=1)
    rig.greeted(MEMBER).say(BAD)
    client = rig.greeted(MEMBER)
    assert client.say(BAD) == ["454 4.7.0 Too many failed logins, try again later"]
    client.say("MAIL FROM:<>")
    assert client.say("RCPT TO:<far@elsewhere.example>") == ["250 2.1.5 Recipient ok"]


# A trusted address that behaves like a gateway


def test_a_trusted_address_with_many_names_is_told_of(rig: SmtpRig) -> None:
    rig.gateways.rules = GatewayRules(GROUP, alarm=3)
    for number in range(3):
        client = rig.connect(MEMBER)
        client.say(f"EHLO pc{number}", "MAIL FROM:<>")
    assert rig.alarms == ["gateway 192.0.2.7 3"]
    client = rig.greeted(MEMBER)
    client.say("MAIL FROM:<>")
    assert client.say("RCPT TO:<far@elsewhere.example>") == ["250 2.1.5 Recipient ok"]


def test_it_loses_its_trust_and_never_its_access_where_that_is_set(rig: SmtpRig) -> None:
    rig.gateways.rules = rig.relay.gateway_rules = GatewayRules(GROUP, alarm=3, suspends_trust=True)
    client = rig.greeted(MEMBER)
    for domain in ("a.example", "b.example", "example.org", "c.example"):
        client.say(f"MAIL FROM:<x@{domain}>", "RSET")
    assert rig.alarms == ["gateway 192.0.2.7 3"]
    client.say("MAIL FROM:<>")
    (refused,) = client.say("RCPT TO:<far@elsewhere.example>")
    assert refused.startswith("550 5.7.1 Relaying to <far@elsewhere.example> denied")
    assert client.say("RCPT TO:<anna@example.org>") == ["250 2.1.5 Recipient ok"]
    client.say("RSET")
    rig.advance(3600)
    client = rig.greeted(MEMBER)
    client.say("MAIL FROM:<>")
    assert client.say("RCPT TO:<far@elsewhere.example>") == ["250 2.1.5 Recipient ok"]


def test_a_client_that_logged_in_is_no_gateway(rig: SmtpRig) -> None:
    rig.gateways.rules = GatewayRules(GROUP, alarm=2)
    client = rig.greeted(MEMBER)
    client.say(GOOD)
    for number in range(3):
        client.say(f"MAIL FROM:<x@site{number}.example>", "RSET")
    assert rig.alarms == []


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
