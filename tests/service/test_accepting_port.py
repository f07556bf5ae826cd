"""Accepting, and the pause while descriptors are short: with a made-up listening socket and time by hand."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from kms.service.accepting_port import AcceptingPort, count_descriptors_for_clients, raise_descriptor_limit

END = 100
GONE = 90
FLOODER = "192.0.2.66"


class Reactor(Clock):
    """Knows who wants to read; what is called after no time comes in the next turn, as with real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []

    def turn(self) -> None:
        """Call what waits for the next turn, and no more."""
        for call in [call for call in self.getDelayedCalls() if call.getTime() <= self.seconds()]:
            function = call.func  # type: ignore[attr-defined]
            call.cancel()
            function()

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        if reader in self.readers:  # twice does no harm, as with epoll
            self.readers.remove(reader)


class Accepted:
    def __init__(self, number: int) -> None:
        self.number = number
        self.is_closed = False
        self.heard = b""

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        self.is_closed = True

    def __enter__(self) -> Accepted:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, data: bytes, flags: int) -> int:
        assert flags == socket.MSG_DONTWAIT, "a client that does not read holds nobody up"
        if self.number == GONE:
            raise BrokenPipeError(errno.EPIPE, "gone")
        self.heard += data
        return len(data)


class Listening:
    """Clients that wait, and errors, in order; then there is nobody."""

    def __init__(self) -> None:
        self.waiting: list[int | OSError] = []
        self.accepted: list[Accepted] = []
        self.address: tuple[Any, ...] = ("192.0.2.7", 40_000)
        self.addresses: dict[int, tuple[Any, ...]] = {}

    def accept(self) -> tuple[Accepted, tuple[Any, ...]]:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "nobody")
        one = self.waiting.pop(0)
        if isinstance(one, OSError):
            raise one
        self.accepted.append(Accepted(one))
        return self.accepted[-1], self.addresses.get(one, self.address)

    def fileno(self) -> int:
        return 3


class Transport:
    def __init__(self, client: Accepted, protocol: Any, address: tuple[Any, ...], *more: Any) -> None:
        self.client, self.address = client, address


