"""What is remembered of clients: how often each did a thing within the last hour, and who is blocked.

The hour is a true sliding one: every event's instant is kept, so that an event counts for 60 minutes exactly.
Instants are seconds of the monotonic clock and come in their order.

Bounded: `MOST_CLIENTS` entries in all tables together, `MOST_INSTANTS` instants. Beyond that the tally that had
no event for the longest time is forgotten first; a block only where no tally is left, and then the one that
ends first. A million different sources cost about 60 MB at most (tests/policy/test_client_memory.py).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from collections import OrderedDict

from kms.policy.block import Block, BlockTable

HOUR_SECONDS = 3600.0
MOST_CLIENTS = 100_000
MOST_INSTANTS = 4_000_000


class SlidingTally:
    """How many events each client had within the last hour.

    Attributes:
        instants: how many are kept.
    """

    def __init__(self) -> None:
        self.instants = 0
        self._clients: OrderedDict[str, array[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clients)

    def count(self, client: str, now: float) -> int:
        """Say how many events of a client are less than an hour old."""
        events = self._clients.get(client)
        return 0 if events is None else len(events) - bisect_right(events, now - HOUR_SECONDS)

    def add(self, client: str, at: float) -> None:
        """Count one event."""
        self.instants += 1
        events = self._clients.get(client)
        if events is None:
            self._clients[client] = array("d", (at,))
            return
        self._clients.move_to_end(client)
        old = bisect_right(events, at - HOUR_SECONDS)
        if old * 2 > len(events):  # seldom enough that moving the others costs next to nothing
            del events[:old]
            self.instants -= old
        insort(events, at)

    def room_at(self, client: str, limit: int, now: float) -> float:
        """Say when fewer than `limit` events of a client will be less than an hour old; `now` where that is so."""
        excess = self.count(client, now) - limit
        return now if excess < 0 else self._clients[client][-limit] + HOUR_SECONDS

    def forget(self, client: str) -> None:
        """Count a client from nothing."""
        self.instants -= len(self._clients.pop(client, ()))

    def forget_ended(self, now: float) -> None:
        """Forget the clients whose last event is an hour old."""
        while self._clients:
            client, events = next(iter(self._clients.items()))
            if events[-1] > now - HOUR_SECONDS:
                break
            self.forget(client)

    @property
    def idlest(self) -> tuple[float, str]:
        """The client that had no event for the longest time, after the instant of its last one."""
        client, events = next(iter(self._clients.items()))
        return events[-1], client


class ClientMemory:
    """Tallies and blocks in one room.

    Args:
        most_clients, most_instants: the size of the room.

    Attributes:
        messages: those answered 250.
        unknown_recipients: those refused because nobody has that address.
        blocks: who is refused for a time.
    """

    def __init__(self, most_clients: int = MOST_CLIENTS, most_instants: int = MOST_INSTANTS) -> None:
        self._most_clients = most_clients
        self._most_instants = most_instants
        self.messages = SlidingTally()
        self.unknown_recipients = SlidingTally()
        self.blocks = BlockTable()

    def __len__(self) -> int:
        return len(self.messages) + len(self.unknown_recipients) + len(self.blocks)

    def count_message(self, client: str, at: float) -> None:
        """Count a message that was answered 250."""
        self.messages.add(client, at)
        self._make_room()

    def count_unknown_recipient(self, client: str, at: float) -> None:
        """Count a recipient that does not exist."""
        self.unknown_recipients.add(client, at)
        self._make_room()

    def block(self, block: Block, deadline: float) -> None:
        """Block a client until `deadline`."""
        self.blocks.put(block, deadline)
        self._make_room()

    def forget_ended(self, now: float) -> None:
        """Forget what does not count any more; blocks are left to `BlockTable.take_ended`."""
        self.messages.forget_ended(now)
        self.unknown_recipients.forget_ended(now)

    def _make_room(self) -> None:
        while len(self) > self._most_clients or self._instants > self._most_instants:
            tallies = [tally for tally in (self.messages, self.unknown_recipients) if len(tally)]
            if not tallies:
                self.blocks.take_next()
                continue
            idlest = min(tallies, key=lambda tally: tally.idlest)
            idlest.forget(idlest.idlest[1])

    @property
    def _instants(self) -> int:
        return self.messages.instants + self.unknown_recipients.instants
