"""Login blocks of this process, until the ledger of the clients keeps them."""

from __future__ import annotations

from datetime import timedelta

from kms.policy.block import Block, BlockKind, BlockTable
from kms.service.clock import Clock


class LoginBlocks:
    """Who may not log in.

    Args:
        clock: measures them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._table = BlockTable()

    def block_of(self, client: str, kind: BlockKind, account: str = "") -> Block | None:
        """The block that a client has now."""
        return self._table.find(client, kind, self._clock.monotonic(), account)

    def block(self, client: str, kind: BlockKind, length: timedelta, why: str, account: str = "") -> None:
        """Block a client from now on."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        self._table.take_ended(monotonic)
        self._table.put(
            Block(client, kind, now, now + length, why, account), monotonic + length.total_seconds()
        )
