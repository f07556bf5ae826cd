"""Limits of a transaction or session that only observe: the mail passes, a line and a record tell of it, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kms.domain.account import Account
from kms.domain.decision import Rule
from kms.policy.account_limit import AccountRules
from kms.policy.limits import ClientLimits, Limit
from kms.policy.transaction import TransactionRules
from tests.support.results import result_of
from tests.support.smtp_parts import Client
from tests.support.smtp_rig import STRANGER, SmtpRig

ALL = frozenset(Limit)
RULES = TransactionRules(
    max_recipients=1, max_message_octets=20, max_received_hops=1, min_free_octets=1000, observed=ALL
)
LOOPED = ("Received: a", "Received: b", "", "Hello", ".")


@pytest.fixture
def rig(tmp_path: Path) -> SmtpRig:
    return SmtpRig(
        tmp_path,
        rules=RULES,
        limits=ClientLimits(0, 0, 0, observed=ALL),
        session={"max_failed_commands": 2, "observes_failed_commands": True},
    )


def send(client: Client, *parameters: str) -> str:
    client.say(" ".join(("MAIL FROM:<a@far.example>", *parameters)))
    for name in ("anna", "bert", "fritz"):
        assert client.say(f"RCPT TO:<{name}@example.org>")[-1].startswith("250 ")
    return client.say("DATA", *LOOPED)[-1]


def recorded(rig: SmtpRig) -> list[Rule]:
    rows = rig.database.connection.execute("SELECT rule, is_observed FROM decision ORDER BY number")
    found = [(Rule(rule), is_observed) for rule, is_observed in rows]
    assert all(is_observed for _, is_observed in found)
    return [rule for rule, _ in found]


def told(rig: SmtpRig) -> list[str]:
    rig.security_log.lines.flush()
    lines = rig.logs[1].read_text().splitlines()
    return [line.partition("] ")[2] for line in lines]


def tells(limit: Limit) -> str:
    return f"Client with IP address {STRANGER} over the limit {limit.value}, which only observes"


def test_each_is_told_once_for_a_transaction(rig: SmtpRig) -> None:
    rig.free_octets = 5
    assert send(rig.greeted()).startswith("250 2.0.0")
    assert recorded(rig) == [
        Rule.FREE_SPACE, Rule.SENDER_DOMAIN, Rule.MAX_RECIPIENTS, Rule.MAX_RECEIVED_HOPS, Rule.CONTENT_SIZE,
    ]  # fmt: skip
    [(story,)] = rig.database.connection.execute("SELECT facts FROM message_life").fetchall()
    told_of = [one for one in json.loads(story)["decisions"] if "would_have_been" in one]
    assert [Rule(one["rule"]) for one in told_of] == recorded(rig)
    assert (told_of[-1]["stage"], told_of[-1]["would_have_been"][:3]) == ("END-OF-MESSAGE", "552")
    limits = (
        Limit.MIN_FREE_SPACE, Limit.SENDER_DOMAIN_MUST_EXIST, Limit.MAX_RECIPIENTS, Limit.MAX_RECEIVED_HOPS,
        Limit.MAX_MESSAGE_SIZE,
    )  # fmt: skip
    assert told(rig) == [tells(limit) for limit in limits]


def test_a_size_that_was_declared_is_not_told_of_again_at_the_end(rig: SmtpRig) -> None:
    assert send(rig.greeted(), "SIZE=1000").startswith("250 2.0.0")
    assert recorded(rig)[0] is Rule.DECLARED_SIZE
    assert Rule.CONTENT_SIZE not in recorded(rig)
    assert told(rig).count(tells(Limit.MAX_MESSAGE_SIZE)) == 1


def test_of_many_wrong_commands_one_is_told(rig: SmtpRig) -> None:
    client = rig.greeted()
    assert [client.say("WHAT")[-1][:3] for _ in range(6)] == ["500"] * 6
    assert client.say("NOOP") == ["250 2.0.0 Ok"]
    assert recorded(rig) == [Rule.FAILED_COMMANDS]
    assert told(rig) == [tells(Limit.MAX_FAILED_COMMANDS)]


def test_what_is_enforced_refuses_before_what_is_observed(tmp_path: Path) -> None:
    observed = ALL - {Limit.MAX_MESSAGE_SIZE, Limit.MAX_RECIPIENTS}
    rules = TransactionRules(max_recipients=1, max_message_octets=20, min_free_octets=1000, observed=observed)
    rig = SmtpRig(tmp_path, rules=rules, limits=ClientLimits(0, 0, 0, observed=observed))
    rig.free_octets = 5
    client = rig.greeted()
    assert client.say("MAIL FROM:<a@far.example> SIZE=1000")[-1].startswith("552 5.3.4 ")
    client.say("MAIL FROM:<a@far.example>", "RCPT TO:<anna@example.org>")
    assert client.say("RCPT TO:<bert@example.org>")[-1].startswith("452 4.5.3 ")
    assert tells(Limit.MAX_MESSAGE_SIZE) not in told(rig)


def test_the_size_of_a_login_that_declares_none_is_observed_at_the_end(tmp_path: Path) -> None:
    rig = SmtpRig(tmp_path)
    rig.accounts.rules = AccountRules(messages_per_hour=1, max_message_octets=10, observed=frozenset(Limit))
    client = rig.greeted()
    assert client.say("AUTH PLAIN AGFubmEAc2VjcmV0")[-1].startswith("235 ")
    for _ in range(2):
        client.say("MAIL FROM:<anna@example.org>", "RCPT TO:<bert@example.org>")
        assert client.say("DATA", "Subject: more than ten octets", ".")[-1].startswith("250 2.0.0")
    rule = Rule.ACCOUNT_MAX_MESSAGE_SIZE
    assert recorded(rig) == [rule, Rule.ACCOUNT_MESSAGES_PER_HOUR, rule]


def test_a_message_without_a_limit_does_not_fill_the_disk(rig: SmtpRig) -> None:
    rig.senders.rules = TransactionRules(max_message_octets=0, min_free_octets=1000)
    rig.resolver.mx["far.example"] = [(10, "mx.far.example")]
    client = rig.greeted()
    client.say("MAIL FROM:<a@far.example>", "RCPT TO:<anna@example.org>", "DATA")
    for _ in range(10):
        client.send(b"x" * 99_998 + b"\r\n")
    assert rig.body_files()
    rig.free_octets = 999
    for _ in range(10):
        client.send(b"x" * 99_998 + b"\r\n")
    assert rig.body_files() == []
    client.send(b".\r\n")
    assert client.hear()[-1] == "451 4.3.0 Temporary trouble here, try again later"
    assert client.say("NOOP") == ["250 2.0.0 Ok"]


def test_where_the_free_space_is_only_observed_it_may(rig: SmtpRig) -> None:
    rig.free_octets = 5
    client = rig.greeted()
    client.say("MAIL FROM:<>", "RCPT TO:<anna@example.org>", "DATA")
    client.send((b"x" * 998 + b"\r\n") * 400 + b".\r\n")
    assert client.hear()[-1].startswith("250 2.0.0")


def test_a_slow_answer_does_not_lose_what_was_observed(rig: SmtpRig) -> None:
    rig.add(Account("gaby", "example.org", quota_octets=1000, quota_messages=10))
    result_of(rig.directory.load())
    client = rig.greeted()
    client.say("MAIL FROM:<>", "RCPT TO:<anna@example.org>")
    assert client.say("RCPT TO:<gaby@example.org>")[-1].startswith("250 ")
    assert recorded(rig) == [Rule.MAX_RECIPIENTS]
