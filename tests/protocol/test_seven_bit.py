"""What a server without 8BITMIME is given, read again by Python's own parser; and what it is not given."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.protocol.mime_walker import CannotConvert
from kms.protocol.seven_bit import Coding, Plan, SevenBitPlanner, convert

HEAD = b"From: a@b.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
ROSE = "Überraschung für José".encode()
RUSSIAN = "Съешь же ещё этих мягких булок".encode()
EIGHT = b"Content-Transfer-Encoding: 8bit\r\n"


def plan(content: bytes, size: int = 7) -> Plan:
    planner = SevenBitPlanner()
    for at in range(0, len(content), size):
        planner.feed(content[at : at + size])
    return planner.finish()


def converted(content: bytes, size: int = 7) -> bytes:
    chunks = [content[at : at + size] for at in range(0, len(content), size)]
    found = b"".join(convert(plan(content, size), chunks))
    assert found.isascii()
    assert b"\0" not in found
    assert max(map(len, found.split(b"\r\n"))) <= 998
    assert found.count(b"\r\n") == found.count(b"\n") == found.count(b"\r")
    return found


def decoded(content: bytes) -> list[tuple[str, bytes]]:
    """Type and octets of each part that holds no others."""
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    return [
        (part.get_content_type(), bytes(part.get_payload(decode=True)))
        for part in message.walk()
        if not part.is_multipart()
    ]


def text(body: bytes, *fields: bytes) -> bytes:
    kind = b"Content-Type: text/plain; charset=utf-8\r\n"
    return HEAD + b"".join(fields or (kind, EIGHT)) + b"\r\n" + body


def multipart(*parts: bytes, kind: bytes = b"mixed", before: bytes = b"", after: bytes = b"") -> bytes:
    head = b'Content-Type: multipart/%b;\r\n\tboundary="x y"\r\n%b\r\n%b' % (kind, EIGHT, before)
    return HEAD + head + b"".join(b"--x y\r\n" + part + b"\r\n" for part in parts) + b"--x y--\r\n" + after


def part(body: bytes, kind: bytes = b"text/plain", coding: bytes = b"8bit") -> bytes:
    return b"Content-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (kind, coding, body)


TEXTS = {
    "text": ROSE + b"\r\n",
    "no line end": b"one\r\n" + ROSE,
    "dots and blanks": b".\r\n..\r\n" + ROSE + b"  \r\n\t\r\n=20\r\n",
    "long": b"x" * 150_000 + ROSE + b"\r\nshort\r\n",
    "long without an end": b"y" * 70_000 + ROSE,
    "russian": RUSSIAN * 40 + b"\r\n" + RUSSIAN + b"\r\n",
    "nul": b"a\0b\r\n",
    "ascii": b"hello\r\n",
    "empty": b"",
    "like a delimiter": b"--x y\r\n-- \r\n" + ROSE + b"\r\n",
}


@pytest.mark.parametrize("body", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("size", [7, 4096, 1 << 20])
def test_a_text_reads_as_before(body: bytes, size: int) -> None:
    content = text(body)
    assert decoded(converted(content, size)) == decoded(content)


def test_the_coding_fits_the_text() -> None:
    assert plan(text(ROSE + b" and much more in plain ASCII\r\n")) == (Coding.QUOTED,)
    assert plan(text(RUSSIAN + b"\r\n")) == (Coding.BASE64,)
    assert plan(text(ROSE, b"Content-Type: application/json\r\n")) == (Coding.BASE64,)
    assert plan(text(b"plain")) == (Coding.SEVEN_BIT,)


def test_what_is_of_seven_bits_keeps_its_body_and_says_so() -> None:
    content = text(b"plain\r\n")
    assert converted(content) == content.replace(b"8bit", b"7bit")


def test_a_text_that_says_nothing_is_of_an_unknown_charset() -> None:
    found = converted(b"From: a@b.test\r\n\r\n" + ROSE + b" and some words\r\n")
    assert found.startswith(
        b"From: a@b.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=9Cberraschung"
    )


def test_a_message_without_a_header_gets_one() -> None:
    assert converted(b"\r\n" + ROSE + b" and some words\r\n").startswith(b"MIME-Version: 1.0\r\n")


def test_a_header_without_a_body_stays_what_it_is() -> None:
    assert converted(b"Subject: x\r\n") == b"Subject: x\r\n"


IMAGE = bytes(range(256)).replace(b"\n", b"").replace(b"\r", b"") * 9
WHOLES = {
    "two parts": multipart(part(ROSE), part(IMAGE, b"image/png", b"binary")),
    "a part without a header": multipart(b"\r\n" + ROSE, part(b"plain")),
    "a part of nothing": multipart(b"", part(ROSE)),
    "a header alone": multipart(b"Content-Type: text/plain\r\n", part(ROSE)),
    "coded already": multipart(part(b"=C3=9C", coding=b"quoted-printable"), part(ROSE)),
    "signed in seven bits": multipart(part(b"--i\r\nhi\r\n--i--", b"multipart/signed; boundary=i"), part(ROSE)),
    "russian and a line end": multipart(part(RUSSIAN + b"\r\n\r\n"), part(RUSSIAN)),
    "alternatives inside": multipart(
        multipart(part(ROSE), part(ROSE, b"text/html")).replace(b"x y", b"in (1)?")[len(HEAD) :], part(IMAGE)
    ),
    "a message inside": multipart(
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + text(ROSE), part(ROSE)
    ),
    "a digest": multipart(b"\r\n" + text(ROSE), b"\r\n" + text(RUSSIAN), kind=b"digest"),
    "not closed": multipart(part(ROSE), part(RUSSIAN)).removesuffix(b"\r\n--x y--\r\n"),
    "delimiters with blanks": multipart(part(ROSE)).replace(b"--x y\r\n", b"--x y \t\r\n"),
    "an outer delimiter first": HEAD
    + b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n"
    + b"--i\r\n\r\n" + RUSSIAN + b"\r\n--o\r\n\r\n" + ROSE + b"\r\n--o--\r\n",
    "of a type that is none": text(ROSE + b" in words that are read", b"Content-Type: nonsense\r\n", EIGHT),
}  # fmt: skip


@pytest.mark.parametrize("content", WHOLES.values(), ids=WHOLES)
@pytest.mark.parametrize("size", [5, 1 << 20])
def test_each_part_decodes_to_what_it_was(content: bytes, size: int) -> None:
    assert decoded(converted(content, size)) == decoded(content)


def test_what_stands_beside_the_parts_is_made_legible() -> None:
    content = multipart(part(ROSE), before=b"na\xefve\r\n" + b"z" * 70_000 + b"\r\n", after=b"\xff end\r\n")
    found = converted(content, 1 << 20)
    assert b"na?ve\r\n" + b"z" * 998 + b"\r\n--x y\r\n" in found
    assert found.endswith(b"--x y--\r\n? end\r\n")


SEALED = {
    "a header field": HEAD + b"X-Name: Jos\xc3\xa9\r\n\r\nhello\r\n",
    "a header field that is too long": HEAD + b"X: " + b"x" * 998 + b"\r\n\r\n" + ROSE,
    "a long header": HEAD + b"X: y\r\n" * 60_000 + b"\r\n" + ROSE,
    "a part's header field": multipart(b"Content-Description: \xff\r\n\r\nhello"),
    "a signed part": multipart(part(b"--i\r\n\r\n" + ROSE + b"\r\n--i--", b"multipart/signed; boundary=i")),
    "an encrypted part": multipart(part(ROSE, b"multipart/encrypted; boundary=i")),
    "a part of a message": multipart(part(ROSE, b"message/partial; number=1")),
    "a delivery status": multipart(part(ROSE, b"message/delivery-status")),
    "an international message": multipart(part(ROSE, b"message/global")),
    "quoted-printable that is none": text(ROSE, b"Content-Transfer-Encoding: quoted-printable\r\n"),
    "base64 that is none": text(ROSE, b"Content-Transfer-Encoding: base64 (really)\r\n"),
    "an unknown coding": text(ROSE, b"Content-Transfer-Encoding: x-uuencode\r\n"),
    "two codings": text(ROSE, EIGHT, EIGHT),
    "two types": text(ROSE, b"Content-Type: text/plain\r\nContent-Type: text/html\r\n"),
    "no boundary": HEAD + b"Content-Type: multipart/mixed\r\n\r\n" + ROSE,
    "no part": multipart(before=ROSE + b"\r\n"),
    "no delimiter": HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + ROSE,
    "too many parts": multipart(*[b""] * 10_000, part(ROSE)),
    "nested too deep": HEAD
    + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(60))
    + b"\r\n" + ROSE,
}  # fmt: skip


@pytest.mark.parametrize("content", SEALED.values(), ids=SEALED)
def test_what_may_not_be_touched_is_refused(content: bytes) -> None:
    with pytest.raises(CannotConvert):
        plan(content, 1 << 12)


LINES = st.lists(
    st.one_of(
        st.text(max_size=60).map(lambda line: line.encode("utf-8", "ignore")),
        st.binary(max_size=1200),
        st.sampled_from([b"--x y", b"--x y--", b".", b" ", b"=", b"--"]),
    ),
    max_size=8,
).map(lambda lines: b"\r\n".join(line.replace(b"\r", b"").replace(b"\n", b"") for line in lines))
LEAVES = st.builds(part, LINES, st.sampled_from([b"text/plain", b"text/html", b"application/x-y"]))


@given(
    st.lists(LEAVES.filter(lambda leaf: b"\r\n--x y" not in leaf), min_size=1, max_size=4),
    st.integers(1, 300),
)
def test_whatever_the_parts_hold_they_decode_to_it(parts: list[bytes], size: int) -> None:
    content = multipart(*parts)
    assert decoded(converted(content, size)) == decoded(content)


@given(LINES, st.integers(1, 300))
def test_whatever_a_text_holds_it_decodes_to_it(body: bytes, size: int) -> None:
    content = text(body + b"\r\n")
    assert decoded(converted(content, size)) == decoded(content)


@given(st.binary(max_size=400), st.integers(1, 50))
def test_anything_is_converted_or_refused(noise: bytes, size: int) -> None:
    content = multipart(noise).replace(b"\r\n", b"\n").replace(b"\r", b"").replace(b"\n", b"\r\n")
    try:
        converted(content, size)
    except CannotConvert:
        return
