"""What the server knows of each client's doings: connections, messages, unknown recipients, blocks.

Looking has no effect. A place for a message is reserved at MAIL, counted once when its 250 is earned, else given
back. Time is the monotonic clock's; what is stored has the wall clock's instants, so that a restart goes on where
the server was, and no jump lifts or stretches a block. A block is stored at once and holds up nobody; one line
of the security log tells of its end, after a restart too.
Flow: service/client_check.py looks; service/limit_effects.py counts, by way of `Decisions`.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from kms.policy.block import Block, BlockKind
from kms.policy.client_memory import ClientMemory
from kms.service.clock import Clock
from kms.service.database import Database
from kms.service.security_log import SecurityLog
from kms.store import client_ledger as store
from kms.store.client_ledger import ClientEvent

_MOST_LOADED = 1_000_000


class Tally:
    """How many of a thing each client has at this moment; as large as there are such things."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, client: str) -> int:
        """How many there are."""
        return self._counts.get(client, 0)

    def add(self, client: str) -> None:
        """One more."""
        self._counts[client] = self._counts.get(client, 0) + 1

    def remove(self, client: str) -> None:
        """One less; there is one."""
        left = self._counts[client] - 1
        if left:
            self._counts[client] = left
        else:
            del self._counts[client]


class Place:
    """A message's place among those that its client may send within an hour."""

    __slots__ = ("_is_open", "_ledger", "client")

    def __init__(self, ledger: ClientLedger, client: str) -> None:
        self._ledger = ledger
        self._is_open = True
        self.client = client
        ledger.reserved.add(client)

    def give_back(self) -> None:
        """No message came of it; nothing happens where it was counted or given back before."""
        if self._is_open:
            self._is_open = False
            self._ledger.reserved.remove(self.client)

    def count(self) -> None:
        """Its message is stored."""
        self.give_back()
        self._ledger.memory.count_message(self.client, self._ledger.clock.monotonic())

    def event(self) -> ClientEvent:
        """What the store is to remember, in the transaction of the message."""
        return ClientEvent(self.client, self._ledger.clock.now())


@attrs.frozen
class Counters:
    """What is counted of one client; `reserved` are messages that are not answered yet."""

    client: str
    messages: int
    reserved: int
    smtp_connections: int
    pop3_connections: int
    unknown_recipients: int


