"""Blocks: clients that are refused until an instant, because of what they did.

A block is a promise, so it has an instant of the wall clock; while the server runs its end is measured on the
monotonic clock, so that no jump lifts or stretches it. It ends by itself or is lifted by an administrator.

Flow: service/client_ledger.py keeps the table, store/client_ledger.py what survives a restart.
"""

from __future__ import annotations

import enum
import heapq
from datetime import datetime

import attrs


class BlockKind(enum.Enum):
    """What a client is blocked for, and from."""

    HARVEST = "harvest"
    """Too many unknown recipients: no connection to the SMTP ports."""

    LOGIN = "login"
    """Too many wrong passwords: no login, over SMTP and POP3 alike."""


BlockKey = tuple[str, BlockKind, str]
_End = tuple[float, str, str, str]
_MOST_STALE_ENDS = 1000  # ends of blocks that were lifted or made anew; then they are swept out


@attrs.frozen
class Block:
    """One block.

    Attributes:
        client: whom it is for, as `limits.client_key` names it.
        kind: what for.
        since: when it began.
        until: when it ends.
        why: one sentence for the administrator.
        account: the only login it is for; "" = every one.
    """

    client: str
    kind: BlockKind
    since: datetime
    until: datetime
    why: str
    account: str = ""

    @property
    def key(self) -> BlockKey:
        """What there is one block for at a time."""
        return self.client, self.kind, self.account


class BlockTable:
    """The blocks that have not ended. Deadlines and `now` are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._blocks: dict[BlockKey, tuple[Block, float]] = {}
        self._ends: list[_End] = []

    def __len__(self) -> int:
        return len(self._blocks)

    def put(self, block: Block, deadline: float) -> None:
        """Block a client; takes the place of the block it had of that kind and account."""
        self._blocks[block.key] = (block, deadline)
        heapq.heappush(self._ends, _end(block, deadline))
        if len(self._ends) > 2 * len(self._blocks) + _MOST_STALE_ENDS:
            self._ends = [_end(*item) for item in self._blocks.values()]
            heapq.heapify(self._ends)

    def find(self, client: str, kind: BlockKind, now: float, account: str = "") -> Block | None:
        """Find the block of a client; None where there is none, or it is over."""
        if not self._blocks:
            return None
        block, deadline = self._blocks.get((client, kind, account), (None, 0.0))
        return block if deadline > now else None

    def lasting(self, now: float) -> list[tuple[Block, float]]:
        """Give the blocks that last, by client, each with the seconds it has left."""
        found = [(block, deadline - now) for block, deadline in self._blocks.values() if deadline > now]
        return sorted(found, key=lambda item: (item[0].client, item[0].kind.value, item[0].account))

    def remove(self, client: str, kind: BlockKind | None = None) -> list[Block]:
        """Lift the blocks of a client, or those of one kind; gives them."""
        found = [block for block, _ in self._blocks.values() if block.client == client]
        lifted = [block for block in found if kind in (None, block.kind)]
        for block in lifted:
            del self._blocks[block.key]
        return lifted

    @property
    def next_end(self) -> float | None:
        """When the next block ends; None where there is none."""
        while self._ends:
            deadline, client, kind, account = self._ends[0]
            _, current = self._blocks.get((client, BlockKind(kind), account), (None, None))
            if current == deadline:
                return deadline
            heapq.heappop(self._ends)  # it was lifted, or another took its place
        return None

    def take_next(self) -> Block:
        """Remove the block that ends first, and give it; raises IndexError where there is none."""
        if self.next_end is None:
            raise IndexError("there is no block")
        _, client, kind, account = heapq.heappop(self._ends)
        return self._blocks.pop((client, BlockKind(kind), account))[0]

    def take_ended(self, now: float) -> list[Block]:
        """Remove the blocks whose time is over, and give them in the order of their ends."""
        ended = []
        while (end := self.next_end) is not None and end <= now:
            ended.append(self.take_next())
        return ended


def _end(block: Block, deadline: float) -> _End:
    return deadline, block.client, block.kind.value, block.account
