from datetime import UTC, datetime

import pytest

from kms.domain.submitted_message import (
    SubmissionFacts,
    complete,
    cut_at_dot,
    find_recipients,
    remove_bcc,
    to_wire_form,
)

FACTS = SubmissionFacts("joe@a.test", "Joe Ünal", datetime(2026, 11, 24, 12, tzinfo=UTC), "1@a.test")


@pytest.mark.parametrize(
    ("given", "wire"),
    [
        (b"", b""),
        (b"A: b\n\nc", b"A: b\r\n\r\nc\r\n"),
        (b"A: b\r\n\r\nc\rd\n", b"A: b\r\n\r\nc\r\nd\r\n"),
        (b"no header here\n", b"\r\nno header here\r\n"),
        (b"\nbody\n", b"\r\nbody\r\n"),
    ],
)
def test_every_line_ends_in_crlf(given: bytes, wire: bytes) -> None:
    assert to_wire_form(given) == wire


@pytest.mark.parametrize(
    ("given", "left"),
    [(b"a\n.\nb\n", b"a\n"), (b".\r\n", b""), (b"a\n..\nb.\n", b"a\n..\nb.\n"), (b"a\n.b\n", b"a\n.b\n")],
)
def test_a_single_dot_ends_the_input(given: bytes, left: bytes) -> None:
    assert cut_at_dot(given) == left


def test_the_recipients_are_those_of_to_cc_and_bcc_each_once() -> None:
    data = b"To: A <a@x.test>,\r\n b@x.test\r\nCc: a@x.test\r\nBcc: c@x.test, \r\n\r\nTo: d@x.test\r\n"
    assert find_recipients(data) == ["a@x.test", "b@x.test", "c@x.test"]


def test_bcc_is_removed_with_its_folded_lines_and_nothing_else() -> None:
    data = b"To: a@x.test\r\nBCC: c@x.test,\r\n\td@x.test\r\nX: y\r\n\r\nBcc: stays\r\n"
    assert remove_bcc(data) == b"To: a@x.test\r\nX: y\r\n\r\nBcc: stays\r\n"


def test_what_is_missing_is_added_in_front() -> None:
    assert complete(b"Subject: x\r\n\r\ny\r\n", FACTS) == (
        b"From: =?utf-8?b?Sm9lIMOcbmFs?= <joe@a.test>\r\n"
        b"Date: Tue, 24 Nov 2026 12:00:00 +0000\r\n"
        b"Message-ID: <1@a.test>\r\n"
        b"Subject: x\r\n\r\ny\r\n"
    )


def test_what_is_there_stays_as_it_is() -> None:
    data = b"from: x@y.test\r\ndate: today\r\nmessage-id: <2@y.test>\r\n\r\n"
    assert complete(data, FACTS) == data


def test_an_empty_message_is_a_header() -> None:
    assert complete(b"", FACTS).endswith(b"Message-ID: <1@a.test>\r\n\r\n")
