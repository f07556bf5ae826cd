"""The Received field: its form, its folding, and that no stranger can break it."""

from __future__ import annotations

import email.utils
import ipaddress
from datetime import UTC, datetime, timedelta, timezone

import attrs
import pytest

from kms.domain.address import Mailbox
from kms.domain.message import count_received, find_fields
from kms.domain.trace import TraceFacts, compose_received, format_date

AT = datetime(2026, 11, 24, 13, 5, 9, 123456, tzinfo=UTC)
FACTS = TraceFacts(
    client_name="client.test",
    client_address=ipaddress.ip_address("192.0.2.1"),
    hostname="mx.local.test",
    protocol="ESMTP",
    tls=None,
    queue_id="7C2A91F3",
    recipient=None,
    login=None,
    at=AT,
)


def test_the_field_has_the_form_of_rfc_5321() -> None:
    assert compose_received(FACTS) == (
        b"Received: from client.test ([192.0.2.1])\r\n"
        b"\tby mx.local.test\r\n"
        b"\twith ESMTP\r\n"
        b"\tid 7C2A91F3; Tue, 24 Nov 2026 13:05:09 +0000\r\n"
    )


def test_everything_known_is_told() -> None:
    facts = attrs.evolve(
        FACTS,
        client_name="[IPv6:2001:db8::7]",
        client_address=ipaddress.ip_address("2001:db8::7"),
        protocol="ESMTPSA",
        tls="TLSv1.3 cipher TLS_AES_256_GCM_SHA384",
        recipient=Mailbox("a b", "local.test"),
        login="user@local.test",
    )
    assert compose_received(facts) == (
        b"Received: from [IPv6:2001:db8::7] ([IPv6:2001:db8::7])\r\n"
        b"\t(authenticated as user@local.test)\r\n"
        b"\tby mx.local.test\r\n"
        b"\twith ESMTPSA (TLSv1.3 cipher TLS_AES_256_GCM_SHA384)\r\n"
        b"\tid 7C2A91F3\r\n"
        b'\tfor <"a b"@local.test>; Tue, 24 Nov 2026 13:05:09 +0000\r\n'
    )


class TestHiddenAddress:
    @pytest.mark.parametrize("name", ["[10.0.0.5]", "[IPv6:fd00::5]", "10.0.0.5", "fd00::5", ""])
    def test_does_not_show_in_the_name_either(self, name: str) -> None:
        field = compose_received(attrs.evolve(FACTS, client_name=name, client_address=None))
        assert field.startswith(b"Received: from unknown\r\n\tby ")

    @pytest.mark.parametrize("name", ["pc5.local.test", "10.example.test", "pc5"])
    def test_leaves_a_name_as_it_is(self, name: str) -> None:
        field = compose_received(attrs.evolve(FACTS, client_name=name, client_address=None))
        assert field.startswith(f"Received: from {name}\r\n\tby ".encode())


class TestStrangersText:
    @pytest.mark.parametrize(
        "text",
        [
            "x\r\nBcc: a@far.test",
            "x\nReceived: forged",
            "x\rReceived: forged",
            "x\r\n\r\nbody",
            "x\x00y\x7f",
            "x) by evil.test (",
            "x (comment",
            'x"y\\z',
            "x; Tue, 1 Jan 1980",
            "\u2028ü\udc80\u202e",
            "n" * 5000,
        ],
    )
    def test_cannot_break_the_field(self, text: str) -> None:
        facts = attrs.evolve(FACTS, client_name=text, login=text, tls=text)
        field = compose_received(facts)
        assert count_received(field) == 1
        assert len(find_fields(field, b"received")) == 1
        lines = field.split(b"\r\n")
        assert lines[-1] == b""
        assert all(line.startswith((b"Received: ", b"\t")) and len(line) <= 998 for line in lines[:-1])
        assert field.isascii()
        assert b"\r" not in field.replace(b"\r\n", b"")
        assert b"\n" not in field.replace(b"\r\n", b"")
        assert field.count(b"(") == field.count(b")") == 3

    def test_keeps_what_is_harmless(self) -> None:
        field = compose_received(attrs.evolve(FACTS, client_name="A-b_c.9 <x>", login="a+b@x.test (z)"))
        assert b"from A-b_c.9??x? ([192.0.2.1])" in field
        assert b"(authenticated as a+b@x.test ?z?)" in field

    def test_an_empty_name_is_unknown(self) -> None:
        assert b"from unknown ([192.0.2.1])" in compose_received(attrs.evolve(FACTS, client_name=""))


class TestUtf8Recipient:
    def test_is_named_in_an_internationalised_message(self) -> None:
        facts = attrs.evolve(FACTS, protocol="UTF8SMTPS", recipient=Mailbox("ü", "local.test"))
        assert "for <ü@local.test>;".encode() in compose_received(facts)

    def test_is_left_out_of_any_other(self) -> None:
        field = compose_received(attrs.evolve(FACTS, recipient=Mailbox("ü", "local.test")))
        assert field == compose_received(FACTS)


def test_the_longest_recipient_fits_in_a_line() -> None:
    recipient = Mailbox("l" * 64, ".".join(["d" * 62] * 3))
    field = compose_received(attrs.evolve(FACTS, recipient=recipient, hostname="h" * 255))
    assert max(len(line) for line in field.split(b"\r\n")) < 400


class TestDate:
    @pytest.mark.parametrize(
        ("at", "text"),
        [
            (AT, "Tue, 24 Nov 2026 13:05:09 +0000"),
            (datetime(2024, 2, 29, 0, 0, 0, tzinfo=UTC), "Thu, 29 Feb 2024 00:00:00 +0000"),
            (datetime(2027, 1, 3, 23, 59, 59, tzinfo=UTC), "Sun, 3 Jan 2027 23:59:59 +0000"),
            (AT.astimezone(timezone(timedelta(hours=-3, minutes=-30))), "Tue, 24 Nov 2026 09:35:09 -0330"),
            (AT.astimezone(timezone(timedelta(hours=2))), "Tue, 24 Nov 2026 15:05:09 +0200"),
        ],
    )
    def test_has_the_form_of_rfc_5322(self, at: datetime, text: str) -> None:
        assert format_date(at) == text

    def test_reads_back_in_every_month(self) -> None:
        for month in range(1, 13):
            at = datetime(2026, month, 7, 8, 9, 10, tzinfo=UTC)
            assert email.utils.parsedate_to_datetime(format_date(at)) == at
