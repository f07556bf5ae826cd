from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kms.domain.address_group import ClientAddress
from kms.service.clock import ClockOf
from kms.service.relay_windows import RelayWindows
from kms.service.security_log import SecurityLog
from kms.store.relay_windows import RelayWindow, load_live
from kms.store.schema import StoreError
from tests.support.results import result_of
from tests.support.synchronous_database import SynchronousDatabase

HOME = ip_address("203.0.113.9")
OFFICE = ip_address("2001:db8::1")
ANNA, BERT = "anna@example.org", "bert@example.org"
HALF_HOUR = 1800


class JumpingClock(ClockOf):
    """A clock whose wall time can jump."""

    def __init__(self, reactor: Clock) -> None:
        super().__init__(reactor)
        self.jump = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.jump


class Rig:
    """Windows, their store and their log."""

    def __init__(self, folder: Path) -> None:
        self.reactor = Clock()
        self.reactor.advance(1_800_000_000)
        self.clock = JumpingClock(self.reactor)
        self.database = SynchronousDatabase()
        self.path = folder / "security.log"
        self.log = SecurityLog(str(self.path), self.clock)
        self.log.lines.open()
        self.windows = self.restarted()

    def restarted(self) -> RelayWindows:
        windows = RelayWindows(self.database, self.clock, self.log, timedelta(minutes=30))
        windows.take(load_live(self.database.connection, self.clock.now()))
        return windows

    def open(self, client: ClientAddress = HOME, user: str = ANNA) -> None:
        result_of(self.windows.open(client, user))

    def stored(self) -> list[tuple[str, str]]:
        rows = load_live(self.database.connection, datetime(1970, 1, 1, tzinfo=UTC))
        return [(row.address, row.user) for row in rows]

    def listed(self) -> list[tuple[str, str]]:
        return [(row.address, row.user) for row in self.windows.list()]

    def told(self) -> list[str]:
        self.log.lines.flush()
        return [line.split("] ", 1)[1] for line in self.path.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_login_opens_the_window_of_its_address_and_no_other(rig: Rig) -> None:
    rig.open()
    assert rig.windows.has_open(HOME)
    assert not rig.windows.has_open(OFFICE)
    assert rig.told() == [
        "Relay window of IP address 203.0.113.9 opened by user anna@example.org for 30 minutes"
    ]


def test_it_ends_when_its_time_is_over(rig: Rig) -> None:
    rig.open()
    rig.reactor.advance(HALF_HOUR - 0.1)
    assert rig.windows.has_open(HOME)
    rig.reactor.advance(0.1)
    assert not rig.windows.has_open(HOME)
    assert rig.listed() == []


def test_another_login_extends_it(rig: Rig) -> None:
    rig.open()
    rig.reactor.advance(1000)
    rig.open(user=BERT)
    rig.reactor.advance(HALF_HOUR - 1)
    assert rig.windows.has_open(HOME)
    rig.reactor.advance(1)
    assert not rig.windows.has_open(HOME)


def test_a_login_never_shortens_it(rig: Rig) -> None:
    rig.open()
    rig.windows.set_length(timedelta(minutes=1))
    rig.open()
    rig.reactor.advance(HALF_HOUR - 1)
    assert rig.windows.has_open(HOME)
    assert rig.restarted().has_open(HOME)


def test_a_changed_length_counts_from_the_next_login(rig: Rig) -> None:
    rig.windows.set_length(timedelta(minutes=1))
    rig.open()
    rig.reactor.advance(60)
    assert not rig.windows.has_open(HOME)


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)])
def test_no_jump_of_the_wall_clock_ends_or_stretches_it(rig: Rig, jump: timedelta) -> None:
    rig.open()
    rig.clock.jump = jump
    rig.reactor.advance(HALF_HOUR - 1)
    assert rig.windows.has_open(HOME)
    rig.reactor.advance(1)
    assert not rig.windows.has_open(HOME)


def test_windows_survive_a_restart_with_the_rest_of_their_time(rig: Rig) -> None:
    rig.open()
    rig.open(OFFICE, BERT)
    rig.reactor.advance(1000)
    windows = rig.restarted()
    assert windows.has_open(HOME)
    assert windows.list() == [
        RelayWindow("2001:db8::1", BERT, rig.clock.now() + timedelta(seconds=800)),
        RelayWindow("203.0.113.9", ANNA, rig.clock.now() + timedelta(seconds=800)),
    ]
    rig.reactor.advance(800)
    assert not windows.has_open(HOME)
    assert rig.restarted().list() == []


def test_a_window_counts_only_once_it_is_stored(rig: Rig) -> None:
    rig.database.is_held = True
    opening = Deferred.fromCoroutine(rig.windows.open(HOME, ANNA))
    assert not rig.windows.has_open(HOME)
    rig.database.release()
    result_of(opening)
    assert rig.windows.has_open(HOME)


def test_a_window_that_cannot_be_stored_is_not_opened(rig: Rig) -> None:
    rig.database.failures.append(StoreError("the disk is full"))
    with pytest.raises(StoreError):
        rig.open()
    assert not rig.windows.has_open(HOME)
    assert rig.told() == []


