from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from kms.domain.alarm_sentence import Alarm
from kms.policy.limits import ClientLimits, Limit
from kms.service.alarms import Alarms, follow_trips
from kms.service.clock import ClockOf
from kms.service.security_log import SecurityLog
from kms.store.schema import StoreError
from tests.support.smtp_rig import SmtpRig

CLIENT, ANNA = "203.0.113.9", "anna@example.org"


class World:
    """Alarms, and what came of them."""

    def __init__(self, folder: Path) -> None:
        self.reactor = Clock()
        clock = ClockOf(self.reactor)
        self.path = folder / "security.log"
        self.log = SecurityLog(str(self.path), clock)
        self.log.lines.open()
        self.mailed: list[Alarm] = []
        self.is_broken = False
        self.alarms = Alarms(3, self.mail, self.log, clock)

    def mail(self, alarm: Alarm) -> Deferred[None]:
        self.mailed.append(alarm)
        return fail(StoreError("the disk is full")) if self.is_broken else succeed(None)

    def told(self) -> list[str]:
        self.log.lines.flush()
        return [line.split("] ", 1)[1] for line in self.path.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_third_trip_within_an_hour_is_mailed_and_logged_once(world: World) -> None:
    for _ in range(10):
        world.alarms.tripped(Limit.MESSAGES_PER_HOUR, CLIENT)
    assert [alarm.limit for alarm in world.mailed] == ["messages_per_hour"]
    assert world.told() == [
        "Alarm: The limit messages_per_hour has stopped 203.0.113.9 3 times within an hour"
    ]


def test_an_accounts_brake_is_mailed_at_once_and_once(world: World) -> None:
    for _ in range(5):
        world.alarms.braked(Limit.ACCOUNT_NEW_RECIPIENTS_PER_DAY, ANNA)
    assert [(alarm.limit, alarm.who) for alarm in world.mailed] == [("account_new_recipients_per_day", ANNA)]


def test_a_gateway_is_mailed_once_until_it_was_quiet(world: World) -> None:
    world.alarms.after = 0
    for _ in range(2):
        world.alarms.found_gateway(CLIENT, 20, False)
    world.reactor.advance(3600)
    world.alarms.sweep()
    world.alarms.found_gateway(CLIENT, 21, False)
    assert len(world.mailed) == 2


def test_with_alarms_off_none_are_made(world: World) -> None:
    world.alarms.after = 0
    for _ in range(5):
        world.alarms.tripped(Limit.MESSAGES_PER_HOUR, CLIENT)
        world.alarms.braked(Limit.ACCOUNT_MESSAGES_PER_DAY, ANNA)
    assert world.mailed == []
    assert world.told() == []


def test_a_botnet_does_not_fill_the_postmasters_mailbox(world: World) -> None:
    for number in range(100):
        world.alarms.braked(Limit.MESSAGES_PER_HOUR, f"100.64.0.{number}")
    assert len(world.mailed) == 20
    assert len(world.told()) == 100
    world.reactor.advance(3600)
    world.alarms.braked(Limit.MESSAGES_PER_HOUR, CLIENT)
    assert len(world.mailed) == 21


def test_an_alarm_that_cannot_be_mailed_stops_nothing(world: World) -> None:
    world.is_broken = True
    world.alarms.braked(Limit.MESSAGES_PER_HOUR, CLIENT)
    assert len(world.told()) == 1


def test_a_client_that_runs_into_its_hourly_limit_again_and_again_raises_one(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "rig").mkdir()
    rig = SmtpRig(tmp_path / "rig", limits=ClientLimits(messages_per_hour=1))
    follow_trips(rig.decisions, world.alarms)
    client = rig.greeted(CLIENT)
    client.say("MAIL FROM:<>", "RCPT TO:<anna@example.org>", "DATA", "x", ".")
    for _ in range(4):
        assert client.say("MAIL FROM:<>")[0].startswith("450 4.7.")
    assert [(alarm.limit, alarm.who) for alarm in world.mailed] == [("messages_per_hour", CLIENT)]
    assert any("more than 1 messages within an hour" in line for line in rig.security_lines())
