from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection

import pytest

from kms.store.relay_windows import RelayWindow, load_live, open_windows, purge, revoke, revoke_user
from kms.store.schema import IN_MEMORY, open_database
from tests.support.queue_entries import NOW

HALF_HOUR = timedelta(minutes=30)
UNTIL = NOW + HALF_HOUR
ANN = RelayWindow("192.0.2.1", "ann@a.test", UNTIL)
BOB = RelayWindow("192.0.2.1", "bob@a.test", UNTIL)
ELSEWHERE = RelayWindow("2001:db8::1", "ann@a.test", UNTIL)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with closing(open_database(IN_MEMORY)) as connection:
        yield connection


def test_windows_are_kept_for_each_address_and_user(connection: Connection) -> None:
    assert open_windows(connection, [ELSEWHERE, BOB, ANN]) == [None] * 3
    assert load_live(connection, NOW) == [ANN, BOB, ELSEWHERE]


def test_a_later_login_extends_a_window_and_none_shortens_it(connection: Connection) -> None:
    later = RelayWindow(ANN.address, ANN.user, UNTIL + HALF_HOUR)
    open_windows(connection, [ANN])
    open_windows(connection, [later])
    open_windows(connection, [ANN])
    assert load_live(connection, NOW) == [later]


def test_two_logins_in_one_group_leave_the_longer_window(connection: Connection) -> None:
    later = RelayWindow(ANN.address, ANN.user, UNTIL + HALF_HOUR)
    open_windows(connection, [later, ANN])
    assert load_live(connection, NOW) == [later]


def test_a_window_ends_at_its_instant(connection: Connection) -> None:
    open_windows(connection, [ANN])
    assert load_live(connection, UNTIL - timedelta(microseconds=1)) == [ANN]
    assert load_live(connection, UNTIL) == []


def test_revoking_one_user_leaves_the_others(connection: Connection) -> None:
    open_windows(connection, [ANN, BOB, ELSEWHERE])
    assert revoke(connection, ANN.address, ANN.user) == 1
    assert load_live(connection, NOW) == [BOB, ELSEWHERE]


def test_revoking_an_address_ends_all_its_windows(connection: Connection) -> None:
    open_windows(connection, [ANN, BOB, ELSEWHERE])
    assert revoke(connection, ANN.address) == 2
    assert load_live(connection, NOW) == [ELSEWHERE]


def test_revoking_a_user_ends_his_windows_everywhere(connection: Connection) -> None:
    open_windows(connection, [ANN, BOB, ELSEWHERE])
    assert revoke_user(connection, ANN.user) == 2
    assert load_live(connection, NOW) == [BOB]


def test_windows_survive_a_restart(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "kms.sqlite3")) as connection:
        open_windows(connection, [ANN])
    with closing(open_database(tmp_path / "kms.sqlite3")) as connection:
        assert load_live(connection, NOW) == [ANN]


def test_what_has_ended_is_forgotten(connection: Connection) -> None:
    open_windows(connection, [ANN, RelayWindow("192.0.2.9", "bob@a.test", UNTIL + HALF_HOUR)])
    assert purge(connection, UNTIL) == 1
    assert len(load_live(connection, NOW)) == 1


def test_an_impossible_row_is_no_window(connection: Connection) -> None:
    open_windows(connection, [ANN])
    connection.execute("UPDATE relay_window SET until_us = 9000000000000000000")
    assert load_live(connection, NOW) == []