def test_windows_are_listed_by_address_and_user(rig: Rig) -> None:
    rig.open(HOME, BERT)
    rig.open(OFFICE, ANNA)
    rig.open(HOME, ANNA)
    assert rig.listed() == [("2001:db8::1", ANNA), ("203.0.113.9", ANNA), ("203.0.113.9", BERT)]


def test_revoking_one_users_window_leaves_the_others(rig: Rig) -> None:
    rig.open(user=ANNA)
    rig.open(user=BERT)
    assert result_of(rig.windows.revoke(HOME, ANNA)) == 1
    assert rig.windows.has_open(HOME)
    assert rig.listed() == rig.stored() == [("203.0.113.9", BERT)]
    assert rig.told()[-1] == "Relay window of IP address 203.0.113.9, user anna@example.org, revoked"


def test_an_address_can_be_revoked_with_all_its_windows(rig: Rig) -> None:
    rig.open(user=ANNA)
    rig.open(user=BERT)
    rig.open(OFFICE)
    assert result_of(rig.windows.revoke(HOME)) == 2
    assert not rig.windows.has_open(HOME)
    assert rig.listed() == rig.stored() == [("2001:db8::1", ANNA)]


def test_revoking_what_is_not_open_ends_nothing(rig: Rig) -> None:
    assert result_of(rig.windows.revoke(HOME)) == 0
    assert result_of(rig.windows.revoke_user(ANNA)) == 0
    assert rig.told() == []


def test_all_windows_of_a_user_end_together(rig: Rig) -> None:
    rig.open(HOME, ANNA)
    rig.open(OFFICE, ANNA)
    rig.open(OFFICE, BERT)
    assert result_of(rig.windows.revoke_user(ANNA)) == 2
    assert not rig.windows.has_open(HOME)
    assert rig.listed() == rig.stored() == [("2001:db8::1", BERT)]


@pytest.mark.parametrize("by_address", [True, False])
def test_a_window_that_was_being_stored_when_it_was_revoked_does_not_stay_open(
    rig: Rig, by_address: bool
) -> None:
    rig.database.is_held = True
    opening = Deferred.fromCoroutine(rig.windows.open(HOME, ANNA))
    revoke = rig.windows.revoke(HOME, ANNA) if by_address else rig.windows.revoke_user(ANNA)
    revoking = Deferred.fromCoroutine(revoke)
    rig.database.release()
    result_of(opening)
    assert result_of(revoking) == 1
    assert not rig.windows.has_open(HOME)
    assert rig.stored() == []


def test_the_sweep_forgets_what_has_ended(rig: Rig) -> None:
    rig.open(HOME)
    rig.reactor.advance(1000)
    rig.open(OFFICE)
    rig.reactor.advance(1000)
    result_of(rig.windows.sweep())
    assert rig.stored() == [("2001:db8::1", ANNA)]
    assert list(rig.windows._windows) == [OFFICE]
    assert rig.windows.has_open(OFFICE)


def test_a_login_forgets_what_has_ended_at_its_address(rig: Rig) -> None:
    rig.open(user=BERT)
    rig.reactor.advance(HALF_HOUR)
    rig.open(user=ANNA)
    assert list(rig.windows._windows[HOME]) == [ANNA]


CARL = "carl@example.org"


def test_an_address_of_too_many_users_opens_no_window_and_the_log_says_why(rig: Rig) -> None:
    rig.windows.max_users = 2
    rig.open(user=ANNA)
    rig.reactor.advance(600)
    rig.open(user=BERT)
    rig.open(user=CARL)
    assert rig.listed() == rig.stored() == [("203.0.113.9", ANNA), ("203.0.113.9", BERT)]
    assert rig.told()[-1] == (
        "Relay window of IP address 203.0.113.9 not opened for user carl@example.org: 3 users logged in from"
        " there within 30 minutes (pop_window_max_users)"
    )


def test_the_windows_that_such_an_address_has_run_out_and_others_are_untouched(rig: Rig) -> None:
    rig.windows.max_users = 2
    for user in (ANNA, BERT, CARL):
        rig.open(user=user)
    rig.reactor.advance(HALF_HOUR - 1)
    assert rig.windows.has_open(HOME)
    rig.open(user=ANNA)
    rig.open(OFFICE)
    rig.reactor.advance(1)
    assert not rig.windows.has_open(HOME)
    assert rig.windows.has_open(OFFICE)


def test_it_opens_windows_again_when_fewer_users_log_in(rig: Rig) -> None:
    rig.windows.max_users = 2
    for user in (ANNA, BERT, CARL):
        rig.open(user=user)
    rig.reactor.advance(HALF_HOUR)
    rig.open(user=CARL)
    assert rig.listed() == [("203.0.113.9", CARL)]


def test_users_of_before_a_restart_count(rig: Rig) -> None:
    rig.open(user=ANNA)
    rig.open(user=BERT)
    windows = rig.restarted()
    windows.max_users = 2
    result_of(windows.open(HOME, CARL))
    assert [window.user for window in windows.list()] == [ANNA, BERT]


def test_the_sweep_forgets_old_logins(rig: Rig) -> None:
    rig.windows.max_users = 2
    rig.open(HOME)
    rig.reactor.advance(HALF_HOUR - 1)
    rig.open(OFFICE)
    rig.reactor.advance(1)
    result_of(rig.windows.sweep())
    assert list(rig.windows._logins) == [OFFICE]
