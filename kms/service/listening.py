"""Opens and closes the ports of one service."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure

_OWNER_ONLY = 0o600
_MOST_WAITING = (
    1024  # clients that the system may keep until we accept them; more wait a second and try again
)


class CannotOpen(Exception):
    """A port or the store cannot be opened; its text is the one line for the operator (exit status 69)."""


class Ports:
    """The ports that were opened.

    Args:
        reactor: listens.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._open: list[Any] = []

    def listen(self, name: str, listener: str, factory: IProtocolFactory) -> None:
        """Listen at once.

        Args:
            name: of the service, for the error.
            listener: a port number (all addresses, IPv4 and IPv6), or a Twisted endpoint string.

        Raises:
            CannotOpen: the port is busy, or may not be opened.
        """
        for place in _endpoints(listener):
            try:
                opened = maybeDeferred(serverFromString(self._reactor, place).listen, factory)
            except ValueError as error:
                raise CannotOpen(f"kms: {name} cannot listen at {listener}: {error}") from error
            results: list[Any] = []
            opened.addBoth(results.append)
            if not results or isinstance(results[0], Failure):
                why = _reason(results[0]) if results else "no answer from the system"
                if place.startswith("tcp6:") and listener.isdecimal() and "not supported" in why:
                    self.listen(name, f"tcp:{listener}", factory)
                    continue
                raise CannotOpen(f"kms: {name} cannot listen at {listener}: {why}")
            _set_nodelay(results[0])
            self._open.append(results[0])

    def listen_unix(self, name: str, path: Path, factory: IProtocolFactory, mode: int = _OWNER_ONLY) -> None:
        """Listen at a Unix socket, which usually only its owner may use; one left by a killed server is replaced.

        Args:
            path: of the socket; no other server may be there, which the lock of the data folder sees to.

        Raises:
            CannotOpen: there is something else, or the system refuses.
        """
        try:
            if path.is_socket():
                path.unlink()
            self._open.append(self._reactor.listenUNIX(str(path), factory, mode=mode))
        except (OSError, CannotListenError) as error:
            why = getattr(getattr(error, "socketError", error), "strerror", None) or error
            raise CannotOpen(f"kms: {name} cannot listen at unix:{path}: {why}") from error

    def close(self) -> Deferred[Any]:
        """Stop listening at once; fires when all ports are closed."""
        ports, self._open = self._open, []
        return gatherResults([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)

    @property
    def hosts(self) -> list[Any]:
        """The addresses that were opened, as Twisted's address objects."""
        return [port.getHost() for port in self._open]


def _endpoints(listener: str) -> list[str]:
    """All addresses: one IPv6 socket serves IPv4 as well. A burst of clients finds room to wait in."""
    place = f"tcp6:{listener}:interface=\\:\\:" if listener.isdecimal() else listener
    if place.startswith(("tcp:", "tcp6:")) and ":backlog=" not in place:
        place += f":backlog={_MOST_WAITING}"
    return [place]


def _set_nodelay(port: Any) -> None:
    """Let replies leave at once; connections inherit it from the listening socket (Linux)."""
    listening = getattr(port, "socket", None)
    if listening is not None and listening.family in (socket.AF_INET, socket.AF_INET6):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reason(failure: Failure) -> str:
    error = failure.value
    if isinstance(error, CannotListenError):
        error = error.socketError
    return getattr(error, "strerror", None) or str(error)
