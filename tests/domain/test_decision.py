from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kms.domain import reply
from kms.domain.decision import (
    ID_COUNT,
    Decision,
    Record,
    Rule,
    Stage,
    format_decision_id,
    parse_decision_id,
)


@given(some.integers(0, ID_COUNT - 1))
def test_an_id_is_six_digits_and_capitals_and_is_read_back(number: int) -> None:
    text = format_decision_id(number)
    assert len(text) == 6
    assert text.isascii()
    assert text.isalnum()
    assert text == text.upper()
    assert parse_decision_id(text) == parse_decision_id(text.lower()) == number


def test_after_all_ids_they_begin_anew() -> None:
    assert format_decision_id(ID_COUNT + 7) == format_decision_id(7)


def test_neighbours_look_nothing_alike() -> None:
    first, second = format_decision_id(1000), format_decision_id(1001)
    assert sum(one == other for one, other in zip(first, second, strict=True)) <= 2


@pytest.mark.parametrize("text", ["", "7F3K2", "7F3K2QQ", "7F3K2-", "7F3K2Ä", " 7F3K2Q", "7F3K2Q\n"])
def test_anything_else_is_no_id(text: str) -> None:
    assert parse_decision_id(text) is None


def test_every_rule_is_told_in_its_own_words() -> None:
    assert len({rule.value for rule in Rule}) == len(Rule)


def test_a_refusal_is_whatever_is_no_success() -> None:
    assert not Decision(Rule.SENDER_FINE, reply.SENDER_OK).is_refusal
    assert Decision(Rule.QUOTA, reply.MAILBOX_FULL).is_refusal
    assert Decision(Rule.UNKNOWN_RECIPIENT, reply.UNKNOWN_RECIPIENT).is_refusal


def test_a_record_knows_its_id() -> None:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    record = Record(7, at, "192.0.2.1", Stage.RCPT, Rule.QUOTA.value, "452 4.2.2 Mailbox is full", {})
    assert record.decision_id == format_decision_id(7)
