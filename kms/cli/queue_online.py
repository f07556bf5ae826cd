"""The queue of the running server, asked over its control socket; the other half of queue_offline.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from urllib.parse import quote, urlencode

_Facts = dict[str, Any]


class OnlineQueue:
    """The queue of a server; methods as in `session.QueueAdministration`.

    Args:
        call: makes one request: method, target below `/api/v1/`, body.
    """

    def __init__(self, call: Callable[[str, str, _Facts | None], Any]) -> None:
        self._call = call

    def list(self, query: str, after: str, limit: int, is_trash: bool) -> list[_Facts]:
        """See `QueueAdministration`."""
        target = "queue/trash" if is_trash else "queue"
        asked = urlencode({"query": query, "after": after, "limit": limit})
        return cast("list[_Facts]", self._call("GET", f"{target}?{asked}", None))

    def show(self, queue_id: str) -> _Facts:
        """See `QueueAdministration`."""
        return cast(_Facts, self._call("GET", f"queue/{quote(queue_id, safe='')}", None))

    def count(self) -> _Facts:
        """See `QueueAdministration`."""
        return cast(_Facts, self._call("GET", "queue/count", None))

    def forecast(self, query: str, hours: int) -> _Facts:
        """See `QueueAdministration`."""
        asked = urlencode({"query": query, "hours": hours})
        return cast(_Facts, self._call("GET", f"queue/forecast?{asked}", None))

    def change(self, what: str, body: _Facts) -> _Facts:
        """See `QueueAdministration`."""
        return cast(_Facts, self._call("POST", f"queue/{what}", body))
