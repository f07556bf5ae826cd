"""The open connections to next hops: which may be used again, and which have been silent for too long.

Promises: a connection is given to one message at a time; an idle one says QUIT after a few seconds; one timer
watches them all, and only while there are any.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import timedelta
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from kms.service.clock import Clock

SWEEP_SECONDS = 1


class PooledConnection(Protocol):
    """What the pool needs to know of a connection."""

    key: Hashable
    deadline: float
    messages: int

    @property
    def is_idle(self) -> bool:
        """A message may be offered."""
        ...

    def quit(self) -> None:
        """Say good-bye and close."""
        ...

    def expire(self) -> None:
        """Act on a deadline that has passed."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


@attrs.frozen
class PoolRules:
    """How connections are kept.

    Attributes:
        messages_per_connection: after so many a connection says QUIT.
        idle_lifetime: how long a connection waits for a further message.
        max_idle: further connections are not kept.
    """

    messages_per_connection: int = 100
    idle_lifetime: timedelta = timedelta(seconds=5)
    max_idle: int = 100


class ConnectionPool:
    """All connections of one remote delivery."""

    def __init__(self, clock: Clock, rules: PoolRules) -> None:
        self.rules = rules
        self._clock = clock
        self._open: set[PooledConnection] = set()
        self._idle: dict[Hashable, list[PooledConnection]] = {}
        self._idle_count = 0
        self._sweep_call: IDelayedCall | None = None
        self._closed: Deferred[None] | None = None

    @property
    def is_closed(self) -> bool:
        """No connection is to be opened any more."""
        return self._closed is not None

    @property
    def open_connections(self) -> int:
        """Connections that exist, busy or idle."""
        return len(self._open)

    def has(self, key: Hashable) -> bool:
        """Tell whether there is an idle connection."""
        return key in self._idle

    def take(self, key: Hashable) -> PooledConnection | None:
        """Give the idle connection that was used last, if there is one."""
        kept = self._idle.get(key)
        return self._take_out(key, kept, kept[-1]) if kept else None

    def add(self, connection: PooledConnection) -> None:
        """Watch a new connection."""
        self._open.add(connection)
        if self._sweep_call is None:
            self._sweep_call = self._clock.call_later(SWEEP_SECONDS, self._sweep)

    def release(self, connection: PooledConnection) -> None:
        """Keep a connection that has done its message, or let it go."""
        rules = self.rules
        if (
            self._closed is not None
            or connection.messages >= rules.messages_per_connection
            or self._idle_count >= rules.max_idle
        ):
            connection.quit()
            return
        connection.deadline = self._clock.monotonic() + rules.idle_lifetime.total_seconds()
        self._idle.setdefault(connection.key, []).append(connection)
        self._idle_count += 1

    def withdraw(self, connection: PooledConnection) -> None:
        """Give a connection to no message any more."""
        kept = self._idle.get(connection.key)
        if kept and connection in kept:
            self._take_out(connection.key, kept, connection)

    def remove(self, connection: PooledConnection) -> None:
        """Forget a connection that is gone."""
        self.withdraw(connection)
        self._open.discard(connection)
        if not self._open:
            if self._sweep_call is not None:
                self._sweep_call.cancel()
                self._sweep_call = None
            if self._closed is not None and not self._closed.called:
                self._closed.callback(None)

    def close(self) -> Deferred[None]:
        """Keep nothing any more: idle connections say QUIT, busy ones do after their message.

        Returns:
            Fires when the last connection is gone.
        """
        if self._closed is None:
            self._closed = Deferred()
        for connection in [connection for kept in self._idle.values() for connection in kept]:
            self._let_go(connection)
        if not self._open and not self._closed.called:
            self._closed.callback(None)
        return self._closed

    def abort(self) -> None:
        """Close every connection at once, and open none any more."""
        self.close()
        for connection in list(self._open):
            connection.abort()

    def _take_out(
        self, key: Hashable, kept: list[PooledConnection], connection: PooledConnection
    ) -> PooledConnection:
        kept.remove(connection)
        self._idle_count -= 1
        if not kept:
            del self._idle[key]
        return connection

    def _let_go(self, connection: PooledConnection) -> None:
        self._take_out(connection.key, self._idle[connection.key], connection)
        connection.quit()

    def _sweep(self) -> None:
        self._sweep_call = self._clock.call_later(SWEEP_SECONDS, self._sweep)
        now = self._clock.monotonic()
        for connection in [connection for connection in self._open if connection.deadline <= now]:
            if connection in self._idle.get(connection.key, ()):
                self._let_go(connection)
            else:
                connection.expire()
