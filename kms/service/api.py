"""The HTTP API, `/api/v1/…`: JSON in, JSON out, over `Control`.

Promises: every answer is JSON; a refusal is `{"error": "a sentence"}` with a status that says whose fault it
is; an unexpected error is logged whole, and answered 500 without detail. Nothing here decides anything.
Flow: control_socket.py serves it to `kmsctl` on the Unix socket, whose mode is the access right.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from kms.service.api_call import ApiError, Call
from kms.service.control import Control, ReloadRefused
from kms.service.inquiry import InquiryError
from kms.service.peer import peer_of
from kms.service.queue_api import QUEUE_ROUTES
from kms.store.accounts import AccountError
from kms.store.administration import Conflict, NotFound
from kms.store.credentials import PasswordError
from kms.store.schema import StoreError

_MOST_BODY_OCTETS = 1024 * 1024
_PREFIX = "/api/v1/"


Answer = Callable[[Control, Call], Awaitable[Any]]

_ROUTES: tuple[tuple[str, str, Answer], ...] = (
    ("GET", "status", lambda control, call: control.status()),
    ("POST", "reload", lambda control, call: control.reload()),
    ("GET", "queue/fsck", lambda control, call: control.check_queue()),
    ("GET", "why/{}", lambda control, call: control.tell_why(call.names[0])),
    ("POST", "explain", lambda control, call: control.explain(call.body)),
    ("GET", "users", lambda control, call: control.list_users()),
    ("POST", "users", lambda control, call: control.add_user(call.text("login"), call.text("password"))),
    ("PATCH", "users/{}", lambda control, call: control.change_user(call.names[0], call.body)),
    ("DELETE", "users/{}", lambda control, call: control.remove_user(call.names[0])),
    (
        "PUT",
        "users/{}/password",
        lambda control, call: control.set_password(call.names[0], call.text("password")),
    ),
    ("GET", "aliases", lambda control, call: control.list_aliases()),
    ("POST", "aliases", lambda control, call: control.add_alias(call.text("address"), call.texts("targets"))),
    ("POST", "aliases-file/load", lambda control, call: control.load_aliases_file()),
    ("DELETE", "aliases/{}", lambda control, call: control.remove_alias(call.names[0])),
    ("GET", "aliases/{}/targets", lambda control, call: control.resolve_alias(call.names[0])),
    ("POST", "verify", lambda control, call: control.verify_address(call.text("address"))),
    ("GET", "windows", lambda control, call: control.list_windows()),
    (
        "DELETE",
        "windows/{}",
        lambda control, call: control.revoke_windows(call.names[0], call.query.get("user")),
    ),
    ("GET", "blocks", lambda control, call: control.list_blocks()),
    ("DELETE", "blocks/{}", lambda control, call: control.lift_blocks(call.names[0])),
    ("GET", "limits/{}", lambda control, call: control.show_limits(call.names[0])),
)
_PATTERNS = [
    (method, re.compile(re.escape(path).replace(r"\{\}", "([^/]+)")), answer)
    for method, path, answer in (*_ROUTES, *QUEUE_ROUTES)
]

_STATUSES: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (AccountError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (PasswordError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (InquiryError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (StoreError, HTTPStatus.SERVICE_UNAVAILABLE),
)


class Api(Resource):
    """All of `/api/v1/`; found for every path."""

    isLeaf = True

    def __init__(self, control: Control) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._control = control
        self._log = Logger(namespace="kms.api")

    def render(self, request: Request) -> int:
        """Answer one request; called by twisted.web."""
        gone = [False]
        request.notifyFinish().addErrback(lambda _: gone.__setitem__(0, True))
        answered = Deferred.fromCoroutine(self._answer(request))
        answered.addErrback(self._explain)
        answered.addCallback(lambda answer: None if gone[0] else _send(request, *answer))
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> tuple[HTTPStatus, Any]:
        answer, names = _find_route(request.method, request.path)
        call = Call(names, _read_query(request), _read_body(request), _find_peer(request))
        return HTTPStatus.OK, await answer(self._control, call)

    def _explain(self, failure: Failure) -> tuple[HTTPStatus, Any]:
        """Turn an exception into an answer."""
        error = failure.value
        if isinstance(error, ApiError):
            return error.status, {"error": str(error)}
        if isinstance(error, ReloadRefused):
            facts = {"error": "the configuration has faults", "problems": list(error.problems)}
            return HTTPStatus.UNPROCESSABLE_ENTITY, facts
        for kind, status in _STATUSES:
            if isinstance(error, kind):
                return status, {"error": str(error)}
        self._log.failure("A request of the API failed", failure)
        return HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "an error in the server; its log says more"}


def _find_route(method: bytes, path: bytes) -> tuple[Answer, tuple[str, ...]]:
    text = path.decode("ascii", "replace")
    rest = text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else ""
    found = [
        (known, match, answer) for known, pattern, answer in _PATTERNS if (match := pattern.fullmatch(rest))
    ]
    if not found:
        raise ApiError(HTTPStatus.NOT_FOUND, f"there is no {text}")
    for known, match, answer in found:
        if known.encode("ascii") == method:
            return answer, tuple(map(unquote, match.groups()))
    raise ApiError(HTTPStatus.METHOD_NOT_ALLOWED, f"{text} takes {', '.join(known for known, _, _ in found)}")


def _find_peer(request: Request) -> str:
    """Say whose process asks: the uid that the kernel knows of the other end of a Unix socket."""
    transport = getattr(request.channel, "transport", None)
    transport = getattr(transport, "_producer", transport)
    connected = getattr(transport, "socket", None)
    if connected is None or connected.family != socket.AF_UNIX:
        return "unknown"
    return peer_of(connected)


def _read_query(request: Request) -> dict[str, str]:
    return {
        key.decode("utf-8", "replace"): values[-1].decode("utf-8", "replace")
        for key, values in request.args.items()
    }


def _read_body(request: Request) -> Mapping[str, Any]:
    data = b"" if request.content is None else request.content.read(_MOST_BODY_OCTETS + 1)
    if len(data) > _MOST_BODY_OCTETS:
        raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too large")
    try:
        body = json.loads(data) if data else {}
    except ValueError:
        raise ApiError(HTTPStatus.BAD_REQUEST, "the body is no JSON") from None
    if not isinstance(body, dict):
        raise ApiError(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
    return body


def _send(request: Request, status: HTTPStatus, answer: Any) -> None:
    data = json.dumps(answer, ensure_ascii=False).encode("utf-8")
    request.setResponseCode(status.value)
    request.setHeader("content-type", "application/json; charset=utf-8")
    request.setHeader("cache-control", "no-store")
    request.setHeader("content-length", str(len(data)))
    request.write(data)
    request.finish()
