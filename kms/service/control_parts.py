"""The parts of a server that its control needs, as protocols: so that it is tested with simple ones.

Flow: control.py takes a `Server` whose parts fit these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred

from kms.domain.account import Alias, Directory
from kms.domain.address import Mailbox
from kms.domain.address_group import ClientAddress
from kms.policy.block import Block
from kms.service.client_ledger import Counters
from kms.store.relay_windows import RelayWindow

R = TypeVar("R")


class RunsOperations(Protocol):
    """The part of `Database` that is needed."""

    def run(self, operation: Callable[[Any], R]) -> Deferred[R]:
        """Run in the next transaction."""
        ...

    def read(self, operation: Callable[[Any], R]) -> Deferred[R]:
        """Run on a snapshot."""
        ...


class KnowsDirectory(Protocol):
    """The part of `DirectoryCache` that is needed."""

    @property
    def current(self) -> Directory:
        """The newest snapshot."""
        ...

    async def load(self) -> None:
        """Read the store anew."""
        ...

    def take_file(self, aliases: tuple[Alias, ...]) -> None:
        """Take the aliases of the aliases file."""
        ...


class TakesSubmissions(Protocol):
    """The part of `Submissions` that is needed."""

    def read_address(self, text: str) -> Mailbox:
        """Read an address, or a bare name; raises Refused."""
        ...

    def verify(self, address: str) -> tuple[Mailbox, ...]:
        """Say who would get a message; raises Refused."""
        ...


class KeepsWindows(Protocol):
    """The part of `RelayWindows` that is needed."""

    def list(self) -> Sequence[RelayWindow]:
        """The open windows."""
        ...

    async def revoke(self, client: ClientAddress, user: str | None = None) -> int:
        """End windows of an address."""
        ...

    async def revoke_user(self, user: str) -> int:
        """End windows of a user."""
        ...


class KeepsLedger(Protocol):
    """The part of `ClientLedger` that is needed."""

    def blocks(self) -> Sequence[Block]:
        """The blocks that last."""
        ...

    def counters_of(self, client: str) -> Counters:
        """What is counted of a client."""
        ...

    async def lift(self, client: str) -> int:
        """End the blocks of a client."""
        ...
