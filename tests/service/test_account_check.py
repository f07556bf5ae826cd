"""The limits of a login, from the session to the store and over a restart."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from kms.domain.account import Account
from kms.policy.account_limit import AccountRules
from kms.policy.limits import Limit
from kms.protocol.smtp_server import SmtpServerSession, SmtpServerSettings
from kms.service.account_check import AccountCounts
from kms.service.visit import Visit
from kms.store.account_counts import load_contacts, load_messages
from kms.store.accounts import change_account
from kms.store.schema import StoreError
from tests.support.log_events import logged
from tests.support.results import result_of
from tests.support.smtp_parts import Client
from tests.support.smtp_rig import SETTINGS, SmtpRig

GOOD = "AUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAc2VjcmV0"
ANNA = "anna@example.org"
HOUR_FULL = "450 4.7.1 Your account has sent its messages of this hour, try later"


@pytest.fixture
def rig(tmp_path: Path) -> SmtpRig:
    return SmtpRig(tmp_path)


def logged_in(rig: SmtpRig, client: str = "203.0.113.9") -> Client:
    connected = rig.greeted(client)
    connected.say(GOOD)
    return connected


def send(client: Client, size: int = 10) -> str:
    """Send one message, and give the last reply."""
    (said,) = client.say("MAIL FROM:<anna@example.org>")
    if said.startswith("250"):
        client.say("RCPT TO:<bert@example.org>", "DATA")
        (said,) = client.say("x" * size, ".")
    return without_id(said)


def without_id(said: str) -> str:
    return said.rpartition(" (")[0] if said.endswith(")") else said


def reload_counts(rig: SmtpRig) -> AccountCounts:
    """Read what a restart would read."""
    counts = AccountCounts(rig.database, rig.clock)
    since = rig.clock.now() - timedelta(days=1)
    connection = rig.database.connection
    counts.take(load_messages(connection, since), load_contacts(connection, since))
    return counts


def test_over_its_hour_an_account_is_put_off_whatever_address_it_comes_from(rig: SmtpRig) -> None:
    rig.accounts.rules = AccountRules(messages_per_hour=2)
    assert send(logged_in(rig)).startswith("250")
    assert send(logged_in(rig, "198.51.100.1")).startswith("250")
    client = logged_in(rig)
    assert send(client) == HOUR_FULL
    assert send(client) == HOUR_FULL
    assert rig.alarms == [f"account_messages_per_hour {ANNA}"] * 2
    rig.advance(3601)
    assert send(logged_in(rig)).startswith("250")


def test_over_its_day_an_account_is_put_off(rig: SmtpRig) -> None:
    rig.accounts.rules = AccountRules(messages_per_day=1)
    assert send(logged_in(rig)).startswith("250")
    rig.reactor.rightNow += 23 * 3600
    assert send(logged_in(rig)) == "450 4.7.1 Your account has sent its messages of this day, try later"
    rig.reactor.rightNow += 3600
    assert send(logged_in(rig)).startswith("250")


def test_who_did_not_log_in_is_not_counted(rig: SmtpRig) -> None:
    rig.accounts.rules = AccountRules(messages_per_hour=1, max_message_octets=20, new_recipients_per_day=1)
    client = rig.greeted()
    assert send(client, 100).startswith("250")
    assert send(client, 100).startswith("250")


def test_an_accounts_own_limit_takes_the_place_of_the_servers(rig: SmtpRig) -> None:
    rig.accounts.rules = AccountRules(messages_per_hour=1)
    change_account(rig.database.connection, ANNA, {"messages_per_hour": 0}, SETTINGS.domains.local)
    result_of(rig.directory.load())
    client = logged_in(rig)
    for _ in range(3):
        assert send(client).startswith("250")


def test_two_sessions_at_once_get_no_more_than_one_after_the_other(rig: SmtpRig) -> None:
    rig.accounts.rules = AccountRules(messages_per_hour=1)
    clients = [logged_in(rig) for _ in range(2)]
    for client in clients:
        client.say("MAIL FROM:<anna@example.org>", "RCPT TO:<bert@example.org>", "DATA")
    said = [without_id(client.say("x", ".")[-1]) for client in clients]
    assert said[0].startswith("250")
    assert said[1] == HOUR_FULL
    assert len(rig.stored) == 1


def test_a_message_that_cannot_be_stored_does_not_count(rig: SmtpRig) -> None:
    rig.accounts.rules = AccountRules(messages_per_hour=1)
    client = logged_in(rig)
    rig.database.failures.append(StoreError("the disk is full"))
    with logged("kms.reception"):
        assert send(client).startswith("451")
    assert send(client).startswith("250")
    assert send(client) == HOUR_FULL


def test_a_count_that_cannot_be_stored_refuses_no_message(rig: SmtpRig) -> None:
    rig.accounts.rules = AccountRules(messages_per_hour=5)
    client = logged_in(rig)
    client.say("MAIL FROM:<anna@example.org>", "RCPT TO:<bert@example.org>", "DATA")
    rig.database.failures.extend((None, StoreError("the disk is full")))
    with logged("kms.accounts") as told:
        assert client.say("x", ".")[-1].startswith("250")
    assert len(told) == 1


@pytest.mark.parametrize("size", [200, 100_000])
def test_a_message_may_be_larger_than_the_account_may_send(rig: SmtpRig, size: int) -> None:
    rig.accounts.rules = AccountRules(max_message_octets=100)
    client = logged_in(rig)
    assert send(client, size) == "552 5.3.4 Message is larger than your account may send"
    assert without_id(client.say("MAIL FROM:<anna@example.org> SIZE=101")[0]).startswith("552 5.3.4 Message")
    assert send(client, 90).startswith("250")
    assert rig.body_files() == []
    assert rig.alarms == []


def test_an_account_writes_to_so_many_new_foreign_recipients_a_day(rig: SmtpRig) -> None:
    rig.accounts.rules = AccountRules(new_recipients_per_day=2)
    client = logged_in(rig)
    client.say("MAIL FROM:<anna@example.org>")
    said = [client.say(f"RCPT TO:<{name}@far.example>")[0] for name in ("a", "b", "a", "c")]
    full = "450 4.7.1 Your account has written to its new recipients of this day, try later"
    assert [without_id(one) for one in said] == ["250 2.1.5 Recipient ok"] * 3 + [full]
    assert client.say("RCPT TO:<bert@example.org>") == ["250 2.1.5 Recipient ok"]
    assert rig.alarms == [f"account_new_recipients_per_day {ANNA}"]
    rig.reactor.rightNow += 24 * 3600
    client = logged_in(rig)
    client.say("MAIL FROM:<anna@example.org>")
    assert client.say("RCPT TO:<a@far.example>") == ["250 2.1.5 Recipient ok"]
    assert client.say("RCPT TO:<c@far.example>") == ["250 2.1.5 Recipient ok"]
    assert client.say("RCPT TO:<d@far.example>") == ["250 2.1.5 Recipient ok"]
    assert client.say("RCPT TO:<e@far.example>")[0].startswith("450")


def test_a_recipient_that_cannot_be_remembered_is_accepted(rig: SmtpRig) -> None:
    rig.accounts.rules = AccountRules(new_recipients_per_day=2)
    client = logged_in(rig)
    client.say("MAIL FROM:<anna@example.org>")
    rig.database.failures.extend((None, StoreError("the disk is full")))
    with logged("kms.accounts") as told:
        assert client.say("RCPT TO:<a@far.example>") == ["250 2.1.5 Recipient ok"]
    assert len(told) == 1


def test_a_limit_that_observes_lets_through_and_is_recorded(rig: SmtpRig) -> None:
    observed = frozenset({Limit.ACCOUNT_MESSAGES_PER_HOUR, Limit.ACCOUNT_NEW_RECIPIENTS_PER_DAY})
    rig.accounts.rules = AccountRules(messages_per_hour=1, new_recipients_per_day=1, observed=observed)
    client = logged_in(rig)
    assert send(client).startswith("250")
    assert send(client).startswith("250")
    client.say("MAIL FROM:<anna@example.org>")
    for name in ("a", "b"):
        assert client.say(f"RCPT TO:<{name}@far.example>") == ["250 2.1.5 Recipient ok"]
    query = "SELECT count(*) FROM decision WHERE is_observed AND rule LIKE '%account_%'"
    assert rig.database.connection.execute(query).fetchone()[0] == 3


def test_counts_survive_a_restart(rig: SmtpRig) -> None:
    rig.accounts.rules = AccountRules(messages_per_hour=5, new_recipients_per_day=5)
    client = logged_in(rig)
    send(client)
    client.say("MAIL FROM:<anna@example.org>", "RCPT TO:<a@far.example>")
    rig.reactor.rightNow += 1800
    counts = reload_counts(rig)
    assert counts.messages(ANNA) == (1, 1)
    assert counts.contacts(ANNA) == 1
    rig.reactor.rightNow += 1800
    assert counts.messages(ANNA) == (0, 1)


def test_the_sweep_forgets_what_is_over(rig: SmtpRig) -> None:
    rig.accounts.rules = AccountRules(messages_per_hour=5, new_recipients_per_day=5)
    client = logged_in(rig)
    send(client)
    client.say("MAIL FROM:<anna@example.org>", "RCPT TO:<a@far.example>")
    rig.reactor.rightNow += 24 * 3600
    result_of(rig.account_counts.sweep())
    assert load_messages(rig.database.connection, rig.clock.now() - timedelta(days=9)) == []
    assert rig.account_counts.contacts(ANNA) == 0


def test_a_made_up_account_without_limits_is_judged_by_the_servers(rig: SmtpRig) -> None:
    rig.accounts.rules = AccountRules(max_message_octets=5)
    session = SmtpServerSession(SmtpServerSettings("mx"))
    session.login_name = "x"
    visit = Visit(ip_address("203.0.113.9"), session, account=Account("x", "example.org"))
    refusal, observed = rig.accounts.split(rig.accounts.judge_message(visit, 6))
    assert refusal is not None
    assert observed == ()