class Door(Factory):
    """Makes a protocol for everyone but those it is told to refuse."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Protocol] = []
        self.refuses = False
        self.fails = False

    def buildProtocol(self, addr: Any) -> Protocol | None:
        if self.fails:
            raise RuntimeError("a fault of ours")
        if self.refuses:
            return None
        self.made.append(Protocol())
        return self.made[-1]


def _fail_of(then: bytes) -> Callable[[str], bytes]:
    """Fail at the first call."""
    answers = iter((None, then))

    def answer(_: str) -> bytes:
        found = next(answers)
        if found is None:
            raise RuntimeError("a fault of ours")
        return found

    return answer


class Rig:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reactor = Reactor()
        self.door = Door()
        self.socket = Listening()
        self.free = END  # the lowest free descriptor, as `os.dup` would find it
        self.port = AcceptingPort(25, self.door, 50, "", self.reactor)
        self.port.socket = self.socket
        self.port._end = END
        self.port.numberAccepts = 100
        transport: Any = Transport
        self.port.transport = transport
        self.port.startReading()  # type: ignore[no-untyped-call]
        monkeypatch.setattr("kms.service.accepting_port.os.dup", self._dup)
        monkeypatch.setattr("kms.service.accepting_port.os.close", lambda number: None)

    def _dup(self, number: int) -> int:
        if self.free < 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self.free

    @property
    def is_reading(self) -> bool:
        return self.port in self.reactor.readers

    def accept(self, *waiting: int | OSError) -> list[int]:
        """Let these come; gives the descriptors of those that are served since."""
        before = len(self.door.made)
        self.socket.waiting += waiting
        self.port.doRead()
        return [protocol.transport.client.number for protocol in self.door.made[before:]]  # type: ignore[union-attr]

    def suspect(self, host: str) -> None:
        """Let the factory tell this of an address."""
        self.port._is_suspect = lambda other: other == host
        self.port._turn_away = lambda _: b"421 too many\r\n"

    def flood(self, numbers: range, last: int | None = None) -> None:
        """Let these come from the flooder in one turn, and somebody else as the last one."""
        self.socket.addresses = dict.fromkeys(numbers, (FLOODER, 40_000))
        self.accept(*numbers, *(() if last is None else (last,)))


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    with monkeypatch.context() as patched:
        yield Rig(patched)


def test_all_who_wait_are_served_at_once(rig: Rig) -> None:
    assert rig.accept(10, 11, 12) == [10, 11, 12]
    assert rig.is_reading


def test_of_a_crowd_few_are_taken_at_a_time_so_that_sessions_have_their_turn(rig: Rig) -> None:
    assert rig.accept(*range(10, 24)) == [*range(10, 22)]
    assert rig.accept() == [22, 23]


def test_whom_the_factory_refuses_is_closed(rig: Rig) -> None:
    rig.door.refuses = True
    assert rig.accept(10) == []
    assert rig.socket.accepted[0].is_closed


def test_a_suspect_hears_why_it_is_turned_away_and_gets_no_connection(rig: Rig) -> None:
    rig.suspect(rig.socket.address[0])
    assert rig.accept(10, GONE) == []
    assert [client.is_closed for client in rig.socket.accepted] == [False, False]
    rig.reactor.turn()
    assert [client.is_closed for client in rig.socket.accepted] == [True, True]
    assert rig.socket.accepted[0].heard == b"421 too many\r\n"
    assert rig.reactor.getDelayedCalls() == []


def test_a_suspect_that_is_none_any_more_is_served_late(rig: Rig) -> None:
    rig.suspect(rig.socket.address[0])
    assert rig.accept(10) == []
    rig.port._turn_away = lambda host: b""
    rig.reactor.turn()
    assert [protocol.transport.client.number for protocol in rig.door.made] == [10]  # type: ignore[union-attr]


def test_suspects_wait_for_all_others_and_are_few_at_a_time(rig: Rig) -> None:
    rig.suspect(FLOODER)
    rig.flood(range(10, 30))
    rig.flood(range(50, 80), last=80)
    assert [protocol.transport.client.number for protocol in rig.door.made] == [80]  # type: ignore[union-attr]
    for answered in (4, 8, 12):
        rig.reactor.turn()
        assert sum(client.is_closed for client in rig.socket.accepted) == answered


def test_when_too_many_suspects_wait_the_next_ones_are_looked_at_like_anybody(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kms.service.accepting_port._MOST_SUSPECTS", 2)
    rig.suspect(rig.socket.address[0])
    assert rig.accept(10, 11, 12) == [12]


def test_a_fault_with_a_suspect_costs_one_connection_and_is_logged(rig: Rig) -> None:
    rig.suspect(rig.socket.address[0])
    rig.accept(10, 11)
    rig.port._turn_away = _fail_of(b"421 too many\r\n")
    with capturedLogs() as logs:
        rig.reactor.turn()
    assert "A suspect could not be turned away" in str(logs)
    assert [client.heard for client in rig.socket.accepted] == [b"", b"421 too many\r\n"]
    assert all(client.is_closed for client in rig.socket.accepted)


def test_suspects_of_a_port_that_is_closed_are_closed(rig: Rig) -> None:
    rig.suspect(rig.socket.address[0])
    rig.accept(10, 11)
    rig.port.stopListening()
    assert all(client.is_closed for client in rig.socket.accepted)
    assert rig.reactor.getDelayedCalls() == []


def test_a_fault_costs_one_connection_and_is_logged(rig: Rig) -> None:
    rig.door.fails = True
    with capturedLogs() as logs:
        assert rig.accept(10) == []
    assert "A connection could not be served" in str(logs)
    assert rig.socket.accepted[0].is_closed
    rig.door.fails = False
    assert rig.accept(11) == [11]


def test_a_scope_stays_with_the_address(rig: Rig) -> None:
    rig.socket.address = ("::1", 40_000, 0, 0)
    rig.port._buildAddr = lambda address: address  # type: ignore[method-assign]
    rig.accept(10)
    assert rig.door.made[0].transport.address == ("::1", 40_000, 0, 0)  # type: ignore[union-attr]
    rig.socket.address = ("fe80::1", 40_000, 0, 1)
    rig.accept(11)
    assert rig.door.made[1].transport.address == ("fe80::1%lo", 40_000, 0, 1)  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPERM, errno.EAGAIN])
def test_a_client_that_has_gone_is_no_trouble(rig: Rig, number: int) -> None:
    with capturedLogs() as logs:
        assert rig.accept(OSError(number, "gone")) == []
    assert logs == []
    assert rig.is_reading


def test_an_error_nobody_expects_is_logged_and_accepting_goes_on(rig: Rig) -> None:
    with capturedLogs() as logs:
        assert rig.accept(OSError(errno.EBADF, "bad")) == []
    assert "Nobody could be accepted" in str(logs)
    assert rig.is_reading


# Too few descriptors


def test_the_last_descriptor_for_clients_is_served_and_then_accepting_pauses(rig: Rig) -> None:
    with capturedLogs() as logs:
        assert rig.accept(END - 2, END - 1, END) == [END - 2, END - 1]
    assert not rig.is_reading
    assert "Descriptors are short" in str(logs)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_no_descriptor_at_all_pauses_too(rig: Rig, number: int) -> None:
    assert rig.accept(10, OSError(number, "full"), 11) == [10]
    assert not rig.is_reading
    rig.free = 11
    rig.reactor.advance(0.5)
    assert rig.is_reading
    assert rig.accept() == [11]


def test_accepting_goes_on_as_soon_as_there_is_room_and_each_pause_is_told_once(rig: Rig) -> None:
    with capturedLogs() as logs:
        rig.accept(END - 1)
        for free in (END, -1, END + 5):
            rig.free = free
            rig.reactor.advance(0.5)
            assert not rig.is_reading
        rig.free = END - 1
        rig.reactor.advance(0.5)
        assert rig.is_reading
    told = [event["log_format"].split(":")[0] for event in logs]
    assert told == ["Descriptors are short", "Port {port} accepts again"]
    assert rig.reactor.getDelayedCalls() == []


def test_a_port_that_is_closed_while_it_pauses_leaves_no_timer(rig: Rig) -> None:
    rig.accept(END - 1)
    rig.port.stopListening()
    assert rig.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(("limit", "end"), [(64, 48), (256, 192), (1024, 960), (1_048_576, 1_048_512)])
def test_a_part_of_the_descriptors_is_kept_back(
    monkeypatch: pytest.MonkeyPatch, limit: int, end: int
) -> None:
    monkeypatch.setattr("kms.service.accepting_port.resource.getrlimit", lambda which: (limit, limit))
    assert count_descriptors_for_clients() == end


def test_the_limit_is_raised_as_far_as_the_system_permits() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
