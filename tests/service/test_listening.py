from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock

from kms.service.listening import CannotOpen, Ports, _set_nodelay
from tests.support.results import result_of

FACTORY = Factory.forProtocol(Protocol)


class PickyReactor(MemoryReactorClock):
    """Refuses some ports, and some interfaces, with an error of the system."""

    def __init__(self, refused: dict[tuple[int, str], int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.refused = refused

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        number = self.refused.get((port, interface))
        if number is not None:
            raise CannotListenError(interface, port, OSError(number, os.strerror(number)))
        return super().listenTCP(port, factory, backlog, interface)  # type: ignore[no-untyped-call]


def opened(reactor: MemoryReactorClock) -> list[tuple[int, str]]:
    return [(server[0], server[3]) for server in reactor.tcpServers]


def test_a_port_number_means_all_addresses_of_both_families() -> None:
    reactor = MemoryReactorClock()
    ports = Ports(reactor)
    ports.listen("smtp", "2525", FACTORY)
    assert opened(reactor) == [(2525, "::")]
    assert len(ports.hosts) == 1


def test_an_endpoint_string_is_taken_as_it_is() -> None:
    reactor = MemoryReactorClock()
    ports = Ports(reactor)
    ports.listen("smtp", "tcp:2525:interface=127.0.0.1", FACTORY)
    ports.listen("pop3", "tcp:2110:interface=127.0.0.1", FACTORY)
    assert opened(reactor) == [(2525, "127.0.0.1"), (2110, "127.0.0.1")]
    assert len(ports.hosts) == 2


@pytest.mark.parametrize(
    ("listener", "backlog"),
    [("2525", 1024), ("tcp:2525:interface=127.0.0.1", 1024), ("tcp:2525:backlog=7", 7)],
)
def test_a_burst_of_clients_finds_room_to_wait_in(listener: str, backlog: int) -> None:
    reactor = MemoryReactorClock()
    Ports(reactor).listen("smtp", listener, FACTORY)
    assert [server[2] for server in reactor.tcpServers] == [backlog]


def test_a_listening_socket_lets_replies_leave_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Port:
        def __init__(self, family: int) -> None:
            self.socket = socket.socket(family, socket.SOCK_STREAM)

    class Endpoint:
        def __init__(self, place: str) -> None:
            self.place = place

        def listen(self, factory: object) -> Deferred[Port]:
            return succeed(Port(socket.AF_UNIX if self.place.startswith("unix") else socket.AF_INET))

    monkeypatch.setattr("kms.service.listening.serverFromString", lambda reactor, place: Endpoint(place))
    ports = Ports(MemoryReactorClock())
    ports.listen("smtp", "tcp:25", FACTORY)
    ports.listen("lmtp", "unix:lmtp.sock", FACTORY)
    tcp, unix = (port.socket for port in ports._open)
    with tcp, unix:
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_machine_without_ipv6_listens_at_ipv4() -> None:
    reactor = PickyReactor({(2525, "::"): errno.EAFNOSUPPORT})
    ports = Ports(reactor)
    ports.listen("smtp", "2525", FACTORY)
    assert opened(reactor) == [(2525, "")]
    assert len(ports.hosts) == 1


@pytest.mark.parametrize(
    ("listener", "number", "why"),
    [
        ("2525", errno.EADDRINUSE, "Address already in use"),
        ("25", errno.EACCES, "Permission denied"),
        ("tcp:2525:interface=192.0.2.1", errno.EADDRNOTAVAIL, "Cannot assign requested address"),
    ],
)
def test_a_port_that_cannot_be_opened_is_told_in_one_line(listener: str, number: int, why: str) -> None:
    reactor = PickyReactor({(2525, "::"): number, (25, "::"): number, (2525, "192.0.2.1"): number})
    with pytest.raises(CannotOpen) as caught:
        Ports(reactor).listen("smtp", listener, FACTORY)
    assert str(caught.value) == f"kms: smtp cannot listen at {listener}: {why}"


def test_where_neither_family_can_be_opened_the_last_reason_is_told() -> None:
    reactor = PickyReactor({(2525, "::"): errno.EAFNOSUPPORT, (2525, ""): errno.EADDRINUSE})
    with pytest.raises(CannotOpen, match="Address already in use"):
        Ports(reactor).listen("smtp", "2525", FACTORY)


@pytest.mark.parametrize("listener", ["nonsense:25", "tcp:port", "tcp:", ""])
def test_a_listener_that_is_none_is_told_in_one_line(listener: str) -> None:
    with pytest.raises(CannotOpen) as caught:
        Ports(MemoryReactorClock()).listen("smtp", listener, FACTORY)
    assert str(caught.value).startswith("kms: smtp cannot listen at ")
    assert "\n" not in str(caught.value)


def test_ports_are_closed_together() -> None:
    closed: list[int] = []

    class Port:
        def __init__(self, number: int, closing: Deferred[None]) -> None:
            self.number, self.closing = number, closing

        def stopListening(self) -> Deferred[None]:
            closed.append(self.number)
            return self.closing

    ports = Ports(MemoryReactorClock())
    waits: list[Deferred[None]] = [Deferred(), Deferred()]
    ports._open = [Port(number, waiting) for number, waiting in enumerate(waits)]
    closing = ports.close()
    assert closed == [0, 1]
    assert ports.hosts == []
    waits[0].callback(None)
    assert not closing.called
    waits[1].callback(None)
    result_of(closing)
    result_of(ports.close())
    assert closed == [0, 1]


def test_a_port_that_gives_no_answer_is_not_taken_for_open(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def listen(self, factory: object) -> Deferred[None]:
            return Deferred()

    monkeypatch.setattr("kms.service.listening.serverFromString", lambda reactor, place: Silent())
    with pytest.raises(CannotOpen, match="no answer from the system"):
        Ports(MemoryReactorClock()).listen("smtp", "2525", FACTORY)


def test_an_error_of_another_kind_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def listen(self, factory: object) -> None:
            raise RuntimeError("broken")

    monkeypatch.setattr("kms.service.listening.serverFromString", lambda reactor, place: Broken())
    with pytest.raises(CannotOpen, match="cannot listen at 2525: broken"):
        Ports(MemoryReactorClock()).listen("smtp", "2525", FACTORY)


def test_connections_inherit_from_the_port_that_replies_leave_at_once() -> None:
    with socket.socket() as listening, socket.socket() as client:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        _set_nodelay(SimpleNamespace(socket=listening))
        client.connect(listening.getsockname())
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_unix_socket_is_its_owners_and_replaces_one_that_was_left(tmp_path: Path) -> None:
    path = tmp_path / "lmtp.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    reactor = MemoryReactorClock()
    Ports(reactor).listen_unix("lmtp", path, FACTORY)
    assert not path.exists()
    assert [(server[0], server[3]) for server in reactor.unixServers] == [(str(path), 0o600)]


def test_a_unix_socket_never_replaces_a_file_and_the_reason_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lmtp.sock"
    path.write_text("mine")

    class Reactor:
        def listenUNIX(self, *args: Any, **more: Any) -> Any:
            raise CannotListenError(None, str(path), OSError(errno.EADDRINUSE, "Address already in use"))

    with pytest.raises(CannotOpen) as caught:
        Ports(Reactor()).listen_unix("lmtp", path, FACTORY)
    assert str(caught.value) == f"kms: lmtp cannot listen at unix:{path}: Address already in use"
    assert path.read_text() == "mine"
