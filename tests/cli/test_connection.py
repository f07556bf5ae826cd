import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kms.cli import failure
from kms.cli.connection import call, is_running
from kms.cli.failure import CommandFailed
from kms.cli.online import OnlineServer


@contextmanager
def server_that_says(folder: Path, answer: bytes, requests: list[bytes] | None = None) -> Iterator[Path]:
    """One answer to one connection, over a Unix socket."""
    path = folder / "control.sock"

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            heard = connection.recv(65536)
            if b"application/json" in heard and heard.endswith(b"\r\n\r\n"):
                heard += connection.recv(65536)
            if requests is not None:
                requests.append(heard)
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join()


def http(status: int, content: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(content)) + content


def failure_of(folder: Path, answer: bytes) -> CommandFailed:
    with server_that_says(folder, answer) as path, pytest.raises(CommandFailed) as caught:
        call(path, "GET", "/api/v1/users")
    return caught.value


def test_an_answer_is_json(tmp_path: Path) -> None:
    requests: list[bytes] = []
    with server_that_says(tmp_path, http(200, b'{"a": 1}'), requests) as path:
        assert call(path, "POST", "/api/v1/x", {"login": "joe"}) == {"a": 1}
    assert requests[0].startswith(b"POST /api/v1/x HTTP/1.1\r\n")
    assert requests[0].endswith(b'\r\n\r\n{"login": "joe"}')


@pytest.mark.parametrize(
    ("status", "exit_status"),
    [
        (404, failure.NO_SUCH_USER),
        (409, failure.BAD_DATA),
        (422, failure.BAD_DATA),
        (503, failure.TRY_AGAIN),
        (500, failure.INTERNAL),
        (499, failure.INTERNAL),
    ],
)
def test_a_refusal_has_its_exit_status(tmp_path: Path, status: int, exit_status: int) -> None:
    error = failure_of(tmp_path, http(status, b'{"error": "no"}'))
    assert (error.status, error.lines) == (exit_status, ("no",))


def test_faults_of_the_configuration_are_told_line_by_line(tmp_path: Path) -> None:
    error = failure_of(tmp_path, http(422, b'{"error": "x", "problems": ["one", "two"]}'))
    assert (error.status, error.lines) == (failure.BAD_CONFIGURATION, ("one", "two"))


def test_a_refusal_without_words_is_told_by_its_number(tmp_path: Path) -> None:
    assert failure_of(tmp_path, http(500, b"[]")).lines == ("the server answered 500",)


@pytest.mark.parametrize("answer", [b"hello\r\n", b"", http(200, b"<html>")])
def test_what_does_not_speak_our_language_is_told(tmp_path: Path, answer: bytes) -> None:
    assert failure_of(tmp_path, answer).status == failure.UNAVAILABLE


def test_nobody_there_is_no_running_server(tmp_path: Path) -> None:
    assert not is_running(tmp_path / "control.sock")
    assert not is_running(tmp_path / "no" / "control.sock")
    with pytest.raises(CommandFailed, match="cannot be reached"):
        call(tmp_path / "control.sock", "GET", "/")


def test_the_socket_of_a_killed_server_is_no_running_server(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    assert not is_running(path)


def test_a_path_that_no_socket_can_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed) as caught:
        is_running(tmp_path / ("x" * 200))
    assert caught.value.status == failure.UNAVAILABLE


def test_a_server_that_listens_is_running(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        assert is_running(tmp_path / "s")


@pytest.mark.parametrize(
    ("ask", "first_line"),
    [
        (lambda server: server.list_users(), "GET /api/v1/users"),
        (lambda server: server.add_user("a@b", "p"), "POST /api/v1/users"),
        (lambda server: server.set_password("a/@b", "p"), "PUT /api/v1/users/a%2F%40b/password"),
        (lambda server: server.change_user("a@b", {"x": 1}), "PATCH /api/v1/users/a%40b"),
        (lambda server: server.remove_user("a@b"), "DELETE /api/v1/users/a%40b"),
        (lambda server: server.list_aliases(), "GET /api/v1/aliases"),
        (lambda server: server.add_alias("a@b", ["c@d"]), "POST /api/v1/aliases"),
        (lambda server: server.remove_alias("*@b"), "DELETE /api/v1/aliases/%2A%40b"),
        (lambda server: server.resolve_alias("a@b"), "GET /api/v1/aliases/a%40b/targets"),
        (lambda server: server.list_windows(), "GET /api/v1/windows"),
        (lambda server: server.revoke_windows("::1", None), "DELETE /api/v1/windows/%3A%3A1"),
        (lambda server: server.revoke_windows("::1", "a@b"), "DELETE /api/v1/windows/%3A%3A1?user=a%40b"),
        (lambda server: server.status(), "GET /api/v1/status"),
        (lambda server: server.reload(), "POST /api/v1/reload"),
    ],
)
def test_each_request_has_its_route(tmp_path: Path, ask: object, first_line: str) -> None:
    requests: list[bytes] = []
    with server_that_says(tmp_path, http(200, b"{}"), requests) as path:
        ask(OnlineServer(path))  # type: ignore[operator]
    assert requests[0].split(b" HTTP")[0].decode() == first_line
