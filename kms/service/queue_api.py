"""The part of the HTTP API about the queue, `/api/v1/queue…`: routes over `QueueControl`.

Nothing here decides anything.
Flow: api.py puts these routes beside its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Protocol

from kms.service.api_call import ApiError, Call
from kms.service.queue_control import QueueControl
from kms.store.queue_query import QueryError
from kms.store.queue_work import QueueOrder

_USUAL_PAGE = 100
_USUAL_HOURS = 24
_MOST_HOURS = 24 * 14


class HasQueue(Protocol):
    """The part of `Control` that is needed."""

    @property
    def queue(self) -> QueueControl:
        """The operator's requests about the queue."""
        ...


QueueAnswer = Callable[[HasQueue, Call], Awaitable[Any]]


def _query(call: Call) -> list[str]:
    return [call.query["query"]] if call.query.get("query") else []


def _number(call: Call, key: str, usual: int) -> int:
    text = call.query.get(key, str(usual))
    if not text.isdecimal():
        raise ApiError(HTTPStatus.BAD_REQUEST, f"{key} must be a number")
    return int(text)


def _list(control: HasQueue, call: Call, is_trash: bool) -> Awaitable[Any]:
    limit = _number(call, "limit", _USUAL_PAGE)
    return control.queue.list(_query(call), call.query.get("after", ""), limit, is_trash)


def _forecast(control: HasQueue, call: Call) -> Awaitable[Any]:
    hours = min(_number(call, "hours", _USUAL_HOURS), _MOST_HOURS)
    return control.queue.forecast(_query(call), timedelta(hours=hours))


def _order(order: QueueOrder) -> QueueAnswer:
    async def answer(control: HasQueue, call: Call) -> Any:
        for key in ("ids", "query"):
            if key in call.body:
                call.texts(key)
        return await control.queue.order(order, call.body, call.by)

    return answer


def _is_dry(call: Call) -> bool:
    return bool(call.body.get("dry_run"))


def _pause(is_paused: bool) -> QueueAnswer:
    return lambda control, call: control.queue.pause(is_paused, _is_dry(call), call.by)


def _suspend(is_suspended: bool) -> QueueAnswer:
    return lambda control, call: control.queue.suspend(
        call.text("domain"), is_suspended, _is_dry(call), call.by
    )


def _go_offline(control: HasQueue, call: Call) -> Awaitable[Any]:
    on = call.body.get("on")
    if not isinstance(on, bool):
        raise QueryError("on must be true or false")
    return control.queue.go_offline(on, _is_dry(call), call.by)


QUEUE_ROUTES: tuple[tuple[str, str, QueueAnswer], ...] = (
    ("GET", "queue", lambda control, call: _list(control, call, is_trash=False)),
    ("GET", "queue/trash", lambda control, call: _list(control, call, is_trash=True)),
    ("GET", "queue/count", lambda control, call: control.queue.count()),
    ("GET", "queue/forecast", _forecast),
    ("POST", "queue/run", lambda control, call: control.queue.run_all(_is_dry(call), call.by)),
    ("POST", "queue/pause", _pause(True)),
    ("POST", "queue/continue", _pause(False)),
    ("POST", "queue/offline", _go_offline),
    ("POST", "queue/suspend", _suspend(True)),
    ("POST", "queue/resume", _suspend(False)),
    *(("POST", f"queue/{order.value}", _order(order)) for order in QueueOrder),
    ("GET", "queue/{}", lambda control, call: control.queue.show(call.names[0])),
)
