from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from kms.config.loader import read_settings
from kms.service.control import Control
from kms.service.control_socket import ControlSocket
from kms.store.schema import StoreError
from tests.support.control import FakeServer

SETTINGS = read_settings("[domains]\nlocal = a.test\n", Path("/srv/etc/kms.ini"))


class RefusingReactor(MemoryReactorClock):
    """A reactor on which nothing can listen."""

    def listenUNIX(self, address: str, *args: Any, **options: Any) -> Any:
        raise CannotListenError(None, address, OSError("no such folder"))


class ControlSocketTest(SynchronousTestCase):
    def setUp(self) -> None:
        server = FakeServer(SETTINGS)
        self.addCleanup(server.database.connection.close)
        self.control = Control(server, lambda: ())
        self.path = Path(self.mktemp())  # type: ignore[no-untyped-call]

    def test_only_the_owner_may_connect(self) -> None:
        reactor = MemoryReactorClock()
        socket = ControlSocket(self.control, self.path, reactor)
        socket.start()
        ((path, _, _, mode, _),) = reactor.unixServers
        assert (path, mode) == (str(self.path), 0o600)
        self.successResultOf(socket.stop())
        self.successResultOf(socket.stop())

    def test_the_file_of_a_killed_server_is_removed(self) -> None:
        self.path.write_text("")
        ControlSocket(self.control, self.path, MemoryReactorClock()).start()
        assert not self.path.exists()

    def test_what_cannot_be_opened_is_told(self) -> None:
        socket = ControlSocket(self.control, self.path, RefusingReactor())  # type: ignore[no-untyped-call]
        with self.assertRaisesRegex(StoreError, "control socket .* cannot be opened"):
            socket.start()
        self.successResultOf(socket.stop())
