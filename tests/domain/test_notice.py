"""The notice that a mailbox is full."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime
from email.message import EmailMessage

import attrs
import pytest

from kms.domain.account import Account
from kms.domain.address import Mailbox
from kms.domain.notice import QuotaNotice, compose_quota_notice, format_size
from kms.domain.report_text import BUILT_IN, ReportKind, ReportText

JOE = Account("joe", "example.test", quota_octets=5 * 1024**2)
NOTICE = QuotaNotice(
    hostname="mail.example.test",
    account=JOE,
    readers=(JOE.mailbox, Mailbox("postmaster", "example.test")),
    usage_octets=5 * 1024**2 + 1,
    usage_messages=312,
    at=datetime(2026, 11, 24, 13, 0, tzinfo=UTC),
    queue_id="7C2A91F3",
    text=BUILT_IN[ReportKind.QUOTA],
)


def parse(notice: QuotaNotice) -> EmailMessage:
    """Compose, check what holds for every notice, and parse."""
    data = compose_quota_notice(notice)
    assert data.isascii()
    assert re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", data) is None
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"\r" not in data.replace(b"\r\n", b"")
    assert max(map(len, data.split(b"\r\n"))) <= 998
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def test_it_is_plain_text_of_a_machine_to_the_account_and_the_postmaster() -> None:
    message = parse(NOTICE)
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@mail.example.test>"
    assert message["To"] == "joe@example.test, postmaster@example.test"
    assert message["Subject"] == "The mailbox joe@example.test is full"
    assert message["Date"] == "Tue, 24 Nov 2026 13:00:00 +0000"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == "<20261124130000.000000.7C2A91F3.quota@mail.example.test>"
    assert message.get_content_type() == "text/plain"
    assert message["Content-Transfer-Encoding"] == "7bit"


def test_it_says_how_full_the_mailbox_is_and_what_to_do() -> None:
    text = parse(NOTICE).get_content()
    assert "size:     5.0 MB, allowed: 5.0 MB" in text
    assert "messages: 312, allowed: -" in text
    assert "Fetch the mail and delete" in text
    assert "postmaster@example.test" in text
    assert "$" not in text


def test_a_quota_of_messages_is_told_too() -> None:
    account = attrs.evolve(JOE, quota_octets=0, quota_messages=300)
    text = parse(attrs.evolve(NOTICE, account=account)).get_content()
    assert "5.0 MB, allowed: -" in text
    assert "312, allowed: 300" in text


def test_any_language_is_7_bit() -> None:
    text = ReportText("Postfach voll: $account", "Das Postfach läuft über.\n$usage\n")
    message = parse(attrs.evolve(NOTICE, text=text, account=attrs.evolve(JOE, name="jöe")))
    assert message["Subject"] == "Postfach voll: jöe@example.test"
    assert message.get_content() == "Das Postfach läuft über.\r\n5.0 MB\r\n"


@pytest.mark.parametrize(
    ("octets", "printed"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KB"),
        (1536, "1.5 KB"),
        (1024**2 - 1, "1.0 MB"),
        (5 * 1024**2, "5.0 MB"),
        (3 * 1024**3, "3.0 GB"),
        (2048 * 1024**4, "2048.0 TB"),
    ],
)
def test_sizes_are_printed_for_people(octets: int, printed: str) -> None:
    assert format_size(octets) == printed


def test_a_paragraph_that_a_value_makes_too_wide_is_broken_anew_and_a_table_is_left() -> None:
    words = "The mailbox of $account is full, so nobody can write to it any more until\nthere is room."
    body = f"{words}\n\n    $account: $usage\n"
    account = attrs.evolve(NOTICE.account, name="j" * 60)
    message = parse(attrs.evolve(NOTICE, account=account, text=ReportText("Full", body)))
    text = message.get_content().replace("\r\n", "\n")
    first, table = text.split("\n\n")
    assert max(map(len, first.split("\n"))) <= 78
    assert first.endswith("until there is room.")
    assert table.startswith(f"    {'j' * 60}@")
