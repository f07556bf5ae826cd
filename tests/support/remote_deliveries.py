"""A remote delivery on a network in memory, for its tests."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred as TwistedDeferred
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kms.domain.address import Mailbox
from kms.domain.content import Content, InlineContent
from kms.domain.dns_answer import (
    AddressAnswer,
    AliasAnswer,
    MxAnswer,
    NamesAnswer,
    NoRecords,
    NoSuchDomain,
    TextAnswer,
    TlsaAnswer,
)
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import NextHop, TlsPolicy
from kms.domain.outcome import Outcome
from kms.domain.published_tls import DaneDemand
from kms.service.clock import ClockOf
from kms.service.connection_pool import PoolRules
from kms.service.remote_delivery import RemoteDelivery, RemoteDeliverySettings
from tests.support.memory_network import MemoryNetwork
from tests.support.results import result_of
from tests.support.wire import ScriptedServer

A, B = "192.0.2.1", "2001:db8::2"
HOP = NextHop("mx.test", (A,), 25)
BOTH = NextHop("mx.test", (A, B), 25)
CONTENT = InlineContent(b"Subject: x\r\n\r\nhello\r\n")
TLS = ("PIPELINING", "STARTTLS")


class TableResolver:
    def __init__(self) -> None:
        self.answers: dict[str, AddressAnswer] = {}
        self.tlsa: dict[str, TlsaAnswer] = {}

    async def lookup_mx(self, domain: str) -> MxAnswer:
        return NoRecords()

    async def lookup_addresses(self, host: str) -> AddressAnswer:
        return self.answers.get(host, NoSuchDomain())

    async def lookup_names(self, address: str) -> NamesAnswer:
        return NoRecords()

    async def lookup_texts(self, name: str) -> TextAnswer:
        return NoRecords()

    async def lookup_tlsa(self, host: str, port: int) -> TlsaAnswer:
        return self.tlsa.get(host, NoRecords())

    async def lookup_alias(self, name: str) -> AliasAnswer:
        return NoRecords()


class Verdict:
    def __init__(self, problems: list[str], refusal: str = "") -> None:
        self.problems = problems
        self._refusal = refusal

    def judge(self, connection: object) -> str:
        return self._refusal


class RecordingTls:
    def __init__(self) -> None:
        self.asked: list[tuple[str, TlsPolicy]] = []
        self.problems: list[str] = []
        self.pinned: list[DaneDemand] = []
        self.refusal = ""

    def creator_for(self, host: str, policy: TlsPolicy, dane: DaneDemand | None = None) -> Verdict:
        self.asked.append((host, policy))
        if dane is None:
            return Verdict(self.problems)
        self.pinned.append(dane)
        return Verdict([], self.refusal)


def recipients(count: int) -> tuple[Recipient, ...]:
    mailboxes = [Mailbox(f"r{number}", "far.test") for number in range(1, count + 1)]
    return tuple(Recipient(number, mailbox, mailbox) for number, mailbox in enumerate(mailboxes, 1))


def untyped(case: SynchronousTestCase) -> Any:
    return case


class RemoteDeliveryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork()
        self.resolver = TableResolver()
        self.tls = RecordingTls()
        self.run_in_thread: Callable[..., TwistedDeferred[Any]] = maybeDeferred
        self.folders: list[tempfile.TemporaryDirectory[str]] = []
        self.delivery = self.make()

    def tearDown(self) -> None:
        for folder in self.folders:
            folder.cleanup()
        self.delivery.pool.abort()
        for link in self.network.links:
            if not link.is_lost:
                link.lose()
        assert self.delivery.pool.open_connections == 0
        assert self.clock.getDelayedCalls() == []

    def make(self, pool: PoolRules = PoolRules(messages_per_connection=3)) -> RemoteDelivery:  # noqa: B008
        return RemoteDelivery(
            RemoteDeliverySettings("kms.test", pool),
            ClockOf(self.clock),
            self.network.connector,
            self.tls,
            self.resolver,
            lambda function, *args: self.run_in_thread(function, *args),
        )

    def temporary_path(self) -> Path:
        """A path in a folder that goes with the test; trial's own mktemp would litter the checkout."""
        folder = tempfile.TemporaryDirectory()
        self.folders.append(folder)
        return Path(folder.name) / "body"

    def begin(
        self, hops: Sequence[NextHop] = (HOP,), count: int = 1, content: Content = CONTENT
    ) -> TwistedDeferred[dict[int, Outcome]]:
        group = recipients(count)
        envelope = Envelope(Mailbox("from", "near.test"), group)
        sent = TwistedDeferred.fromCoroutine(self.delivery.send(hops, envelope, group, content))
        self.network.pump()
        return sent

    def send(self, *hops: NextHop, content: Content = CONTENT) -> Outcome:
        return result_of(self.begin(hops or (HOP,), content=content))[1]

    def serve(self, address: str = A, **script: Any) -> ScriptedServer:
        server = ScriptedServer(**script)
        self.network.add(address, server)
        return server
