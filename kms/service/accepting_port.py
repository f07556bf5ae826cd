"""A listening port that stops accepting while the process has few descriptors left, and goes on when it has more.

Promises: the clients wait in the system's queue meanwhile and are served later, none is closed for want of a
descriptor; what is left is for the database, body files, deliveries and DNS; waiting costs a timer, not a busy loop.
Whoever a limit or a block would refuse at once waits until the others have been served, and costs a fraction of a
connection. Flow: the thin reactor makes these ports; the port's factory tells who is a suspect, and what is said to
one that is turned away, and makes the protocol of everybody else, as with Twisted's own.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.tcp import Port
from twisted.logger import Logger

_MOST_KEPT_BACK = 64
_PAUSE_SECONDS = 0.5
_MOST_SERVED_AT_ONCE = 12
_MOST_ACCEPTED_AT_ONCE = 64
_MOST_SUSPECTS_AT_ONCE = 4
_MOST_SUSPECTS = 256
_NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_NOBODY_THERE = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED, errno.EPERM))
_log = Logger(namespace="kms")


def raise_descriptor_limit() -> None:
    """Let this process open as many descriptors as the system permits it: the usual 1,024 are soon used up."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def count_descriptors_for_clients() -> int:
    """Give the number below which a client's descriptor must be: some are kept back for our own work."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit - min(_MOST_KEPT_BACK, limit // 4)


def _trust(_host: str) -> bool:
    return False


def _let_in(_host: str) -> bytes:
    return b""


def _say_and_close(client: socket.socket, goodbye: bytes) -> None:
    with client, suppress(OSError):
        client.send(goodbye, socket.MSG_DONTWAIT)


class AcceptingPort(Port):
    """One TCP port. The system gives the lowest free number to a new descriptor: that tells how many are open.

    A factory may have two more methods, both of a client's address, and called before a connection is made of it:
    `is_suspect` tells who has to wait for all others, and `turn_away` gives what is said to one of those instead of
    letting it in.
    """

    socket: Any
    reactor: Any
    _pausing: Any = None
    _has_told = False
    _is_suspect: Callable[[str], bool] = staticmethod(_trust)
    _turn_away: Callable[[str], bytes] = staticmethod(_let_in)
    _serving_suspects: Any = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._suspects: deque[tuple[socket.socket, Any]] = deque()

    def startListening(self) -> None:
        """Open the port."""
        self._end = count_descriptors_for_clients()
        self._is_suspect = getattr(self.factory, "is_suspect", _trust)
        self._turn_away = getattr(self.factory, "turn_away", _let_in)
        super().startListening()

    def doRead(self) -> None:
        """Accept who waits, few at a time: in a flood of connections the sessions have their turn too."""
        served = accepted = 0
        while served < _MOST_SERVED_AT_ONCE and accepted < _MOST_ACCEPTED_AT_ONCE:
            try:
                client, address = self.socket.accept()
            except OSError as error:
                self._take_error(error)
                break
            accepted += 1
            is_last = client.fileno() >= self._end - 1
            served += self._take(client, address)
            if is_last:
                self._pause()
                break
        self._serve_suspects_later()

    def _take(self, client: socket.socket, address: Any) -> bool:
        """Serve a client, or let it wait for the others; then False."""
        try:
            if len(self._suspects) < _MOST_SUSPECTS and self._is_suspect(address[0]):
                self._suspects.append((client, address))
                return False
            self._serve(client, address)
        except Exception:
            _log.failure("A connection could not be served")
            client.close()
        return True

    def _serve_suspects_later(self) -> None:
        if self._suspects and self._serving_suspects is None:
            self._serving_suspects = self.reactor.callLater(0, self._serve_suspects)

    def _serve_suspects(self) -> None:
        self._serving_suspects = None
        for _ in range(min(_MOST_SUSPECTS_AT_ONCE, len(self._suspects))):
            client, address = self._suspects.popleft()
            try:
                goodbye = self._turn_away(address[0])
                if goodbye:
                    _say_and_close(client, goodbye)
                else:
                    self._serve(client, address)
            except Exception:
                _log.failure("A suspect could not be turned away")
                client.close()
        self._serve_suspects_later()

    def _serve(self, client: socket.socket, address: Any) -> None:
        """Make a connection of an accepted client."""
        if len(address) == 4 and address[3]:  # an IPv6 address with a scope
            host = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
            address = (host, *address[1:])
        factory: Any = self.factory
        protocol = factory.buildProtocol(self._buildAddr(address))  # type: ignore[no-untyped-call]
        if protocol is None:
            client.close()
            return
        number, self.sessionno = self.sessionno, self.sessionno + 1
        transport = self.transport(client, protocol, address, self, number, self.reactor)
        protocol.makeConnection(transport)

    # Too few descriptors

    def _take_error(self, error: OSError) -> None:
        if error.errno in _NO_ROOM:
            self._pause()
        elif error.errno not in _NOBODY_THERE:
            _log.failure("Nobody could be accepted")

    def _pause(self) -> None:
        if not self._has_told:
            self._has_told = True
            _log.warn(
                "Descriptors are short: port {port} accepts nobody until some are free",
                port=self._realPortNumber,
            )
        self.stopReading()  # type: ignore[no-untyped-call]
        self._pausing = self.reactor.callLater(_PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._pausing = None
        if not self._has_room():
            self._pause()
            return
        self._has_told = False
        _log.info("Port {port} accepts again", port=self._realPortNumber)
        self.startReading()  # type: ignore[no-untyped-call]

    def _has_room(self) -> bool:
        try:
            probe = os.dup(self.socket.fileno())
        except OSError:
            return False
        os.close(probe)
        return probe < self._end

    def loseConnection(self, *reason: Any) -> Any:
        """Close the port."""
        if self._pausing is not None:
            self._pausing.cancel()
            self._pausing = None
        self._forget_suspects()
        return super().loseConnection(*reason)  # type: ignore[no-untyped-call]

    stopListening = loseConnection

    def _forget_suspects(self) -> None:
        if self._serving_suspects is not None:
            self._serving_suspects.cancel()
            self._serving_suspects = None
        while self._suspects:
            self._suspects.popleft()[0].close()
