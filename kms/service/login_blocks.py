"""Login blocks of this process, until the ledger of the clients keeps them."""

from __future__ import annotations

from kms.policy.block import Block, BlockKind, BlockTable
from kms.service.clock import Clock
from kms.service.security_log import SecurityLog


class LoginBlocks:
    """Who may not log in.

    Args:
        clock: measures them.
        log: tells of each.
    """

    def __init__(self, clock: Clock, log: SecurityLog) -> None:
        self._clock = clock
        self._log = log
        self._table = BlockTable()

    def find_block(self, client: str, kind: BlockKind, account: str = "") -> Block | None:
        """Find the block of a client that lasts."""
        return self._table.find(client, kind, self._clock.monotonic(), account)

    def block(self, block: Block) -> None:
        """Block a client."""
        now = self._clock.monotonic()
        self._table.take_ended(now)
        seconds = (block.until - block.since).total_seconds()
        self._table.put(block, now + seconds)
        self._log.logins_blocked(block.client, block.account, seconds / 60, block.why)
