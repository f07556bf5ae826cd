"""One request of the HTTP API, taken apart, and the fault that a request can have.

Flow: api.py makes a `Call`; the routes, there and in queue_api.py, read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import attrs


class ApiError(Exception):
    """A request that cannot be answered; the text says why."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


@attrs.frozen
class Call:
    """One request, taken apart.

    Attributes:
        names: what stood in the place of `{}` in the route's path, in order.
        query: the last value of each name.
        body: the JSON object; empty where there was none.
        by: who asks, for the operations log: the user of the process at the other end of the Unix socket.
    """

    names: tuple[str, ...]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    by: str = "unknown"

    def text(self, key: str) -> str:
        """A text of the body that must be there."""
        value = self.body.get(key)
        if not isinstance(value, str):
            raise ApiError(HTTPStatus.BAD_REQUEST, f"{key} must be there, and a text")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts of the body that must be there."""
        value = self.body.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ApiError(HTTPStatus.BAD_REQUEST, f"{key} must be there, and a list of texts")
        return value
