"""The Unix socket on which `kmsctl` finds the API: its mode, and so the data folder's owner, is the key to it.

Promises: a socket file that a killed server left is no hindrance (whoever holds the data folder's lock may
remove it); the file is gone after `stop`.
Flow: mail_server.py starts it last and stops it late.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.web.server import Site

from kms.service.api import Api
from kms.service.control import Control
from kms.store.schema import StoreError

_IDLE_SECONDS = 120
_MODE = 0o600


class ControlSite(Site):
    """The API's HTTP; it keeps no access log (changes are in the operations log)."""

    noisy = False

    def __init__(self, control: Control, reactor: IReactorTime) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            Api(control), timeout=_IDLE_SECONDS, reactor=reactor
        )

    def log(self, request: Any) -> None:
        """Write nothing; called by twisted.web."""

    def startFactory(self) -> None:
        """Open no log and start no timer; called by Twisted."""

    def stopFactory(self) -> None:
        """Undo nothing; called by Twisted."""


class ControlSocket:
    """The control socket.

    Args:
        control: answers.
        path: of the socket file; its folder must be there, and locked by this process.
        reactor: listens.
    """

    def __init__(self, control: Control, path: Path, reactor: Any) -> None:
        self._control = control
        self._path = path
        self._reactor = reactor
        self._port: IListeningPort | None = None

    def start(self) -> None:
        """Listen; raises StoreError where that cannot be."""
        site = ControlSite(self._control, self._reactor)
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            self._port = self._reactor.listenUNIX(str(self._path), site, mode=_MODE)
        except (OSError, CannotListenError) as error:
            raise StoreError(f"The control socket {self._path} cannot be opened: {error}") from error

    def stop(self) -> Deferred[None]:
        """Stop listening; more than once does no harm."""
        port, self._port = self._port, None
        stopped: Deferred[None] = succeed(None)
        if port is not None:
            stopped.addCallback(lambda _: port.stopListening())
        return stopped
