"""How many messages an hour go to one recipient domain (`rate_per_destination`).

Each attempt gets the instant from which it may be made: now, or, where the hour is full, the first at which another
has left it. Instants are given in the order of asking, so what waits goes out in that order, evenly with what went
before. An attempt keeps its instant until it was made; a further attempt gets another. Pure: `now` is a parameter,
and nothing outlives the process (the queue's own times do). A message whose instant passed while the queue was paused
goes at once.
Flow: service/withholding.py asks for each recipient elsewhere, before an attempt.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

import attrs

_HOUR = timedelta(hours=1)


@attrs.define
class _Turn:
    """When a message may go, and the attempt that was let go then."""

    at: datetime
    used_by: int | None = None


@attrs.define
class _Hour:
    """What one domain was promised in the last hour and is promised in times to come, in order."""

    given: deque[tuple[datetime, int]] = attrs.field(factory=deque)
    turns: dict[int, _Turn] = attrs.field(factory=dict)

    def forget_before(self, oldest: datetime) -> None:
        while self.given and self.given[0][0] <= oldest:
            at, number = self.given.popleft()
            if number in self.turns and self.turns[number].at == at:
                del self.turns[number]


class DestinationRate:
    """The rate of all domains.

    Args:
        messages_per_hour: 1 or more.
    """

    def __init__(self, messages_per_hour: int) -> None:
        self.messages_per_hour = messages_per_hour
        self._hours: dict[str, _Hour] = {}
        self._swept_at: datetime | None = None

    def earliest(self, domain: str, number: int, attempt: int, now: datetime) -> datetime:
        """Say from when on a message may be sent to a domain; not later than `now` = it may go.

        Args:
            number: of the queue entry.
            attempt: how many there were before; asked again, one that may go still may.
        """
        self._sweep(now)
        hour = self._hours.setdefault(domain, _Hour())
        hour.forget_before(now - _HOUR)
        turn = hour.turns.get(number)
        if turn is None or (turn.at <= now and turn.used_by not in (None, attempt)):
            turn = hour.turns[number] = _Turn(self._next(hour, now))
            hour.given.append((turn.at, number))
        if turn.at <= now:
            turn.used_by = attempt
        return turn.at

    def _next(self, hour: _Hour, now: datetime) -> datetime:
        given, limit = hour.given, self.messages_per_hour
        if len(given) < limit:
            return now
        return max(now, given[-1][0], given[-limit][0] + _HOUR)

    def _sweep(self, now: datetime) -> None:
        """Once an hour, forget the domains that nothing was sent to within one."""
        if self._swept_at is not None and now - self._swept_at < _HOUR:
            return
        self._swept_at = now
        for domain, hour in list(self._hours.items()):
            hour.forget_before(now - _HOUR)
            if not hour.given:
                del self._hours[domain]

    def __len__(self) -> int:
        """How many domains are remembered."""
        return len(self._hours)
