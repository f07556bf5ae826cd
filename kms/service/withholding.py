"""What an operator keeps from being tried: everything (pause), what leaves the server (offline), some destinations.

It survives a restart (store/queue_state.py). What is withheld is parked in the store: no attempt is counted, no
warning and no bounce goes out, and what is released is due at once.
Flow: the queue runner asks for each recipient; queue_control.py changes it.
"""

from __future__ import annotations

from kms.domain.queue_entry import QueueEntry
from kms.store.queue_state import OFFLINE, QueueState, suspended


class Withholding:
    """What is withheld now.

    Args:
        is_offline: `[queue] offline`; a reload replaces `configured_offline`.
    """

    def __init__(self, is_offline: bool = False) -> None:
        self.configured_offline = is_offline
        self.state = QueueState()

    @property
    def is_paused(self) -> bool:
        """Nothing is begun."""
        return self.state.is_paused

    @property
    def is_offline(self) -> bool:
        """Nothing leaves this server."""
        return self.configured_offline or self.state.is_offline

    def reason(self, entry: QueueEntry, domain: str) -> str:
        """Say why mail to a domain elsewhere waits, as `message.parked` has it; "" = it does not."""
        if self.is_offline:
            return OFFLINE
        host = entry.next_hop.rpartition(":")[0].strip("[]") or domain
        return suspended(host) if host in self.state.suspended else ""

    def standing(self) -> tuple[str, ...]:
        """All reasons that stand now."""
        return (*([OFFLINE] if self.is_offline else ()), *map(suspended, sorted(self.state.suspended)))
