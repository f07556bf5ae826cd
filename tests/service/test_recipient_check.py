"""What RCPT asks, tells and leaves; its answers stand in tests/dialogues/reception/."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from kms.domain import reply
from kms.domain.account import Account
from kms.domain.address import Mailbox
from kms.policy.transaction import TransactionRules
from kms.protocol.smtp_events import RecipientOffered
from kms.service.mailboxes import MailboxUsage
from kms.service.recipient_check import _refusal_of
from kms.service.visit import Transaction
from tests.support.log_events import logged
from tests.support.results import result_of
from tests.support.smtp_parts import Client
from tests.support.smtp_rig import MEMBER, SmtpRig

FRITZ = "RCPT TO:<fritz@example.org>"


@pytest.fixture
def rig(tmp_path: Path) -> SmtpRig:
    return SmtpRig(tmp_path)


@pytest.fixture
def client(rig: SmtpRig) -> Client:
    client = rig.greeted()
    client.say("MAIL FROM:<max@stranger.example>")
    return client


def test_a_denied_recipient_is_told_to_both_logs(rig: SmtpRig, client: Client) -> None:
    client.say("RCPT TO:<far@elsewhere.example>")
    assert rig.security_lines() == [
        "Relay attempt from IP address 203.0.113.9, mail from <max@stranger.example> to <far@elsewhere.example> "
        "rejected"
    ]
    assert "NOQUEUE: reject: RCPT from unknown[203.0.113.9]: 550 5.7.1" in rig.mail_lines()[-1]


def test_an_unknown_recipient_is_told_to_both_logs(rig: SmtpRig, client: Client) -> None:
    client.say("RCPT TO:<nobody@example.org>")
    assert rig.security_lines() == [
        "Attempt to deliver to unknown recipient <nobody@example.org>, from <max@stranger.example>, "
        "IP address 203.0.113.9"
    ]
    assert "550 5.1.1 <nobody@example.org>" in rig.mail_lines()[-1]


@pytest.mark.parametrize("name", ["dora", "round", "fritz"])
def test_other_refusals_are_no_matter_of_the_security_log(rig: SmtpRig, client: Client, name: str) -> None:
    rig.mailboxes.usages["fritz@example.org"] = MailboxUsage(1000, 1)
    client.say(f"RCPT TO:<{name}@example.org>")
    assert rig.security_lines() == []
    assert f"to=<{name}@example.org>" in rig.mail_lines()[-1]


def test_a_full_mailbox_is_told_of_once(rig: SmtpRig, client: Client) -> None:
    rig.mailboxes.usages["fritz@example.org"] = MailboxUsage(5, 10)
    assert client.say(FRITZ, FRITZ) == ["452 4.2.2 Mailbox is full"] * 2
    assert rig.notices == ["fritz@example.org"]


def test_a_mailbox_that_cannot_be_measured_is_trouble_of_ours(rig: SmtpRig, client: Client) -> None:
    rig.mailboxes.failure = OSError(5, "Input/output error")
    with logged("kms.reception") as told:
        assert client.say(FRITZ) == ["451 4.3.0 Temporary trouble here, try again later"]
    assert len(told) == 1
    assert client.say("RCPT TO:<anna@example.org>") == ["250 2.1.5 Recipient ok"]


def test_one_full_mailbox_among_the_targets_of_an_alias_puts_the_alias_off(
    rig: SmtpRig, client: Client
) -> None:
    rig.mailboxes.usages["emil@example.org"] = MailboxUsage(9, 9)
    rig.add(Account("emil", "example.org", quota_messages=9, forward_to=(Mailbox("fritz", "example.org"),)))
    result_of(rig.directory.load())
    assert client.say("RCPT TO:<emil@example.org>") == ["452 4.2.2 Mailbox is full"]


def test_a_client_that_goes_while_a_mailbox_is_measured_leaves_nothing(rig: SmtpRig, client: Client) -> None:
    rig.mailboxes.is_slow = True
    client.say(FRITZ)
    client.lose()
    with logged("kms") as told:
        rig.mailboxes.answer_one()
    assert told == []
    assert client.hear() == []


def test_before_there_is_an_account_nobody_is_postmaster(rig: SmtpRig, client: Client) -> None:
    rig.directory.take({}, {})
    assert client.say("RCPT TO:<postmaster>") == ["451 4.3.0 No postmaster yet, try again later"]


def test_no_recipient_is_too_many_where_there_is_no_limit(rig: SmtpRig, client: Client) -> None:
    rig.recipients.rules = TransactionRules(max_recipients=0)
    assert set(client.say(*["RCPT TO:<anna@example.org>"] * 150)) == {"250 2.1.5 Recipient ok"}


def test_a_hundred_recipients_are_possible(rig: SmtpRig, client: Client) -> None:
    said = client.say(*[f"RCPT TO:<anna+{number}@example.org>" for number in range(101)])
    assert said == ["250 2.1.5 Recipient ok"] * 100 + ["452 4.5.3 Too many recipients"]


def test_the_relay_verdict_is_asked_anew_for_each_recipient(rig: SmtpRig) -> None:
    client = rig.greeted(MEMBER)
    client.say("MAIL FROM:<>")
    assert client.say("RCPT TO:<a@elsewhere.example>") == ["250 2.1.5 Recipient ok"]
    rig.relay.rules = type(rig.relay.rules)(address_group=None)
    assert client.say("RCPT TO:<b@elsewhere.example>")[0].startswith("550 5.7.1")


def test_a_recipient_outside_a_transaction_is_a_fault_of_ours(rig: SmtpRig) -> None:
    client = rig.greeted()
    event = RecipientOffered(Mailbox("anna", "example.org"))
    with logged("kms.reception") as told:
        assert rig.reception.answer(client.connection.visit, event) is reply.TROUBLE
    assert len(told) == 1


def test_a_resolution_that_is_none_is_a_fault_of_ours() -> None:
    with pytest.raises(TypeError):
        _refusal_of(cast(Any, "nonsense"))


def test_a_transaction_knows_what_was_accepted(rig: SmtpRig, client: Client) -> None:
    client.say("RCPT TO:<team@example.org>", "RCPT TO:<nobody@example.org>")
    transaction = client.connection.visit.transaction
    assert isinstance(transaction, Transaction)
    assert [str(mailbox) for mailbox in transaction.recipients] == ["anna@example.org", "bert@example.org"]
    assert transaction.accepted == 1
