from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred as TwistedDeferred

from kms.domain import reply as replies
from kms.domain.content import FileContent
from kms.domain.outcome import Deferred, Delivered, Failed, Outcome
from kms.service.connection_pool import PoolRules
from kms.store.bodies import BodyDamaged
from tests.support.memory_network import Link
from tests.support.remote_deliveries import BOTH, RemoteDeliveryCase, untyped
from tests.support.results import result_of
from tests.support.wire import SILENCE


class TestTime(RemoteDeliveryCase):
    def wait_for(self, seconds: int, **script: Any) -> Outcome:
        self.serve(**script)
        sent = self.begin()
        self.clock.pump([1] * (seconds - 1))
        self.network.pump()
        assert not sent.called
        self.clock.pump([1, 1])
        self.network.pump()
        return result_of(sent)[1]

    def test_each_answer_has_its_limit(self) -> None:
        for seconds, verb in ((300, "EHLO"), (300, "MAIL"), (120, "DATA"), (600, ".")):
            outcome = self.wait_for(seconds, replies={verb: [SILENCE]}, extensions=())
            assert outcome.reply == replies.NO_ANSWER_IN_TIME, verb
            assert isinstance(outcome, Deferred)
            assert outcome.is_ambiguous == (verb == ".")
            assert self.network.links[-1].transport.is_aborted

    def test_the_greeting_has_its_limit(self) -> None:
        outcome = self.wait_for(300, greeting=SILENCE)
        assert outcome.reply == replies.NO_ANSWER_IN_TIME

    def test_octets_that_are_no_answer_win_no_time(self) -> None:
        self.serve(greeting=SILENCE)
        sent = self.begin()
        for _ in range(299):
            self.clock.advance(1)
            self.network.links[0].protocol.dataReceived(b"2")
        self.clock.pump([1, 1])
        self.network.pump()
        assert isinstance(result_of(sent)[1], Deferred)

    def test_a_server_that_does_not_answer_quit_is_cut(self) -> None:
        self.serve(replies={"QUIT": [SILENCE]})
        self.delivery.pool.rules = PoolRules(messages_per_connection=1)
        self.send()
        link = self.network.links[0]
        self.clock.pump([1] * 4)
        assert not link.transport.is_aborted
        self.clock.pump([1] * 2)
        assert link.transport.is_aborted

    def test_a_connection_that_lingers_after_its_end_is_cut(self) -> None:
        self.serve(greeting=SILENCE)
        sent = self.begin()
        link = self.network.links[0]
        link.protocol.dataReceived(b"554 no\r\n")
        assert isinstance(result_of(sent)[1], Failed)
        self.clock.pump([1] * 11)
        assert link.transport.is_aborted


class TestFiles(RemoteDeliveryCase):
    def file(self, octets: int) -> FileContent:
        path = self.temporary_path()
        line = b"." + b"x" * 62 + b"\r\n"
        path.write_bytes(line * (octets // len(line)) + b"y" * (octets % len(line)))
        self.data = path.read_bytes()
        return FileContent(str(path), octets)

    def test_are_sent_whole(self) -> None:
        server = self.serve()
        assert isinstance(self.send(content=self.file(500_000)), Delivered)
        assert server.received[0].content == self.data + b"\r\n"
        assert self.network.links[0].transport.producer is None

    def test_are_read_only_as_fast_as_the_server_reads(self) -> None:
        link, sent = self.send_to_a_server_that_does_not_read()
        assert sum(map(len, link.transport.written)) < 70_000
        assert not sent.called
        link.is_stuck = False
        self.network.pump()
        assert isinstance(result_of(sent)[1], Delivered)
        assert link.server.received[0].content == self.data + b"\r\n"

    def test_a_server_that_stops_reading_is_given_up(self) -> None:
        link, sent = self.send_to_a_server_that_does_not_read()
        self.clock.pump([1] * 179)
        assert not sent.called
        self.clock.pump([1, 1])
        assert result_of(sent)[1] == Deferred(replies.NO_ANSWER_IN_TIME, "mx.test[192.0.2.1]:25")
        assert link.transport.is_aborted

    def test_loss_while_the_server_does_not_read_defers(self) -> None:
        link, sent = self.send_to_a_server_that_does_not_read()
        link.lose()
        assert result_of(sent)[1].reply == replies.CONNECTION_LOST

    def test_an_answer_before_the_end_closes_over_tls_as_well(self) -> None:
        link, sent = self.send_to_a_server_that_does_not_read()
        link.server.output += b"552 5.3.4 too large\r\n"
        self.network.pump()
        assert isinstance(result_of(sent)[1], Failed)
        assert link.transport.producer is None
        assert link.is_lost

    def send_to_a_server_that_does_not_read(self) -> tuple[Link, TwistedDeferred[dict[int, Outcome]]]:
        self.network.high_water_octets = 1000
        server = self.serve(replies={"DATA": [SILENCE]})
        sent = self.begin(content=self.file(1_000_000))
        (link,) = self.network.links
        link.is_stuck = True
        server.go_on()
        self.network.pump()
        return link, sent

    def test_that_are_missing_or_too_short_never_end_with_a_dot(self) -> None:
        short = self.file(100)
        for content in (FileContent("/nonexistent/x", 5), FileContent(short.path, 200)):
            server = self.serve()
            outcome = self.send(BOTH, content=content)
            assert outcome == Deferred(replies.CONTENT_UNREADABLE, "mx.test[192.0.2.1]:25")
            assert server.received == []
            assert self.network.links[-1].transport.is_aborted
            assert len(untyped(self).flushLoggedErrors(OSError, BodyDamaged)) == 1

    def test_loss_while_a_piece_is_being_read_defers(self) -> None:
        for octets in (500_000, 10):
            self.serve()
            waiting: list[TwistedDeferred[Any]] = []
            self.run_in_thread = partial(_call_later, waiting)
            sent = self.begin(content=self.file(octets))
            for _ in range(2):
                waiting.pop().callback(None)
            self.network.pump()
            self.network.links[-1].lose()
            assert result_of(sent)[1].reply == replies.CONNECTION_LOST
            waiting.pop().callback(None)
            assert waiting == []


def _call_later(
    waiting: list[TwistedDeferred[Any]], function: Callable[..., Any], *args: Any
) -> TwistedDeferred[Any]:
    waiting.append(TwistedDeferred())
    return waiting[-1].addCallback(lambda _: function(*args))
