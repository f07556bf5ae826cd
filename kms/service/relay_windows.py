"""Open relay windows, in memory for RCPT and in the store for a restart.

A window is kept per (address, user) and valid for the address: whoever sends from it may relay. It ends at an
instant that was promised (stored, wall clock), but is measured on the monotonic clock while the server runs,
so that no jump of the wall clock ends or stretches it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import attrs

from kms.domain.address_group import ClientAddress, parse_client_address
from kms.service.clock import Clock
from kms.service.database import Database
from kms.service.security_log import SecurityLog
from kms.store import relay_windows as store
from kms.store.relay_windows import RelayWindow

_SWEEP_SECONDS = 600.0


@attrs.frozen
class _Window:
    until: datetime
    deadline: float


class RelayWindows:
    """Who may relay because of a POP3 login.

    Args:
        database: where windows survive a restart.
        clock: for both times.
        log: tells of openings and revocations.
        length: how long a login opens the window; `set_length` follows a reload.
        max_users: with more different users within `length`, an address is taken for a shared NAT and opens no
            window; 0 = never. A reload replaces the attribute.
    """

    def __init__(
        self, database: Database, clock: Clock, log: SecurityLog, length: timedelta, max_users: int = 0
    ) -> None:
        self._database = database
        self._clock = clock
        self._log = log
        self._length = length
        self.max_users = max_users
        self._windows: dict[ClientAddress, dict[str, _Window]] = {}
        self._logins: dict[ClientAddress, dict[str, float]] = {}

    def set_length(self, length: timedelta) -> None:
        """Take a changed `pop_window`; open windows keep what they were promised."""
        self._length = length

    def take(self, rows: Iterable[RelayWindow]) -> None:
        """Take over the windows of before a restart."""
        for row in rows:
            self._remember(parse_client_address(row.address), row.user, row.until)

    def _remember(self, client: ClientAddress, user: str, until: datetime) -> None:
        left = (until - self._clock.now()).total_seconds()
        users = self._windows.setdefault(client, {})
        deadline = self._clock.monotonic() + left
        known = users.get(user)
        if known is None or known.deadline < deadline:
            users[user] = _Window(until, deadline)

    async def open(self, client: ClientAddress, user: str) -> None:
        """Open or extend the window of `client`; it counts once it is stored. Never shortens one.

        The shared-NAT guard opens none; windows that are open run out.
        """
        users = self._count_users(client, user)
        if 0 < self.max_users < users:
            self._log.window_refused(client, user, users, self._length.total_seconds() / 60)
            return
        until = self._clock.now() + self._length
        await self._database.run_batched(store.open_windows, RelayWindow(str(client), user, until))
        self._remember(client, user, until)
        self._log.window_opened(client, user, self._length.total_seconds() / 60)
        self._forget_ended(client)

    def _count_users(self, client: ClientAddress, user: str) -> int:
        """Note a login, and count the different users of an address within the window's length."""
        if not self.max_users:
            return 1
        now = self._clock.monotonic()
        logins = self._logins.setdefault(client, {})
        logins[user] = now
        since = now - self._length.total_seconds()
        for name in [name for name, at in logins.items() if at <= since]:
            del logins[name]
        windows = self._windows.get(client, {})  # of before a restart, or before the guard was switched on
        return len(logins.keys() | {name for name, window in windows.items() if window.deadline > now})

    def has_open(self, client: ClientAddress, ahead_seconds: float = 0.0) -> bool:
        """True where any user's window of this address is open, so many seconds from now."""
        users = self._windows.get(client)
        if not users:
            return False
        now = self._clock.monotonic() + ahead_seconds
        return any(window.deadline > now for window in users.values())

    def _forget_ended(self, client: ClientAddress) -> None:
        now = self._clock.monotonic()
        users = self._windows.get(client, {})
        for user in [user for user, window in users.items() if window.deadline <= now]:
            del users[user]
        if not users:
            self._windows.pop(client, None)

    async def sweep(self) -> None:
        """Forget what has ended, in memory and in the store."""
        now = self._clock.now()
        for client in list(self._windows):
            self._forget_ended(client)
        since = self._clock.monotonic() - self._length.total_seconds()
        for client, logins in list(self._logins.items()):
            if max(logins.values()) <= since:
                del self._logins[client]
        await self._database.run(lambda connection: store.purge(connection, now))

    def list(self) -> list[RelayWindow]:
        """The open windows, ordered by address and user."""
        now = self._clock.monotonic()
        return sorted(
            (
                RelayWindow(str(client), user, window.until)
                for client, users in self._windows.items()
                for user, window in users.items()
                if window.deadline > now
            ),
            key=lambda window: (window.address, window.user),
        )

    async def revoke(self, client: ClientAddress, user: str | None = None) -> int:
        """End the windows of an address, or only those that `user` opened; says how many it ended."""
        address = str(client)
        ended = self._end(client, user)
        await self._database.run(lambda connection: store.revoke(connection, address, user))
        return ended + self._end(client, user)  # those whose opening was being stored meanwhile

    def _end(self, client: ClientAddress, user: str | None) -> int:
        users = self._windows.get(client, {})
        gone = [name for name in users if user is None or name == user]
        for name in gone:
            del users[name]
            self._log.window_revoked(str(client), name)
        self._forget_ended(client)
        return len(gone)

    async def revoke_user(self, user: str) -> int:
        """End all windows that `user` opened: he was disabled, removed, or changed his password."""
        ended = self._end_all_of(user)
        await self._database.run(lambda connection: store.revoke_user(connection, user))
        return ended + self._end_all_of(user)  # see `revoke`

    def _end_all_of(self, user: str) -> int:
        clients = [client for client, users in self._windows.items() if user in users]
        return sum(self._end(client, user) for client in clients)
