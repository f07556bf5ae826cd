import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kms.config.loader import read_settings
from kms.service.control import Control
from kms.service.control_socket import ControlSite
from kms.store.schema import StoreError
from tests.support.control import FakeServer

SETTINGS = read_settings("[domains]\nlocal = a.test\n", Path("/srv/etc/kms.ini"))


class ApiTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = FakeServer(SETTINGS)
        self.addCleanup(self.server.database.connection.close)
        self.problems: list[str] = []
        self.site = ControlSite(Control(self.server, lambda: self.problems), self.server.reactor)
        self.site.doStart()  # type: ignore[no-untyped-call]
        self.addCleanup(self.site.doStop)

    def exchange(self, request: bytes) -> bytes:
        channel: Any = self.site.buildProtocol(None)  # type: ignore[no-untyped-call]
        transport = StringTransport()
        channel.makeConnection(transport)
        channel.dataReceived(request)
        answer: bytes = transport.value()
        channel.connectionLost(Failure(ConnectionDone()))
        return answer

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return self.send(method, path, b"" if body is None else json.dumps(body).encode())

    def send(self, method: str, path: str, data: bytes) -> tuple[int, Any]:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        answer = self.exchange(head.encode() + data)
        first, _, rest = answer.partition(b"\r\n")
        fields, _, content = rest.partition(b"\r\n\r\n")
        assert b"application/json" in fields
        return int(first.split()[1]), json.loads(content)

    def add_joe(self) -> None:
        status, _ = self.ask("POST", "/api/v1/users", {"login": "joe@a.test", "password": "secret"})
        assert status == 200

    def test_a_user_from_beginning_to_end(self) -> None:
        self.add_joe()
        assert self.ask("PATCH", "/api/v1/users/joe%40a.test", {"full_name": "Joe Ünal"})[0] == 200
        status, users = self.ask("GET", "/api/v1/users")
        assert (status, users[0]["full_name"]) == (200, "Joe Ünal")
        assert self.ask("PUT", "/api/v1/users/joe%40a.test/password", {"password": "x"})[0] == 200
        assert self.ask("DELETE", "/api/v1/users/joe%40a.test")[0] == 200
        assert self.ask("GET", "/api/v1/users") == (200, [])

    def test_an_alias_from_beginning_to_end(self) -> None:
        body = {"address": "*@a.test", "targets": ["x@b.test"]}
        assert self.ask("POST", "/api/v1/aliases", body)[0] == 200
        assert self.ask("GET", "/api/v1/aliases") == (200, [body])
        assert self.ask("GET", "/api/v1/aliases/any%40a.test/targets")[1]["targets"] == ["x@b.test"]
        assert self.ask("DELETE", "/api/v1/aliases/%2A%40a.test")[0] == 200

    def test_windows_are_revoked_by_address_and_user(self) -> None:
        self.server.windows.add("2001:db8::1", "joe@a.test")
        self.server.windows.add("2001:db8::1", "ann@a.test")
        assert len(self.ask("GET", "/api/v1/windows")[1]) == 2
        path = "/api/v1/windows/2001%3Adb8%3A%3A1"
        assert self.ask("DELETE", f"{path}?user=joe%40a.test") == (200, {"revoked": 1})
        assert self.ask("DELETE", path) == (200, {"revoked": 1})

    def test_status_and_reload(self) -> None:
        assert self.ask("GET", "/api/v1/status")[1]["hostname"] == "mx.a.test"
        assert self.ask("POST", "/api/v1/reload") == (200, {"warnings": []})

    def test_a_configuration_with_faults_is_told(self) -> None:
        self.problems = ["kms.ini:1: wrong", "kms.ini:2: wrong"]
        status, answer = self.ask("POST", "/api/v1/reload")
        assert (status, answer["problems"]) == (422, self.problems)

    def test_refusals_say_whose_fault_it_is(self) -> None:
        self.add_joe()
        joe = {"login": "joe@a.test", "password": "secret"}
        assert self.ask("POST", "/api/v1/users", joe) == (
            409,
            {"error": "The account joe@a.test exists already"},
        )
        assert self.ask("DELETE", "/api/v1/users/ann%40a.test")[0] == 404
        assert self.ask("POST", "/api/v1/users", {**joe, "login": "joe@b.test"})[0] == 422
        assert self.ask("POST", "/api/v1/users", {**joe, "login": "ann@a.test", "password": ""})[0] == 422
        assert self.ask("DELETE", "/api/v1/windows/home")[0] == 422

    def test_wrong_requests_are_told_what_is_wrong(self) -> None:
        assert self.ask("GET", "/api/v1/nothing") == (404, {"error": "there is no /api/v1/nothing"})
        assert self.ask("GET", "/elsewhere")[0] == 404
        assert self.ask("PUT", "/api/v1/users") == (405, {"error": "/api/v1/users takes GET, POST"})
        assert self.send("POST", "/api/v1/users", b"{") == (400, {"error": "the body is no JSON"})
        assert self.send("POST", "/api/v1/users", b"\xff")[0] == 400
        assert self.send("POST", "/api/v1/users", b"[]")[0] == 400
        assert self.ask("POST", "/api/v1/users", {"login": 5})[0] == 400
        assert self.ask("POST", "/api/v1/aliases", {"address": "x@a.test", "targets": "y"})[0] == 400

    def test_a_body_without_end_is_refused(self) -> None:
        assert self.send("POST", "/api/v1/users", b" " * (1024 * 1024 + 1))[0] == 413

    def test_trouble_of_the_store_is_temporary(self) -> None:
        self.server.database.error = StoreError("the disk is full")
        assert self.ask("GET", "/api/v1/users") == (503, {"error": "the disk is full"})

    def test_an_error_of_ours_is_logged_and_not_told(self) -> None:
        self.server.database.error = ZeroDivisionError("secret detail")
        status, answer = self.ask("GET", "/api/v1/users")
        assert status == 500
        assert "secret" not in answer["error"]
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1  # type: ignore[no-untyped-call]

    def test_a_client_that_does_not_wait_for_the_answer_is_no_error(self) -> None:
        waiting: Deferred[list[Any]] = Deferred()
        self.server.database.read = lambda operation: waiting  # type: ignore[method-assign]
        assert self.exchange(b"GET /api/v1/users HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        waiting.callback([])
        assert self.flushLoggedErrors() == []  # type: ignore[no-untyped-call]
