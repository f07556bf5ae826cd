"""The time that must pass between two successful logins to one mailbox over POP3 (RFC 2449 8.1.1).

A login that is refused, for this or any other reason, does not count. What is remembered is lost at a restart:
then the next login is free.
"""

from __future__ import annotations

from datetime import timedelta

from kms.service.clock import Clock

_SWEEP_ABOVE = 1000


class LoginTooSoon(Exception):
    """The password was right, but the last login is not long enough ago; answered [LOGIN-DELAY]."""


class LoginDelay:
    """Remembers when each mailbox was last logged in to.

    Attributes:
        length: the time; 0 = none. A reload replaces it.
    """

    def __init__(self, clock: Clock, length: timedelta) -> None:
        self.length = length
        self._clock = clock
        self._last: dict[str, float] = {}

    def check(self, login: str) -> None:
        """Raise LoginTooSoon where a login comes too soon."""
        last = self._last.get(login)
        if last is not None and self._clock.monotonic() < last + self.length.total_seconds():
            raise LoginTooSoon()

    def note(self, login: str) -> None:
        """Remember a login that has succeeded."""
        if not self.length:
            return
        now = self._clock.monotonic()
        self._last[login] = now
        if len(self._last) > _SWEEP_ABOVE:
            oldest = now - self.length.total_seconds()
            self._last = {name: at for name, at in self._last.items() if at > oldest}