class ClientLedger:
    """The doings of all clients.

    Args:
        database: where they survive a restart.
        clock: for both times.
        log: tells of the end of blocks.

    Attributes:
        connections, pop3_connections: open ones.
        reserved: messages under way.
        memory: what counts for an hour, and the blocks.
    """

    def __init__(self, database: Database, clock: Clock, log: SecurityLog) -> None:
        self.clock = clock
        self.connections = Tally()
        self.pop3_connections = Tally()
        self.reserved = Tally()
        self.memory = ClientMemory()
        self._database = database
        self._security_log = log
        self._ending: IDelayedCall | None = None
        self._log = Logger(namespace="kms.client_ledger")

    def take(self, connection: Any) -> None:
        """Take over what is stored, before the first client is served."""
        now, monotonic = self.clock.now(), self.clock.monotonic()
        for event in store.load_messages(connection, now, _MOST_LOADED):
            age = (now - event.at).total_seconds()
            self.memory.count_message(event.client, monotonic - age)
        for event in store.load_unknown_recipients(connection, now, _MOST_LOADED):
            age = (now - event.at).total_seconds()
            self.memory.count_unknown_recipient(event.client, monotonic - age)
        for block in store.load_blocks(connection):
            left = min(
                block.until - now, block.until - block.since
            )  # no jump back makes it longer than it was
            self.memory.block(block, monotonic + left.total_seconds())

    def start(self) -> None:
        """Begin to tell of blocks that end; those that ended while no server ran are told of at once."""
        self._end_blocks()

    def stop(self) -> None:
        """Tell no more."""
        if self._ending is not None and self._ending.active():
            self._ending.cancel()
        self._ending = None

    # Looks

    # `ahead_seconds` looks from so much later than now, for a session that is only made up.

    def messages_of(self, client: str, ahead_seconds: float = 0.0) -> int:
        """How many messages count: those of the last hour, and those under way."""
        now = self.clock.monotonic() + ahead_seconds
        return self.memory.messages.count(client, now) + self.reserved.count(client)

    def unknown_recipients_of(self, client: str, ahead_seconds: float = 0.0) -> int:
        """How many unknown recipients count."""
        return self.memory.unknown_recipients.count(client, self.clock.monotonic() + ahead_seconds)

    def seconds_to_room(self, client: str, limit: int) -> float:
        """How long until another message may come, as far as that can be said."""
        now = self.clock.monotonic()
        room = max(1, limit - self.reserved.count(client))
        return self.memory.messages.room_at(client, room, now) - now

    def block_of(
        self, client: str, kind: BlockKind, account: str = "", ahead_seconds: float = 0.0
    ) -> Block | None:
        """The block that a client has."""
        return self.memory.blocks.find(client, kind, self.clock.monotonic() + ahead_seconds, account)

    def blocks(self) -> list[Block]:
        """All blocks, by client; `until` is what it is on the wall clock of now."""
        now = self.clock.now()
        lasting = self.memory.blocks.lasting(self.clock.monotonic())
        return [attrs.evolve(block, until=now + timedelta(seconds=left)) for block, left in lasting]

    def counters_of(self, client: str) -> Counters:
        """All counters of a client."""
        now = self.clock.monotonic()
        return Counters(
            client=client,
            messages=self.memory.messages.count(client, now),
            reserved=self.reserved.count(client),
            smtp_connections=self.connections.count(client),
            pop3_connections=self.pop3_connections.count(client),
            unknown_recipients=self.memory.unknown_recipients.count(client, now),
        )

    # Effects

    def reserve(self, client: str) -> Place:
        """Reserve a place for a message."""
        return Place(self, client)

    def count_unknown_recipient(self, client: str) -> None:
        """A recipient was refused because nobody has that address."""
        self.memory.count_unknown_recipient(client, self.clock.monotonic())
        event = ClientEvent(client, self.clock.now())
        self._watch(self._database.run_batched(store.count_unknown_recipients, event))

    def block(
        self, client: str, kind: BlockKind, length: timedelta, why: str, account: str = ""
    ) -> Deferred[None]:
        """Block a client from now on, in the place of the block of that kind and account that it has.

        Returns:
            Fires when it is stored; never fails: in memory it holds anyway.
        """
        now = self.clock.now()
        block = Block(client, kind, now, now + length, why, account)
        self.memory.block(block, self.clock.monotonic() + length.total_seconds())
        self._await_next_end()
        return self._watch(self._database.run_batched(store.put_blocks, block))

    async def lift(self, client: str) -> int:
        """End all blocks of a client and count its unknown recipients from nothing; says how many blocks."""
        lifted = self.memory.blocks.remove(client)
        self.memory.unknown_recipients.forget(client)
        for block in lifted:
            self._security_log.block_ended(block, is_lifted=True)
        now = self.clock.now()
        await self._database.run(lambda connection: store.lift_blocks(connection, client, now))
        return len(lifted)

    async def sweep(self) -> None:
        """Forget what is more than an hour old, in memory and in the store."""
        self.memory.forget_ended(self.clock.monotonic())
        now = self.clock.now()
        while await self._database.run(lambda connection: store.purge(connection, now)):
            pass

    # The ends of blocks

    def _end_blocks(self) -> None:
        self._ending = None
        ended = self.memory.blocks.take_ended(self.clock.monotonic())
        for block in ended:
            self._security_log.block_ended(block, is_lifted=False)
        if ended:
            self._watch(self._database.run(partial(store.remove_blocks, keys=[block.key for block in ended])))
        self._await_next_end()

    def _await_next_end(self) -> None:
        end = self.memory.blocks.next_end
        if end is None:
            return
        left = max(0.0, end - self.clock.monotonic())
        if self._ending is None:
            self._ending = self.clock.call_later(left, self._end_blocks)
        else:
            self._ending.reset(left)

    def _watch(self, stored: Deferred[Any]) -> Deferred[None]:
        return stored.addCallbacks(lambda _: None, self._not_stored)

    def _not_stored(self, failure: Any) -> None:
        self._log.error("What a client did could not be stored: {error}", error=failure.value)
