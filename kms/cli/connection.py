"""HTTP with JSON over the running server's control socket: plain sockets, no Twisted.

Promises: whatever happens, it ends in an answer or in `CommandFailed`, within a minute and a half.
Flow: online.py asks through `call`; `is_running` decides between it and offline.py.
"""

from __future__ import annotations

import http.client
import json
import socket
from http import HTTPStatus
from pathlib import Path
from typing import Any

from kms.cli import failure
from kms.cli.failure import CommandFailed

_TIMEOUT_SECONDS = 90.0
_STATUSES: dict[int, int] = {
    HTTPStatus.NOT_FOUND: failure.NO_SUCH_USER,
    HTTPStatus.CONFLICT: failure.BAD_DATA,
    HTTPStatus.UNPROCESSABLE_ENTITY: failure.BAD_DATA,
    HTTPStatus.SERVICE_UNAVAILABLE: failure.TRY_AGAIN,
}


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect; called by http.client."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_SECONDS)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.close()
            raise


def is_running(path: Path) -> bool:
    """Say whether a server answers at its control socket; a socket left by a killed one does not count.

    Raises:
        CommandFailed: there is one, but it is not ours to use.
    """
    connection = _UnixConnection(path)
    try:
        connection.connect()
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return False
    except OSError as error:
        raise _cannot_connect(path, error) from None
    connection.close()
    return True


def call(path: Path, method: str, target: str, body: dict[str, Any] | None = None) -> Any:
    """Make one request.

    Args:
        path: of the control socket.
        target: path and query, such as `/api/v1/users`.
        body: sent as JSON; None = no body.

    Returns:
        The answer's JSON value.

    Raises:
        CommandFailed: no answer, or one that says no.
    """
    connection = _UnixConnection(path)
    data = None if body is None else json.dumps(body)
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, target, data, headers)
        response = connection.getresponse()
        answer = json.loads(response.read() or b"null")
    except OSError as error:
        raise _cannot_connect(path, error) from None
    except (http.client.HTTPException, ValueError):
        text = f"what answers at {path} does not speak the server's language"
        raise CommandFailed(failure.UNAVAILABLE, text) from None
    finally:
        connection.close()
    if response.status >= HTTPStatus.BAD_REQUEST:
        raise _refusal(response.status, answer)
    return answer


def _cannot_connect(path: Path, error: OSError) -> CommandFailed:
    status = failure.NOT_PERMITTED if isinstance(error, PermissionError) else failure.UNAVAILABLE
    return CommandFailed(status, f"the server cannot be reached at {path}: {error.strerror or error}")


def _refusal(status: int, answer: Any) -> CommandFailed:
    facts = answer if isinstance(answer, dict) else {}
    problems = facts.get("problems")
    if isinstance(problems, list) and problems:
        return CommandFailed(failure.BAD_CONFIGURATION, *map(str, problems))
    text = str(facts.get("error") or f"the server answered {status}")
    return CommandFailed(_STATUSES.get(status, failure.INTERNAL), text)
