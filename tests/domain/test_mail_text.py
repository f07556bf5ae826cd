"""What all mails of the server itself have in common."""

from __future__ import annotations

import base64
import email
import email.policy
from datetime import UTC, datetime

import attrs
import pytest

from kms.domain.address import Mailbox
from kms.domain.mail_text import MailHead, clean_line, compose_head, compose_part, compose_text, wrap_text

HEAD = MailHead(
    hostname="mail.example.test",
    readers=(Mailbox("joe", "example.test"),),
    subject="Hello",
    at=datetime(2026, 11, 24, 13, 0, tzinfo=UTC),
    token="1.A",
    auto_submitted="auto-generated",
)


def test_a_head_says_who_wrote_it_and_that_no_machine_need_answer() -> None:
    assert compose_head(HEAD, "X-More: 1") == (
        b"From: Mail Delivery System <MAILER-DAEMON@mail.example.test>\r\n"
        b"To: joe@example.test\r\n"
        b"Subject: Hello\r\n"
        b"Date: Tue, 24 Nov 2026 13:00:00 +0000\r\n"
        b"Message-ID: <1.A@mail.example.test>\r\n"
        b"Auto-Submitted: auto-generated\r\n"
        b"MIME-Version: 1.0\r\n"
        b"X-More: 1\r\n"
    )


def test_several_readers_stand_one_a_line() -> None:
    head = attrs.evolve(HEAD, readers=(Mailbox("joe", "a.test"), Mailbox("postmaster", "a.test")))
    assert b"To: joe@a.test,\r\n\tpostmaster@a.test\r\n" in compose_head(head)


def test_a_reader_and_a_subject_beyond_ascii_become_encoded_words() -> None:
    head = attrs.evolve(HEAD, readers=(Mailbox("jöe", "a.test"), Mailbox("x", "a.test")), subject="Voll ☃")
    data = compose_head(head)
    assert data.isascii()
    message = email.message_from_bytes(data + b"\r\n", policy=email.policy.default)
    assert message["Subject"] == "Voll ☃"
    assert "x@a.test" in message["To"]


def test_nothing_in_the_subject_makes_a_field() -> None:
    data = compose_head(attrs.evolve(HEAD, subject="x\r\nBcc: all@a.test"))
    assert b"Subject: x Bcc: all@a.test\r\n" in data


def test_plain_text_goes_as_it_is_and_other_text_as_quoted_printable() -> None:
    assert compose_text("one\ntwo\n\n") == (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\none\r\ntwo\r\n"
    )
    data = compose_text("café\x07\r\nx", "X-More: 1")
    assert data.startswith(b"X-More: 1\r\n")
    assert data.endswith(b"Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9?\r\nx\r\n")


def test_a_line_that_is_too_long_is_broken() -> None:
    data = compose_part((), "text/plain", [b"x" * 5000])
    assert max(map(len, data.split(b"\r\n"))) <= 76
    assert b"quoted-printable" in data


@pytest.mark.parametrize(
    ("text", "clean"), [(" a\r\n\tb\x00 ", "a b"), ("x" * 20, "xxxxxxx..."), ("\ud800", "?"), ("", "")]
)
def test_any_text_becomes_one_harmless_line(text: str, clean: str) -> None:
    assert clean_line(text, 10) == clean


def test_text_of_another_alphabet_goes_as_base64_in_short_lines() -> None:
    data = compose_text("почта\n" * 40)
    head, body = data.split(b"\r\n\r\n")
    assert head.endswith(b"Content-Transfer-Encoding: base64")
    assert max(map(len, body.split(b"\r\n"))) == 76
    assert base64.b64decode(body).decode() == "почта\r\n" * 40


def test_no_line_of_an_encoded_subject_is_too_long() -> None:
    data = compose_head(attrs.evolve(HEAD, subject="Сообщение не доставлено, 配信できませんでした " * 5))
    assert max(map(len, data.split(b"\r\n"))) <= 76


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("one two three", ["one two", "three"]),
        ("  one   two", ["one", "two"]),
        ("x" * 20, ["x" * 8, "x" * 8, "x" * 4]),
        ("配信できません", ["配信でき", "ません"]),
        ("配信した。再送", ["配信し", "た。再送"]),
        ("配信でき。", ["配信で", "き。"]),
        ("в 配信 ok", ["в 配信", "ok"]),
        ("il va faire : si", ["il va", "faire :", "si"]),
    ],
)
def test_a_paragraph_is_broken_at_blanks_and_between_wide_characters(text: str, lines: list[str]) -> None:
    assert list(wrap_text(text, 8)) == lines
