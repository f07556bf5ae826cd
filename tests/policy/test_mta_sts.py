from datetime import timedelta

import pytest

from kms.domain.published_tls import StsMode, StsPolicy
from kms.policy.mta_sts import StsError, is_listed, parse_policy, parse_record

WEEK = timedelta(weeks=1)
POLICY = (
    b"version: STSv1\r\nmode: enforce\r\nmx: mail.far.test\r\nmx: *.far.test\r\n"
    b"mx: backup.elsewhere.test\r\nmax_age: 604800\r\n"
)
PARSED = StsPolicy(StsMode.ENFORCE, WEEK, ("mail.far.test", "*.far.test", "backup.elsewhere.test"))


@pytest.mark.parametrize(
    "text",
    [
        b"v=STSv1; id=20160831085700Z;",
        b"v=STSv1;id=20160831085700Z",
        b"v=STSv1 ; id=20160831085700Z ; more=things; and",
        b"v=STSv1; id = 20160831085700Z; id=other",
    ],
)
def test_a_record_has_an_id(text: bytes) -> None:
    assert parse_record([text]) == "20160831085700Z"
    assert parse_record([b"v=spf1 -all", text, b"\xff"]) == "20160831085700Z"


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [b""],
        [b"v=STSv2; id=1;"],
        [b"id=1; v=STSv1;"],
        [b"v=STSv1;"],
        [b"v=STSv1; id=;"],
        [b"v=STSv1; id=a-b;"],
        [b"v=STSv1; id=" + b"1" * 33],
        [b"v=STSv1; id=1;", b"v=STSv1; id=1;"],
    ],
)
def test_what_is_not_exactly_one_right_record_is_no_policy(texts: list[bytes]) -> None:
    assert parse_record(texts) is None


def test_a_policy_is_read_with_either_line_end() -> None:
    assert parse_policy(POLICY) == PARSED
    assert parse_policy(POLICY.replace(b"\r\n", b"\n")) == PARSED
    assert parse_policy(b"\n" + POLICY.rstrip()) == PARSED


def test_of_a_field_that_comes_twice_the_first_counts_and_what_is_unknown_is_passed_over() -> None:
    text = POLICY + b"mode: none\r\nmax_age: 1\r\nversion: STSv2\r\nmore: things: here\r\n"
    assert parse_policy(text) == PARSED


def test_names_are_brought_into_the_one_form() -> None:
    text = "version:STSv1\nmode:testing\nmx: *.Büro.TEST\nmx: MX.far.test.\nmax_age:1".encode()
    assert parse_policy(text).mx == ("*.xn--bro-hoa.test", "mx.far.test")


def test_only_a_policy_that_is_none_may_name_no_server() -> None:
    text = b"version: STSv1\nmode: none\nmax_age: 86400\n"
    assert parse_policy(text) == StsPolicy(StsMode.NONE, timedelta(days=1), ())
    with pytest.raises(StsError, match="names no server"):
        parse_policy(text.replace(b"none", b"enforce"))


def test_a_life_of_more_than_a_year_is_a_year() -> None:
    assert parse_policy(POLICY.replace(b"604800", b"9999999999")).life == timedelta(seconds=31_557_600)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b"STSv1", b"STSv2", "version"),
        (b"version: STSv1\r\n", b"", "version"),
        (b"mode: enforce\r\n", b"", "mode"),
        (b"enforce", b"Enforce", "mode"),
        (b"max_age: 604800\r\n", b"", "max_age"),
        (b"604800", b"-1", "max_age"),
        (b"604800", b"1.5", "max_age"),
        (b"604800", b"99999999999", "max_age"),
        (b"mail.far.test", b"mail..far.test", "no such name"),
        (b"mail.far.test", b"", "no such name"),
        (b"mx: mail.far.test", b"<html>", "no colon"),
        (b"mail", b"\xff", "UTF-8"),
        (b"mx: mail.far.test\r\n", b"mx: a.test\r\n" * 101, "too many"),
    ],
)
def test_what_is_no_policy_is_told(before: bytes, after: bytes, words: str) -> None:
    with pytest.raises(StsError, match=words):
        parse_policy(POLICY.replace(before, after))


@pytest.mark.parametrize(
    ("host", "is_in"),
    [
        ("mail.far.test", True),
        ("other.far.test", True),
        ("a.b.far.test", False),
        ("far.test", False),
        ("backup.elsewhere.test", True),
        ("x.elsewhere.test", False),
        ("*.far.test", True),
        ("test", False),
    ],
)
def test_a_wildcard_stands_for_exactly_one_label(host: str, is_in: bool) -> None:
    assert is_listed(host, PARSED) is is_in
