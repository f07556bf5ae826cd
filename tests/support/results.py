"""Results of what would wait, in tests where nothing waits."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_Result = TypeVar("_Result")


def result_of(waiting: Coroutine[Any, Any, _Result] | Deferred[_Result]) -> _Result:
    """Give the result that is there already; raise what it raised; fail where it still waits."""
    deferred = waiting if isinstance(waiting, Deferred) else Deferred.fromCoroutine(waiting)
    results: list[_Result | Failure] = []
    deferred.addBoth(results.append)
    if not results:
        raise AssertionError("there is no result yet")
    result = results[0]
    if isinstance(result, Failure):
        result.raiseException()
    assert not isinstance(result, Failure)
    return result


def without_ids(replies: list[str]) -> list[str]:
    """The replies without the ids of decisions."""
    return [re.sub(r" \([0-9A-Z]{6}\)$", "", reply) for reply in replies]
