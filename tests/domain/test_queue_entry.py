"""Queue ids: short, printable, and read back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kms.domain.address import Mailbox
from kms.domain.envelope import Envelope
from kms.domain.queue_entry import QueueEntry, format_queue_id, parse_queue_id

AT = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize("number", [1, 31, 32, 1023, 1024, 10**15, 2**62, 2**63 - 1])
def test_a_number_comes_back_from_its_queue_id(number: int) -> None:
    text = format_queue_id(number)
    assert parse_queue_id(text) == number
    assert text.isascii()
    assert text.isalnum()
    assert text == text.upper()


def test_a_later_number_of_the_same_length_sorts_later() -> None:
    ids = [format_queue_id(number) for number in range(2**20, 2**20 + 2000)]
    assert ids == sorted(ids)


def test_zero_prints_too_but_is_no_entry() -> None:
    assert format_queue_id(0) == "0"
    assert parse_queue_id("0") is None


@pytest.mark.parametrize("text", ["", "7c2a", "7C2A-", " 7C2A", "I", "L", "O", "U", "Ü", "Z" * 13, "7C2A\n"])
def test_other_text_is_no_queue_id(text: str) -> None:
    assert parse_queue_id(text) is None


def test_an_entry_knows_its_queue_id() -> None:
    entry = QueueEntry(number=33, envelope=Envelope(None, ()), arrived_at=AT, content_octets=0, due_at=AT)
    assert entry.queue_id == "21"
    assert entry.last_status == {}


def test_an_entry_knows_its_reverse_path() -> None:
    sender = Mailbox("anna", "local.test")
    entry = QueueEntry(number=1, envelope=Envelope(sender, ()), arrived_at=AT, content_octets=0, due_at=AT)
    assert entry.reverse_path == sender
