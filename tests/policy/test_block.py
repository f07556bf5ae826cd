from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kms.policy.block import Block, BlockKind, BlockTable

SINCE = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
HARVEST, LOGIN = BlockKind.HARVEST, BlockKind.LOGIN


def make_block(client: str = "192.0.2.1", kind: BlockKind = HARVEST, account: str = "") -> Block:
    return Block(client, kind, SINCE, SINCE + timedelta(hours=1), "for a test", account)


def test_a_block_lasts_until_its_deadline_and_no_longer() -> None:
    table = BlockTable()
    assert table.find("192.0.2.1", HARVEST, 0.0) is None
    block = make_block()
    table.put(block, 3600.0)
    assert table.find("192.0.2.1", HARVEST, 3599.999) == block
    assert table.find("192.0.2.1", HARVEST, 3600.0) is None


def test_another_client_kind_or_account_has_none() -> None:
    table = BlockTable()
    table.put(make_block(kind=LOGIN, account="anna@example.org"), 10.0)
    assert table.find("192.0.2.1", LOGIN, 0.0, "anna@example.org") is not None
    assert table.find("192.0.2.1", LOGIN, 0.0, "bert@example.org") is None
    assert table.find("192.0.2.1", LOGIN, 0.0) is None
    assert table.find("192.0.2.1", HARVEST, 0.0, "anna@example.org") is None
    assert table.find("192.0.2.2", LOGIN, 0.0, "anna@example.org") is None


def test_a_new_block_takes_the_place_of_the_old_one() -> None:
    table = BlockTable()
    table.put(make_block(), 10.0)
    table.put(make_block(), 20.0)
    assert len(table) == 1
    assert table.take_ended(10.0) == []
    assert table.take_ended(20.0) == [make_block()]
    assert len(table) == 0


def test_they_are_listed_by_client_with_the_time_they_have_left() -> None:
    table = BlockTable()
    table.put(make_block("192.0.2.2"), 10.0)
    table.put(make_block("192.0.2.1", LOGIN), 30.0)
    table.put(make_block("192.0.2.1"), 20.0)
    assert table.lasting(15.0) == [
        (make_block("192.0.2.1"), 5.0),
        (make_block("192.0.2.1", LOGIN), 15.0),
    ]


def test_lifting_gives_what_was_lifted() -> None:
    table = BlockTable()
    table.put(make_block(), 10.0)
    table.put(make_block(kind=LOGIN), 10.0)
    table.put(make_block("192.0.2.2"), 10.0)
    assert table.remove("192.0.2.1", LOGIN) == [make_block(kind=LOGIN)]
    assert table.remove("192.0.2.1") == [make_block()]
    assert table.remove("192.0.2.1") == []
    assert len(table) == 1


def test_those_that_ended_are_given_once_in_the_order_of_their_ends() -> None:
    table = BlockTable()
    table.put(make_block("192.0.2.1"), 30.0)
    table.put(make_block("192.0.2.2"), 10.0)
    table.put(make_block("192.0.2.3"), 20.0)
    table.put(make_block("192.0.2.4"), 5.0)
    table.remove("192.0.2.4")
    assert table.next_end == 10.0
    assert table.take_ended(20.0) == [make_block("192.0.2.2"), make_block("192.0.2.3")]
    assert table.take_ended(20.0) == []
    assert table.next_end == 30.0


def test_where_there_is_no_block_none_can_be_taken() -> None:
    assert BlockTable().next_end is None
    with pytest.raises(IndexError):
        BlockTable().take_next()


def test_blocks_that_are_made_anew_again_and_again_leave_nothing_behind() -> None:
    table = BlockTable()
    for number in range(10_000):
        table.put(make_block(), float(number))
    assert len(table._ends) < 1100
    assert table.next_end == 9999.0
