"""A listening port that stops accepting while the process has few descriptors left, and goes on when it has more.

Promises: the clients wait in the system's queue meanwhile and are served later, none is closed for want of a
descriptor; what is left is for the database, body files, deliveries and DNS; waiting costs a timer, not a busy loop.
Flow: the thin reactor makes these ports; whom a limit or a block would refuse at once is asked of the port's factory
first, then the protocol, as with Twisted's own.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.tcp import Port
from twisted.logger import Logger

_MOST_KEPT_BACK = 64
_PAUSE_SECONDS = 0.5
_MOST_AT_ONCE = 12
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


def _let_in(_host: str) -> bytes:
    return b""


def _say_and_close(client: socket.socket, goodbye: bytes) -> None:
    with client, suppress(OSError):
        client.send(goodbye, socket.MSG_DONTWAIT)


class AcceptingPort(Port):
    """One TCP port. The system gives the lowest free number to a new descriptor: that tells how many are open.

    A factory that has a method `turn_away` is asked for each client's address before a connection is made of it: what
    it gives is said, and that is all. In a flood of connections that takes a fraction of the time.
    """

    socket: Any
    reactor: Any
    _pausing: Any = None
    _has_told = False
    _turn_away: Callable[[str], bytes] = staticmethod(_let_in)

    def startListening(self) -> None:
        """Open the port."""
        self._end = count_descriptors_for_clients()
        self._turn_away = getattr(self.factory, "turn_away", _let_in)
        super().startListening()

    def doRead(self) -> None:
        """Accept who waits, few at a time: in a flood of connections the sessions have their turn too."""
        for _ in range(_MOST_AT_ONCE):
            try:
                client, address = self.socket.accept()
            except OSError as error:
                self._take_error(error)
                break
            is_last = client.fileno() >= self._end - 1
            self._serve(client, address)
            if is_last:
                self._pause()
                break

    def _serve(self, client: socket.socket, address: Any) -> None:
        if len(address) == 4 and address[3]:  # an IPv6 address with a scope
            host = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
            address = (host, *address[1:])
        try:
            factory: Any = self.factory
            goodbye = self._turn_away(address[0])
            if goodbye:
                _say_and_close(client, goodbye)
                return
            protocol = factory.buildProtocol(self._buildAddr(address))  # type: ignore[no-untyped-call]
            if protocol is None:
                client.close()
                return
            number, self.sessionno = self.sessionno, self.sessionno + 1
            transport = self.transport(client, protocol, address, self, number, self.reactor)
            protocol.makeConnection(transport)
        except Exception:
            _log.failure("A connection could not be served")
            client.close()

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
        return super().loseConnection(*reason)  # type: ignore[no-untyped-call]

    stopListening = loseConnection
