"""What an operator keeps from being tried: everything (pause), what leaves the server (offline), some destinations,
and for a time what is beyond `rate_per_destination`.

It survives a restart (store/queue_state.py). What is withheld is parked in the store: no attempt is counted, no
warning and no bounce goes out, and what is released is due at once. What has to wait for its turn is put back with
its time instead, without an attempt too.
Flow: the queue runner asks for each recipient; queue_control.py changes it.
"""

from __future__ import annotations

from datetime import datetime

from kms.domain.queue_entry import QueueEntry
from kms.policy.destination_rate import DestinationRate
from kms.service.clock import Clock
from kms.store.queue_state import OFFLINE, QueueState, suspended


class Withholding:
    """What is withheld now.

    Args:
        is_offline: `[queue] offline`; a reload replaces `configured_offline`.
        rate: messages an hour to one recipient domain; 0 = no limit.
        clock: whose turn it is.
    """

    def __init__(self, is_offline: bool = False, rate: int = 0, clock: Clock | None = None) -> None:
        self.configured_offline = is_offline
        self._clock = clock
        self._rate: DestinationRate | None = None
        self.set_rate(rate)
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

    def set_rate(self, messages_per_hour: int) -> None:
        """Take another rate; what was promised by the one before is forgotten."""
        if messages_per_hour != (self._rate.messages_per_hour if self._rate else 0):
            self._rate = DestinationRate(messages_per_hour) if messages_per_hour else None

    def hold_back(self, entry: QueueEntry, domain: str) -> str | datetime | None:
        """Say why mail to a domain elsewhere is not to be tried now, or until when; None = it is, and counts."""
        reason = self.reason(entry, domain)
        if reason or self._rate is None or self._clock is None:
            return reason or None
        now = self._clock.now()
        earliest = self._rate.earliest(domain, entry.number, entry.attempts, now)
        return earliest if earliest > now else None

    def standing(self) -> tuple[str, ...]:
        """All reasons that stand now."""
        return (*([OFFLINE] if self.is_offline else ()), *map(suspended, sorted(self.state.suspended)))
