from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kms.policy.block import Block, BlockKind
from kms.policy.client_memory import HOUR_SECONDS, MOST_CLIENTS, ClientMemory, SlidingTally

ROOT = Path(__file__).parents[2]
CLIENT, OTHER = "192.0.2.1", "192.0.2.2"
SINCE = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def make_block(client: str) -> Block:
    return Block(client, BlockKind.HARVEST, SINCE, SINCE + timedelta(hours=1), "for a test")


class TestSlidingTally:
    def test_an_event_counts_for_an_hour_exactly(self) -> None:
        tally = SlidingTally()
        tally.add(CLIENT, 100.0)
        assert tally.count(CLIENT, 100.0) == 1
        assert tally.count(CLIENT, 100.0 + HOUR_SECONDS - 0.001) == 1
        assert tally.count(CLIENT, 100.0 + HOUR_SECONDS) == 0

    def test_clients_are_counted_apart(self) -> None:
        tally = SlidingTally()
        tally.add(CLIENT, 1.0)
        tally.add(CLIENT, 2.0)
        tally.add(OTHER, 3.0)
        assert (tally.count(CLIENT, 3.0), tally.count(OTHER, 3.0), tally.count("192.0.2.3", 3.0)) == (2, 1, 0)

    def test_it_slides_and_does_not_jump_from_hour_to_hour(self) -> None:
        tally = SlidingTally()
        for second in (1790.0, 1800.0, 3590.0, 3610.0, 5380.0):
            tally.add(CLIENT, second)
        assert tally.count(CLIENT, 5389.9) == 5
        assert tally.count(CLIENT, 5390.0) == 4
        assert tally.count(CLIENT, 5400.0) == 3

    def test_events_that_are_too_old_are_forgotten_as_others_come(self) -> None:
        tally = SlidingTally()
        for second in range(20_000):
            tally.add(CLIENT, float(second))
        assert tally.count(CLIENT, 19_999.0) == 3600
        assert tally.instants <= 2 * 3600 + 1

    def test_it_says_when_there_is_room_again(self) -> None:
        tally = SlidingTally()
        for second in (10.0, 20.0, 30.0):
            tally.add(CLIENT, second)
        assert tally.room_at(CLIENT, 4, 40.0) == 40.0
        assert tally.room_at(CLIENT, 3, 40.0) == 10.0 + HOUR_SECONDS
        assert tally.room_at(CLIENT, 1, 40.0) == 30.0 + HOUR_SECONDS
        assert tally.room_at(OTHER, 1, 40.0) == 40.0

    def test_the_sweep_forgets_those_whose_last_event_is_an_hour_old(self) -> None:
        tally = SlidingTally()
        tally.add(CLIENT, 1.0)
        tally.add(OTHER, 2.0)
        tally.add(CLIENT, 3.0)
        tally.forget_ended(2.0 + HOUR_SECONDS)
        assert (len(tally), tally.instants) == (1, 2)
        tally.forget_ended(3.0 + HOUR_SECONDS)
        assert (len(tally), tally.instants) == (0, 0)

    def test_a_forgotten_client_counts_from_nothing(self) -> None:
        tally = SlidingTally()
        tally.add(CLIENT, 1.0)
        tally.forget(CLIENT)
        tally.forget(OTHER)
        assert (tally.count(CLIENT, 2.0), tally.instants) == (0, 0)


class TestClientMemory:
    def test_the_idlest_tally_goes_first_of_whichever_kind(self) -> None:
        memory = ClientMemory(most_clients=2)
        memory.count_message("a", 1.0)
        memory.count_unknown_recipient("b", 2.0)
        memory.count_message("c", 3.0)
        assert (memory.messages.count("a", 3.0), memory.unknown_recipients.count("b", 3.0)) == (0, 1)
        memory.count_message("c", 4.0)
        memory.count_message("d", 5.0)
        assert (memory.unknown_recipients.count("b", 5.0), memory.messages.count("c", 5.0)) == (0, 2)

    def test_no_block_is_forgotten_while_there_is_a_tally(self) -> None:
        memory = ClientMemory(most_clients=3)
        for name in ("a", "b", "c"):
            memory.count_message(name, 1.0)
        for number in range(3):
            memory.block(make_block(f"blocked{number}"), 100.0 + number)
        assert (len(memory.messages), len(memory.blocks)) == (0, 3)
        memory.count_message("d", 2.0)
        assert (len(memory.messages), len(memory.blocks)) == (0, 3)

    def test_of_blocks_alone_the_one_that_ends_first_is_forgotten(self) -> None:
        memory = ClientMemory(most_clients=2)
        memory.block(make_block("a"), 30.0)
        memory.block(make_block("b"), 10.0)
        memory.block(make_block("c"), 20.0)
        assert [block.client for block, _ in memory.blocks.lasting(0.0)] == ["a", "c"]

    def test_instants_are_bounded_too(self) -> None:
        memory = ClientMemory(most_instants=10)
        for second in range(6):
            memory.count_message("a", float(second))
        for second in range(5):
            memory.count_message("b", 6.0 + second)
        assert (memory.messages.count("a", 11.0), memory.messages.count("b", 11.0)) == (0, 5)

    def test_the_sweep_forgets_old_tallies_and_leaves_blocks(self) -> None:
        memory = ClientMemory()
        memory.count_message("a", 1.0)
        memory.count_unknown_recipient("a", 1.0)
        memory.block(make_block("a"), 2.0)
        memory.forget_ended(1.0 + HOUR_SECONDS)
        assert (len(memory), len(memory.blocks)) == (1, 1)


FLOOD = """
import resource, sys, time
from ipaddress import IPv4Address, IPv6Address
from kms.policy.client_memory import ClientMemory
from kms.policy.limits import client_key
from tests.policy.test_client_memory import CLIENT, make_block

def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

memory = ClientMemory()
what = sys.argv[1]
if what != "blocks":
    memory.block(make_block(CLIENT), 1e9)
before, began = resident(), time.process_time()
for number in range(1_000_000):
    if what == "messages":
        memory.count_message(client_key(IPv4Address(0x0B000000 + number)), number / 1000)
    elif what == "unknown recipients":
        client = client_key(IPv6Address((0x20010DB8 << 96) + (number << 64) + 1))
        memory.count_unknown_recipient(client, number / 1000)
    else:
        memory.block(make_block(client_key(IPv4Address(0x0B000000 + number))), float(number))
blocked = what == "blocks" or bool(memory.blocks.lasting(0.0))
print(len(memory), resident() - before, time.process_time() - began, blocked)
"""


@pytest.mark.parametrize("what", ["messages", "unknown recipients", "blocks"])
def test_a_million_different_sources_cost_less_than_100_mb_and_a_minute(what: str) -> None:
    """An active block outlives them all. In a process of its own, without coverage: see what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    ran = subprocess.run(
        [sys.executable, "-c", FLOOD, what],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    clients, megabytes, seconds, is_blocked = ran.stdout.split()
    print(f"a million sources, {what}: {megabytes} MB more resident, {seconds} s of CPU")
    assert int(clients) == MOST_CLIENTS
    assert float(megabytes) < 100
    assert float(seconds) < 60
    assert is_blocked == "True"
