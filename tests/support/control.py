"""A server to be controlled, without threads: the store is in memory, and operations run at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import attrs
from twisted.internet import task
from twisted.internet.defer import Deferred, execute
from twisted.python.failure import Failure

from kms.config.settings import Settings
from kms.domain.account import Alias, Directory
from kms.domain.address import Mailbox
from kms.domain.address_group import ClientAddress
from kms.policy.block import Block
from kms.policy.recipient import Resolution, resolve_recipient
from kms.service.client_ledger import Counters
from kms.service.clock import Clock, ClockOf
from kms.service.submissions import Submissions
from kms.store.accounts import load_accounts_and_aliases
from kms.store.relay_windows import RelayWindow
from kms.store.schema import IN_MEMORY, open_database


class FakeDatabase:
    """Runs operations at once on a database in memory."""

    def __init__(self) -> None:
        self.connection = open_database(IN_MEMORY)
        self.error: Exception | None = None

    def run(self, operation: Callable[[Any], Any]) -> Deferred[Any]:
        return execute(self._run, operation)

    read = run

    def _run(self, operation: Callable[[Any], Any]) -> Any:
        if self.error is not None:
            raise self.error
        return operation(self.connection)


class FakeDirectory:
    """Reads the store when it is told to."""

    def __init__(self, database: FakeDatabase, directory: Directory) -> None:
        self._database = database
        self.current = directory

    async def load(self) -> None:
        accounts, aliases = await self._database.run(load_accounts_and_aliases)
        self.current = attrs.evolve(self.current, accounts=accounts, aliases=aliases)

    def resolve(self, mailbox: Mailbox) -> Resolution:
        return resolve_recipient(self.current, mailbox)

    def take_file(self, aliases: tuple[Alias, ...]) -> None:
        self.current = attrs.evolve(self.current, file_aliases=aliases)


class FakeWindows:
    """A list of windows."""

    def __init__(self) -> None:
        self.open: list[RelayWindow] = []

    def add(self, address: str, user: str) -> None:
        self.open.append(RelayWindow(address, user, datetime(2026, 11, 24, tzinfo=UTC) + timedelta(hours=1)))

    def list(self) -> list[RelayWindow]:
        return self.open

    async def revoke(self, client: ClientAddress, user: str | None = None) -> int:
        return self._drop(lambda window: window.address == str(client) and user in (None, window.user))

    async def revoke_user(self, user: str) -> int:
        return self._drop(lambda window: window.user == user)

    def _drop(self, fits: Callable[[RelayWindow], bool]) -> int:
        left = [window for window in self.open if not fits(window)]
        count = len(self.open) - len(left)
        self.open = left
        return count


class FakeLedger:
    """Counters of everybody, and a list of blocks."""

    def __init__(self) -> None:
        self.lasting: list[Block] = []

    def blocks(self) -> list[Block]:
        return self.lasting

    def counters_of(self, client: str) -> Counters:
        return Counters(
            client, messages=3, reserved=1, smtp_connections=2, pop3_connections=0, unknown_recipients=4
        )

    async def lift(self, client: str) -> int:
        left = [block for block in self.lasting if block.client != client]
        count = len(self.lasting) - len(left)
        self.lasting = left
        return count


class FakePool:
    """A thread pool whose work is done at once."""

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, Any], object], call: Callable[..., Any], *args: Any
    ) -> None:
        try:
            result = call(*args)
        except Exception as error:
            on_result(False, Failure(error))
        else:
            on_result(True, result)


class FakeReactor(task.Clock):
    """A clock that calls from "threads" at once."""

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        call(*args)


class FakeServer:
    """What `Control` needs of a server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.hostname = "mx.a.test"
        self.reactor: Any = FakeReactor()
        self.clock: Clock = ClockOf(self.reactor)
        self.hashing: Any = FakePool()
        self.database = FakeDatabase()
        self.directory = FakeDirectory(self.database, settings.directory)
        self.windows = FakeWindows()
        self.explainer: Any = None
        self.ledger = FakeLedger()
        self.queue_control: Any = None
        self.submissions = Submissions(cast(Any, self))
