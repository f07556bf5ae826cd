"""How fast a client sends its message: a slot is not held by a trickle.

Marks are taken every ten seconds by the listener's sweep, so that receiving itself only counts octets; a minute is
judged when it is over. Pure: time and octets are parameters.
"""

from __future__ import annotations

from collections import deque

_MINUTE_SECONDS = 60.0
_STEP_SECONDS = 10.0


class DataRate:
    """The last minute of one message.

    Attributes:
        is_told: of this client it was told that it is too slow, and that is enough.
    """

    __slots__ = ("_marks", "is_told")

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        self.is_told = False

    def forget(self) -> None:
        """Nothing is awaited from the client: a minute begins anew when something is."""
        self._marks.clear()

    def is_below(self, minimum: int, now: float, octets: int) -> bool:
        """Say whether less came in the last minute than it should.

        Args:
            minimum: octets a second.
            now: monotonic seconds.
            octets: that came so far, from any beginning.
        """
        marks = self._marks
        if self.is_told:
            return False
        if marks and now - marks[-1][0] < _STEP_SECONDS:
            return False
        marks.append((now, octets))
        start, before = marks[0]
        if now - start < _MINUTE_SECONDS:
            return False
        marks.popleft()
        return octets - before < minimum * (now - start)
