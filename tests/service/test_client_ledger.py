from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from kms.policy.block import BlockKind
from kms.service.client_ledger import ClientLedger
from kms.service.clock import ClockOf
from kms.service.security_log import SecurityLog
from kms.store import client_ledger as store
from kms.store.schema import StoreError, to_us
from tests.support.queue_entries import count_messages
from tests.support.results import result_of
from tests.support.synchronous_database import SynchronousDatabase

CLIENT, OTHER = "203.0.113.9", "2001:db8::/64"
HARVEST = BlockKind.HARVEST
HOUR = timedelta(hours=1)


class JumpingClock(ClockOf):
    """A clock whose wall time can jump."""

    def __init__(self, reactor: Clock) -> None:
        super().__init__(reactor)
        self.jump = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.jump


class Rig:
    """A ledger, its store and its log."""

    def __init__(self, folder: Path) -> None:
        self.reactor = Clock()
        self.reactor.advance(1_800_000_000)
        self.clock = JumpingClock(self.reactor)
        self.database = SynchronousDatabase()
        self.path = folder / "security.log"
        self.log = SecurityLog(str(self.path), self.clock)
        self.log.lines.open()
        self.ledger = self.restarted()

    def restarted(self) -> ClientLedger:
        ledger = ClientLedger(self.database, self.clock, self.log)
        ledger.take(self.database.connection)
        ledger.start()
        return ledger

    def block(self, client: str = CLIENT, length: timedelta = HOUR) -> None:
        result_of(self.ledger.block(client, HARVEST, length, "a test"))

    def send(self, number: int) -> None:
        """Let a message be accepted, as the reception and the queue's store do."""
        place = self.ledger.reserve(CLIENT)
        event = place.event()
        at_us = to_us(event.at)
        count_messages(self.database.connection, [(number, event.client, at_us)])
        place.count()

    def told(self) -> list[str]:
        self.log.lines.flush()
        return [line.split("] ", 1)[1] for line in self.path.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_place_is_reserved_and_counted_once_or_given_back_once(rig: Rig) -> None:
    first, second = rig.ledger.reserve(CLIENT), rig.ledger.reserve(CLIENT)
    assert rig.ledger.messages_of(CLIENT) == 2
    first.give_back()
    first.give_back()
    assert rig.ledger.messages_of(CLIENT) == 1
    second.count()
    second.give_back()
    assert (rig.ledger.messages_of(CLIENT), rig.ledger.reserved.count(CLIENT)) == (1, 0)


def test_messages_of_the_last_hour_survive_a_restart_to_the_second(rig: Rig) -> None:
    rig.send(1)
    rig.reactor.advance(1000)
    rig.send(2)
    ledger = rig.restarted()
    assert ledger.messages_of(CLIENT) == 2
    rig.reactor.advance(2599)
    assert ledger.messages_of(CLIENT) == 2
    rig.reactor.advance(1)
    assert ledger.messages_of(CLIENT) == 1


def test_unknown_recipients_survive_a_restart(rig: Rig) -> None:
    rig.ledger.count_unknown_recipient(CLIENT)
    assert rig.restarted().unknown_recipients_of(CLIENT) == 1


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)])
def test_no_jump_of_the_wall_clock_lifts_or_stretches_a_block(rig: Rig, jump: timedelta) -> None:
    rig.block()
    rig.clock.jump = jump
    rig.reactor.advance(3599)
    assert rig.ledger.block_of(CLIENT, HARVEST)
    assert [block.until - rig.clock.now() for block in rig.ledger.blocks()] == [timedelta(seconds=1)]
    rig.reactor.advance(1)
    assert rig.ledger.block_of(CLIENT, HARVEST) is None


def test_a_block_lasts_its_hour_over_a_restart_and_its_end_is_told_once(rig: Rig) -> None:
    rig.block()
    rig.ledger.stop()
    rig.reactor.advance(1800)
    ledger = rig.restarted()
    rig.reactor.advance(1799)
    assert ledger.block_of(CLIENT, HARVEST)
    assert rig.told() == []
    rig.reactor.advance(1)
    assert ledger.block_of(CLIENT, HARVEST) is None
    assert rig.told() == ["Block of IP address 203.0.113.9 has ended: harvest"]
    assert store.load_blocks(rig.database.connection) == []


def test_a_block_that_ended_while_no_server_ran_is_told_of_at_the_start(rig: Rig) -> None:
    rig.block()
    rig.ledger.stop()
    rig.reactor.advance(7200)
    rig.restarted()
    assert rig.told() == ["Block of IP address 203.0.113.9 has ended: harvest"]
    rig.restarted()
    assert len(rig.told()) == 1


def test_a_block_that_was_made_in_a_wrong_future_is_no_longer_than_it_was(rig: Rig) -> None:
    rig.clock.jump = timedelta(days=3650)
    rig.block()
    rig.ledger.stop()
    rig.clock.jump = timedelta(0)
    ledger = rig.restarted()
    rig.reactor.advance(3600)
    assert ledger.block_of(CLIENT, HARVEST) is None


def test_blocks_end_each_at_its_own_time(rig: Rig) -> None:
    rig.block(CLIENT, HOUR)
    rig.block(OTHER, HOUR / 2)
    rig.reactor.advance(1800)
    assert rig.told() == ["Block of IP address 2001:db8::/64 has ended: harvest"]
    rig.reactor.advance(1800)
    assert len(rig.told()) == 2


def test_a_lifted_block_is_gone_and_the_client_counts_from_nothing(rig: Rig) -> None:
    rig.ledger.count_unknown_recipient(CLIENT)
    rig.block()
    assert result_of(rig.ledger.lift(CLIENT)) == 1
    assert result_of(rig.ledger.lift(CLIENT)) == 0
    assert (rig.ledger.blocks(), rig.ledger.unknown_recipients_of(CLIENT)) == ([], 0)
    assert rig.restarted().blocks() == []
    assert rig.told() == ["Block of IP address 203.0.113.9 was lifted: harvest"]


def test_a_block_that_cannot_be_stored_holds_all_the_same(rig: Rig) -> None:
    rig.database.failures.append(StoreError("the disk is full"))
    rig.block()
    assert rig.ledger.block_of(CLIENT, HARVEST)
    assert rig.restarted().blocks() == []


def test_the_sweep_forgets_what_is_an_hour_old(rig: Rig) -> None:
    rig.send(1)
    rig.ledger.count_unknown_recipient(CLIENT)
    rig.reactor.advance(3600)
    result_of(rig.ledger.sweep())
    assert len(rig.ledger.memory) == 0
    tables = ("counted_message", "unknown_recipient")
    counts = [
        rig.database.connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables
    ]
    assert counts == [0, 0]


def test_it_says_how_long_until_there_is_room(rig: Rig) -> None:
    rig.send(1)
    rig.reactor.advance(600)
    rig.send(2)
    assert rig.ledger.seconds_to_room(CLIENT, 2) == 3000
    assert rig.ledger.seconds_to_room(CLIENT, 3) == 0
