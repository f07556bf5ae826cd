from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest

from kms.domain.account import Account
from kms.domain.address import Mailbox
from kms.domain.address_group import ClientAddress
from kms.policy.relay import RelayMode, RelayRules
from kms.protocol.smtp_server import SmtpServerSession, SmtpServerSettings
from kms.service.incoming import IncomingContent
from kms.service.trace_fields import TraceFields
from kms.service.visit import Transaction, Visit
from tests.support.smtp_rig import GROUP, HOSTNAME, MEMBER, STRANGER

AT = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
ANNA, BERT = Mailbox("anna", "example.org"), Mailbox("bert", "example.org")
NOBODY: Any = None


class Rig:
    """A visit with a message on its way."""

    def __init__(self, client: str = STRANGER, **more: Any) -> None:
        self.session = SmtpServerSession(SmtpServerSettings(HOSTNAME))
        self.session.client_name = "client.example"
        self.session.is_extended = True
        address: ClientAddress = ip_address(client)
        self.visit = Visit(address, self.session, **more)
        self.transaction = Transaction(None)
        self.transaction.content = IncomingContent(NOBODY, 1000, AT)
        self.relay = RelayRules(address_group=GROUP)
        self.fields = TraceFields(HOSTNAME, lambda: self.relay)

    def compose(self, header: bytes = b"") -> str:
        fields = self.fields.compose(self.visit, self.transaction, header).decode("ascii")
        assert fields.endswith("\r\n")
        assert max(map(len, fields.splitlines())) < 998
        return re.sub(r"\r\n[ \t]+", " ", fields)


def test_the_line_tells_who_brought_the_message_and_when() -> None:
    rig = Rig()
    rig.transaction.add((ANNA,), ANNA)
    line = rig.compose()
    assert line.startswith("Received: from client.example ([203.0.113.9])")
    assert f"by {HOSTNAME}" in line
    assert "with ESMTP id " in line
    assert "for <anna@example.org>" in line
    assert line.endswith("Tue, 24 Nov 2026 12:30:00 +0000\r\n")


def test_several_recipients_do_not_learn_of_each_other() -> None:
    rig = Rig()
    rig.transaction.add((ANNA,), ANNA)
    rig.transaction.add((BERT,), BERT)
    assert "for <" not in rig.compose()


def test_an_alias_is_named_and_its_targets_are_not() -> None:
    rig = Rig()
    rig.transaction.add((ANNA, BERT), Mailbox("team", "example.org"))
    line = rig.compose()
    assert "for <team@example.org>" in line
    assert "anna" not in line


def test_of_two_names_of_one_mailbox_neither_is_named() -> None:
    rig = Rig()
    rig.transaction.add((ANNA,), ANNA)
    rig.transaction.add((ANNA,), Mailbox("other", "example.org"))
    assert "for <" not in rig.compose()


@pytest.mark.parametrize(
    ("is_extended", "is_encrypted", "login", "word"),
    [
        (False, False, None, "SMTP"),
        (False, True, None, "SMTP"),
        (True, False, None, "ESMTP"),
        (True, True, None, "ESMTPS"),
        (True, False, "anna", "ESMTPA"),
        (True, True, "anna", "ESMTPSA"),
    ],
)
def test_the_protocol_word_tells_of_tls_and_auth(
    is_extended: bool, is_encrypted: bool, login: str | None, word: str
) -> None:
    rig = Rig()
    rig.session.is_extended, rig.session.is_encrypted, rig.session.login_name = (
        is_extended,
        is_encrypted,
        login,
    )
    assert f" with {word} id " in rig.compose()


def test_the_encryption_is_a_comment() -> None:
    assert (
        "(TLSv1.3 TLS_AES_256_GCM_SHA384)"
        in Rig(describe_tls=lambda: "TLSv1.3 TLS_AES_256_GCM_SHA384").compose()
    )


def test_the_account_is_disclosed_only_where_that_is_wanted() -> None:
    rig = Rig()
    rig.visit.account = Account("anna", "example.org")
    rig.session.login_name = "anna"
    assert "anna" not in rig.compose()
    rig.fields.discloses_login = True
    assert "anna@example.org" in rig.compose()


def open_mode(rig: Rig) -> None:
    rig.relay = RelayRules(RelayMode.OPEN, GROUP)


def no_group(rig: Rig) -> None:
    rig.relay = RelayRules(address_group=None)


def nothing(rig: Rig) -> None:
    pass


@pytest.mark.parametrize(
    ("client", "change", "is_hidden"),
    [
        (MEMBER, nothing, True),
        (STRANGER, nothing, False),
        (MEMBER, open_mode, False),
        (MEMBER, no_group, False),
    ],
)
def test_the_address_of_a_member_of_the_relay_group_can_be_hidden(
    client: str, change: Callable[[Rig], None], is_hidden: bool
) -> None:
    rig = Rig(client)
    rig.session.client_name = f"[{client}]"
    assert client in rig.compose()
    rig.fields.hides_local_ip = True
    change(rig)
    assert (client not in rig.compose()) is is_hidden


@pytest.mark.parametrize(
    ("header", "added"),
    [
        (b"Subject: x\r\n", ["Date", "Message-ID"]),
        (b"date : x\r\nMESSAGE-ID: <x@y>\r\n", []),
        (b"Date: x\r\n", ["Message-ID"]),
        (b"Message-Id: <x@y>\r\n", ["Date"]),
        (b"X-Date: x\r\nSubject: a\r\n Date: b\r\n", ["Date", "Message-ID"]),
    ],
)
def test_a_submission_gets_what_it_lacks(header: bytes, added: list[str]) -> None:
    lines = Rig(is_submission=True).compose(header).splitlines()
    assert [line.split(":")[0] for line in lines] == ["Received", *added]


def test_the_added_fields_are_unique_and_of_now() -> None:
    text = Rig(is_submission=True).compose()
    assert "\r\nDate: Tue, 24 Nov 2026 12:30:00 +0000\r\n" in text
    assert re.search(r"\r\nMessage-ID: <\w+@mail\.example\.org>\r\n", text)


def test_other_mail_gets_the_trace_line_only() -> None:
    assert len(Rig().compose(b"Subject: x\r\n").splitlines()) == 1
