"""Wrong logins counted, clients refused, accounts slowed down: who is locked, and who is not."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from kms.domain.address_group import ClientAddress, build_groups
from kms.policy.limits import Limit
from kms.policy.login_guard import LoginRules
from kms.service.client_ledger import ClientLedger
from kms.service.clock import ClockOf
from kms.service.directory import DirectoryCache
from kms.service.login_guard import LoginGuard, LoginRefused
from kms.service.security_log import SecurityLog
from kms.store.schema import StoreError
from tests.support.results import result_of
from tests.support.smtp_rig import SETTINGS
from tests.support.synchronous_database import SynchronousDatabase

HOME = "203.0.113.9"
OFFICE = "198.51.100.1"
ANNA, BERT = "anna@example.org", "bert@example.org"
RULES = LoginRules(exempt_group=build_groups({"inner": ["10.0.0.0/8"]})["inner"])


class World:
    """A guard, and accounts whose password is "right"."""

    def __init__(self, folder: Path, rules: LoginRules = RULES) -> None:
        self.reactor = Clock()
        self.reactor.advance(1_800_000_000)
        clock = ClockOf(self.reactor)
        self.path = folder / "security.log"
        self.log = SecurityLog(str(self.path), clock)
        self.log.lines.open()
        self.blocks = ClientLedger(SynchronousDatabase(), clock, self.log)
        directory = DirectoryCache(cast(Any, None), SETTINGS)
        self.guard = LoginGuard(
            rules, directory, self.blocks, self.log, clock, lambda client: str(client) == "192.0.2.1"
        )
        self.tripped: list[tuple[Limit, str]] = []
        self.guard.on_tripped = lambda limit, client: self.tripped.append((limit, client))
        self.checked = 0

    def begin(self, client: str, user: str, password: str, is_shown: bool = True) -> Deferred[str]:
        """Begin a login; its result is the user, or an exception."""

        def prove() -> Deferred[str]:
            self.checked += 1
            return succeed(user) if password == "right" else fail(UnauthorizedLogin())

        address: ClientAddress = ip_address(client)
        secret = password if is_shown else None
        return Deferred.fromCoroutine(self.guard.watch(address, user, secret, prove))

    def log_in(self, client: str, user: str, password: str, is_shown: bool = True) -> str:
        """Log in, waiting out any delay: "in", "wrong" or "refused"."""
        outcome: list[Any] = []
        self.begin(client, user, password, is_shown).addBoth(outcome.append)
        if not outcome:
            self.reactor.advance(5)
        try:
            result_of(fail(outcome[0]) if not isinstance(outcome[0], str) else succeed(outcome[0]))
        except UnauthorizedLogin:
            return "wrong"
        except LoginRefused:
            return "refused"
        return "in"

    def guess(self, client: str, user: str, count: int, is_shown: bool = True) -> list[str]:
        """Try so many different passwords."""
        return [self.log_in(client, user, f"guess {number}", is_shown) for number in range(count)]

    def told(self) -> list[str]:
        self.log.lines.flush()
        return [line.split("] ", 1)[1] for line in self.path.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# The office


def test_an_old_phone_with_a_wrong_password_locks_nobody(world: World) -> None:
    for _ in range(500):
        assert world.log_in(OFFICE, ANNA, "of last year") == "wrong"
        world.reactor.advance(60)
    assert world.log_in(OFFICE, ANNA, "right") == "in"
    assert world.log_in(OFFICE, BERT, "right") == "in"
    assert world.tripped == []


def test_an_old_phone_whose_mechanism_shows_no_password_locks_only_itself(world: World) -> None:
    """The server cannot see that it is always the same password."""
    for minute in range(180):
        world.log_in(OFFICE, ANNA, "of last year", is_shown=False)
        if minute > 10:
            assert world.log_in(OFFICE, BERT, "right", is_shown=False) == "in"
        world.reactor.advance(60)
    assert {limit for limit, _ in world.tripped} == {Limit.FAILED_LOGINS}


def test_guessing_one_users_password_locks_that_pair(world: World) -> None:
    assert world.guess(HOME, ANNA, 10) == ["wrong"] * 10
    assert world.log_in(HOME, ANNA, "right") == "refused"
    assert world.checked == 10
    assert world.log_in(HOME, BERT, "right") == "in"
    assert world.log_in(OFFICE, ANNA, "right") == "in"
    assert world.tripped == [(Limit.FAILED_LOGINS, HOME)]


def test_a_password_spray_locks_its_address(world: World) -> None:
    """One password for many accounts."""
    users = [f"user{number}@example.org" for number in range(40)]
    said = [world.log_in(HOME, user, "Summer2026") for user in users]
    assert said == ["wrong"] * 30 + ["refused"] * 10
    assert world.log_in(HOME, ANNA, "right") == "refused"
    assert world.log_in(OFFICE, ANNA, "right") == "in"
    assert world.tripped == [(Limit.FAILED_LOGINS_PER_ADDRESS, HOME)]


def test_a_botnet_of_a_thousand_addresses_slows_an_account_down_and_locks_nobody(world: World) -> None:
    for number in range(1000):
        client = f"100.64.{number // 250}.{number % 250}"
        assert world.log_in(client, ANNA, f"guess {number}") == "wrong"
    assert world.tripped == []
    began = world.reactor.seconds()
    waiting = world.begin(OFFICE, ANNA, "right")
    assert not waiting.called
    world.reactor.advance(5)
    assert result_of(waiting) == ANNA
    assert world.reactor.seconds() - began == 5
    assert result_of(world.begin(OFFICE, BERT, "right")) == BERT


# Blocks


def test_a_block_ends_after_its_time_and_begins_anew_with_the_next_wrong_password(world: World) -> None:
    world.guess(HOME, ANNA, 10)
    world.reactor.advance(299)
    assert world.log_in(HOME, ANNA, "right") == "refused"
    world.reactor.advance(1)
    assert world.log_in(HOME, ANNA, "right") == "in"
    assert world.log_in(HOME, ANNA, "guess 3") == "wrong"
    assert world.log_in(HOME, ANNA, "right") == "in"
    assert world.log_in(HOME, ANNA, "one more") == "wrong"
    assert world.log_in(HOME, ANNA, "right") == "refused"


def test_after_a_quiet_window_all_is_forgotten(world: World) -> None:
    world.guess(HOME, ANNA, 9)
    world.reactor.advance(3600)
    world.guard.sweep()
    assert world.guess(HOME, ANNA, 9) == ["wrong"] * 9
    assert world.log_in(HOME, ANNA, "right") == "in"


def test_ipv6_clients_are_one_by_their_network(world: World) -> None:
    for number in range(10):
        assert world.log_in(f"2001:db8::{number:x}", ANNA, f"guess {number}") == "wrong"
    assert world.log_in("2001:db8::ffff", ANNA, "right") == "refused"
    assert world.log_in("2001:db8:0:1::1", ANNA, "right") == "in"


@pytest.mark.parametrize("client", ["10.1.2.3", "192.0.2.1"])
def test_exempt_and_own_addresses_are_never_refused_nor_delayed(world: World, client: str) -> None:
    for number in range(20):
        world.log_in(f"100.64.0.{number}", ANNA, "wrong")
    assert world.guess(client, ANNA, 100) == ["wrong"] * 100
    assert result_of(world.begin(client, ANNA, "right")) == ANNA


def test_trouble_of_ours_counts_nothing(world: World) -> None:
    for _ in range(50):
        broken = world.guard.watch(ip_address(HOME), ANNA, "x", lambda: fail(StoreError("the disk is gone")))
        with pytest.raises(StoreError):
            result_of(broken)
    assert world.log_in(HOME, ANNA, "right") == "in"


def test_limits_that_are_off_block_nobody_but_keep_the_pace(tmp_path: Path) -> None:
    world = World(tmp_path, attrs.evolve(RULES, failed_logins=0, failed_logins_per_address=0))
    said = world.guess(HOME, ANNA, 100)
    assert said == ["wrong"] * 30 + ["refused"] * 70
    world.reactor.advance(60)
    assert world.log_in(HOME, ANNA, "right") == "in"
    assert world.tripped == []


def test_limits_that_are_observed_only_tell(tmp_path: Path) -> None:
    observed = frozenset({Limit.FAILED_LOGINS, Limit.FAILED_LOGINS_PER_ADDRESS})
    world = World(tmp_path, attrs.evolve(RULES, failed_logins_per_address=10, observed=observed))
    world.guess(HOME, ANNA, 10)
    assert world.log_in(HOME, ANNA, "right") == "in"
    assert world.told() == [
        "Logins from 203.0.113.9, user anna@example.org would be refused by failed_logins, which only observes",
        "Logins from 203.0.113.9 would be refused by failed_logins_per_address, which only observes",
    ]
    assert world.tripped == []


# Many at once


@pytest.fixture
def held() -> list[Deferred[str]]:
    """Checks under way, which end when they are told."""
    checks: list[Deferred[str]] = []
    return checks


def test_many_at_once_get_no_more_guesses_than_one_after_the_other(
    world: World, held: list[Deferred[str]]
) -> None:
    def prove() -> Deferred[str]:
        held.append(Deferred())
        return held[-1]

    outcomes: list[Any] = []
    for number in range(100):
        watched = world.guard.watch(ip_address(HOME), ANNA, f"guess {number}", prove)
        Deferred.fromCoroutine(watched).addBoth(outcomes.append)
    assert len(held) == 10
    for check in held:
        check.errback(UnauthorizedLogin())
    assert len(held) == 10
    assert [outcome.type for outcome in outcomes].count(LoginRefused) == 90


def test_right_logins_wait_for_each_other_and_all_get_in(world: World, held: list[Deferred[str]]) -> None:
    def prove() -> Deferred[str]:
        held.append(Deferred())
        return held[-1]

    outcomes: list[Any] = []
    for _ in range(100):
        watched = world.guard.watch(ip_address(OFFICE), ANNA, "right", prove)
        Deferred.fromCoroutine(watched).addBoth(outcomes.append)
    done = 0
    while done < len(held):
        held[done].callback("in")
        done += 1
    assert outcomes == ["in"] * 100


def test_more_than_can_wait_are_put_off(
    world: World, held: list[Deferred[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kms.service.login_guard._MOST_WAITING", 5)

    def prove() -> Deferred[str]:
        held.append(Deferred())
        return held[-1]

    outcomes: list[Any] = []
    for _ in range(16):
        watched = world.guard.watch(ip_address(OFFICE), ANNA, "right", prove)
        Deferred.fromCoroutine(watched).addBoth(outcomes.append)
    assert [outcome.type for outcome in outcomes] == [LoginRefused]


def test_a_window_shorter_than_a_minute_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path, attrs.evolve(RULES, window=timedelta(seconds=10)))
    world.guess(HOME, ANNA, 9)
    world.reactor.advance(10)
    assert world.guess(HOME, ANNA, 9) == ["wrong"] * 9
    assert world.log_in(HOME, ANNA, "right") == "in"
