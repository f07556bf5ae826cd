"""A POP3 client that sends no more, but listens, gets all its answers; QUIT alone deletes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface.verify import verifyObject

from kms.service.pop3_connection import Pop3Connection
from tests.service.test_pop3_listener import CLIENT, JOE, Wire, World, lose

SLOW_LOGIN = b"USER slow\r\nPASS x\r\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.fill(b"a\r\n", b"b\r\n")
    return world


def end_slow_login(world: World) -> None:
    assert world.portal.pending is not None
    world.portal.pending.callback(None)


def messages(world: World) -> int:
    return len(os.listdir(f"{world.mailboxes.folder(JOE)}/new"))


def is_forgotten(world: World, connection: Pop3Connection, wire: Wire, deleted: int = 0) -> bool:
    """It is closed by the server, and nothing of it is left."""
    assert wire.disconnecting
    assert wire.producer is None
    assert not world.is_locked()
    lose(connection)
    assert world.log.lines[-1] == ("ended", "joe@example.test", CLIENT, deleted)
    return world.factory.live == set()


def test_a_connection_is_told_of_the_end_of_the_input(world: World) -> None:
    connection, wire = world.connect()
    assert verifyObject(IHalfCloseableProtocol, connection)
    connection.writeConnectionLost()
    assert not wire.disconnecting


def test_who_closes_without_quit_deletes_nothing_and_is_gone_at_once(world: World) -> None:
    connection, wire = world.log_in()
    connection.dataReceived(b"DELE 1\r\nQUI")
    wire.sent()
    connection.readConnectionLost()
    assert wire.sent() == b""
    assert is_forgotten(world, connection, wire)
    assert messages(world) == 2


def test_all_that_waits_for_a_login_is_obeyed_and_quit_deletes(world: World) -> None:
    connection, wire = world.connect()
    connection.dataReceived(SLOW_LOGIN + b"DELE 1\r\nQUIT\r\n")
    connection.readConnectionLost()
    wire.sent()
    assert not wire.disconnecting
    end_slow_login(world)
    assert [line[:8] for line in wire.sent().splitlines()] == [b"+OK Logg", b"+OK Mess", b"+OK Bye"]
    assert is_forgotten(world, connection, wire, deleted=1)
    assert messages(world) == 1


def test_without_quit_the_last_answer_is_the_end_and_nothing_is_deleted(world: World) -> None:
    connection, wire = world.connect()
    connection.dataReceived(SLOW_LOGIN + b"DELE 1\r\nSTAT\r\nQUIT")
    connection.readConnectionLost()
    wire.sent()
    end_slow_login(world)
    assert wire.sent().endswith(b"+OK 1 3\r\n")
    assert is_forgotten(world, connection, wire)
    assert messages(world) == 2


def test_an_update_that_takes_its_time_is_answered(world: World) -> None:
    connection, wire = world.log_in()
    world.mailboxes.is_slow = True
    connection.dataReceived(b"DELE 1\r\nQUIT\r\n")
    connection.readConnectionLost()
    assert not wire.disconnecting
    world.mailboxes.work()
    assert wire.sent().endswith(b"+OK Bye\r\n")
    assert is_forgotten(world, connection, wire, deleted=1)


def test_a_message_is_sent_to_its_end_as_the_client_reads(world: World) -> None:
    world.fill(b"a\r\n", b"b\r\n", b"\r\n" + b"x\r\n" * 100_000)
    connection, wire = world.log_in()
    connection.pauseProducing()
    connection.dataReceived(b"RETR 3\r\n")
    connection.readConnectionLost()
    assert wire.sent() == b""
    assert not wire.disconnecting
    connection.resumeProducing()
    assert wire.sent().endswith(b"x\r\n.\r\n")
    assert is_forgotten(world, connection, wire)


def test_hundreds_of_commands_are_answered_to_the_last(world: World) -> None:
    connection, wire = world.log_in()
    connection.dataReceived(b"NOOP\r\n" * 500)
    connection.readConnectionLost()
    world.clock.pump([0.005] * 60)
    assert wire.sent() == b"+OK Nothing done\r\n" * 500
    assert is_forgotten(world, connection, wire)


def test_stls_is_no_use_any_more(world: World) -> None:
    connection, wire = world.connect()
    wire.sent()
    connection.pauseProducing()
    connection.dataReceived(b"STLS\r\n")
    connection.readConnectionLost()
    connection.resumeProducing()
    assert wire.sent() == b"+OK Begin TLS\r\n"
    assert wire.tls_started_by is None
    assert wire.disconnecting


def test_a_connection_that_breaks_while_it_waits_leaves_no_lock(world: World) -> None:
    connection, _ = world.connect()
    connection.dataReceived(SLOW_LOGIN + b"DELE 1\r\nQUIT\r\n")
    connection.readConnectionLost()
    lose(connection)
    end_slow_login(world)
    assert not world.is_locked()
    assert messages(world) == 2
    assert world.factory.live == set()


def test_a_client_that_never_reads_is_cut_in_its_time(world: World) -> None:
    connection, wire = world.log_in()
    connection.pauseProducing()
    connection.dataReceived(b"NOOP\r\n")
    connection.readConnectionLost()
    world.clock.pump([5.0] * 130)
    assert wire.is_aborted


def test_shutdown_ends_one_that_waits(world: World) -> None:
    connection, wire = world.connect()
    connection.dataReceived(SLOW_LOGIN + b"STAT\r\n")
    connection.readConnectionLost()
    drained = world.factory.drain()
    end_slow_login(world)
    assert is_forgotten(world, connection, wire)
    assert drained.called


def test_an_end_that_comes_while_we_close_changes_nothing(world: World) -> None:
    connection, wire = world.log_in()
    connection.dataReceived(b"QUIT\r\n")
    connection.readConnectionLost()
    assert wire.sent() == b"+OK Bye\r\n"
    assert is_forgotten(world, connection, wire)
