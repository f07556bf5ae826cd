from __future__ import annotations

from ipaddress import ip_address

import pytest

from kms.domain.address import Mailbox
from kms.domain.dsn_request import Notify, RecipientRequest
from kms.domain.envelope import Recipient
from kms.policy.relay import Authentication
from kms.protocol.smtp_server import SmtpServerSession, SmtpServerSettings
from kms.service.visit import Transaction, Visit

A, B = Mailbox("a", "example.org"), Mailbox("b", "example.org")
TEAM = Mailbox("team", "example.org")


@pytest.fixture
def visit() -> Visit:
    return Visit(ip_address("203.0.113.9"), SmtpServerSession(SmtpServerSettings("mail.example.org")))


def test_targets_are_numbered_in_their_order_and_nobody_stands_there_twice() -> None:
    transaction = Transaction(None)
    transaction.add((A,), A)
    transaction.add((A, B), TEAM)
    transaction.add((B,), B)
    assert list(transaction.recipients.values()) == [Recipient(1, A, A), Recipient(2, B, TEAM)]
    assert transaction.accepted == 3


def test_the_targets_of_an_address_for_several_are_not_asked_for_success() -> None:
    transaction = Transaction(None)
    asked = RecipientRequest(Notify.SUCCESS)
    transaction.add((A,), A, asked)
    transaction.add((B, TEAM), TEAM, asked)
    expanded = asked.expand()
    requests = [recipient.request for recipient in transaction.recipients.values()]
    assert requests == [asked, expanded, expanded]


def test_the_fact_of_authentication_has_three_values(visit: Visit) -> None:
    facts = [visit.authentication]
    visit.session.has_failed_login = True
    facts.append(visit.authentication)
    visit.session.login_name = "anna"
    facts.append(visit.authentication)
    assert facts == [Authentication.NONE, Authentication.FAILED, Authentication.SUCCEEDED]


def test_a_visit_begins_in_clear_text_without_transaction_and_account(visit: Visit) -> None:
    assert visit.describe_tls() is None
    assert visit.server_address() is None
    assert visit.transaction is None
    assert visit.account is None
    visit.drop_transaction()


def test_a_transaction_without_content_can_be_dropped(visit: Visit) -> None:
    visit.transaction = Transaction(None)
    visit.drop_transaction()
    assert visit.transaction is None
