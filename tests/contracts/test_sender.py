"""What every `kms.ports.Sender` promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from kms.domain.address import Mailbox
from kms.domain.content import Content, FileContent, InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import NextHop
from kms.domain.outcome import Deferred as DeferredOutcome
from kms.domain.outcome import Delivered, Failed, Outcome
from kms.ports import Sender
from kms.service.client_connection import TlsCreator
from kms.service.clock import ClockOf
from kms.service.remote_delivery import RemoteDelivery, RemoteDeliverySettings
from tests.support.fakes import FakeResolver, FakeSender
from tests.support.memory_network import MemoryNetwork
from tests.support.wire import ScriptedServer

HOP = NextHop("mx.test", ("192.0.2.1",), 25)
DATA = b"Subject: x\r\n\r\n.hello\r\n"
SENDER = Mailbox("from", "near.test")


def recipients(*numbers: int) -> tuple[Recipient, ...]:
    mailboxes = [(number, Mailbox(f"r{number}", "far.test")) for number in numbers]
    return tuple(Recipient(number, mailbox, mailbox) for number, mailbox in mailboxes)


class SenderContract:
    """Subclasses give a sender, and how to let its attempts end."""

    def make_sender(self, script: str = "250 2.0.0 taken") -> Sender:
        """Give a sender whose next hop answers `script` to the content."""
        raise NotImplementedError

    def taken(self) -> list[bytes]:
        """Give the contents that were sent."""
        raise NotImplementedError

    def finish(self) -> None:
        """Let what is under way end."""

    def send(self, sender: Sender, content: Content, *numbers: int) -> dict[int, Outcome]:
        group = recipients(*numbers)
        results: list[dict[int, Outcome]] = []
        coroutine = sender.send((HOP,), Envelope(SENDER, recipients(*range(1, 10))), group, content)
        sent = Deferred.fromCoroutine(coroutine)
        sent.addCallback(results.append)
        self.finish()
        (result,) = results
        return result

    def test_gives_one_outcome_for_each_recipient_by_id(self) -> None:
        outcomes = self.send(self.make_sender(), InlineContent(DATA), 2, 7)
        assert set(outcomes) == {2, 7}
        assert all(isinstance(outcome, Delivered) for outcome in outcomes.values())

    def test_sends_a_content_in_memory_as_it_is(self) -> None:
        self.send(self.make_sender(), InlineContent(DATA), 1)
        assert self.taken() == [DATA]

    def test_sends_a_content_in_a_file_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "body"
        path.write_bytes(DATA)
        self.send(self.make_sender(), FileContent(str(path), len(DATA)), 1)
        assert self.taken() == [DATA]

    @pytest.mark.parametrize(
        ("script", "kind"), [("451 4.3.0 no", DeferredOutcome), ("554 5.6.0 no", Failed)]
    )
    def test_gives_a_refusal_as_a_value(self, script: str, kind: type) -> None:
        outcomes = self.send(self.make_sender(script), InlineContent(DATA), 1, 2)
        assert {type(outcome) for outcome in outcomes.values()} == {kind}
        assert {outcome.reply.code for outcome in outcomes.values()} == {int(script[:3])}

    def test_can_be_used_again_and_again(self) -> None:
        sender = self.make_sender()
        for number in (1, 2, 3):
            assert set(self.send(sender, InlineContent(DATA), number)) == {number}
        assert len(self.taken()) == 3


class TestFakeSender(SenderContract):
    def make_sender(self, script: str = "250 2.0.0 taken") -> Sender:
        from kms.domain.reply import Reply
        from kms.domain.status import EnhancedStatus

        reply = Reply(int(script[:3]), EnhancedStatus.parse(script[4:9]), script[10:])
        kind: Callable[[Reply, str], Outcome] = {"2": Delivered, "4": DeferredOutcome, "5": Failed}[script[0]]
        self.fake = FakeSender([kind(reply, "mx.test")] if script[0] != "2" else [])
        return self.fake

    def taken(self) -> list[bytes]:
        return [attempt.octets for attempt in self.fake.attempts]


class NoTls:
    def creator_for(self, host: str, policy: object, dane: object = None) -> TlsCreator:
        raise AssertionError


class TestRemoteDelivery(SenderContract):
    def make_sender(self, script: str = "250 2.0.0 taken") -> Sender:
        self.network = MemoryNetwork()
        self.server = ScriptedServer(replies={".": [script]})
        self.network.add("192.0.2.1", self.server)
        return RemoteDelivery(
            RemoteDeliverySettings("kms.test"),
            ClockOf(Clock()),
            self.network.connector,
            NoTls(),
            FakeResolver(),
            maybeDeferred,
        )

    def finish(self) -> None:
        self.network.pump()

    def taken(self) -> list[bytes]:
        return [mail.content for mail in self.server.received]
