from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.internet.interfaces import IStreamClientEndpoint

from kms.domain import reply as replies
from kms.domain.next_hop import HopCredentials, NextHop, TlsPolicy
from kms.domain.outcome import Deferred, Delivered
from kms.service.clock import ClockOf
from kms.service.connection_pool import PoolRules
from kms.service.remote_delivery import RemoteDelivery, RemoteDeliverySettings
from tests.support.remote_deliveries import BOTH, HOP, A, B, RemoteDeliveryCase
from tests.support.results import result_of
from tests.support.wire import CLOSE, SILENCE


class TestKeptConnections(RemoteDeliveryCase):
    def test_serve_so_many_messages_and_say_quit(self) -> None:
        first, second = self.serve(), self.serve()
        for _ in range(4):
            assert isinstance(self.send(), Delivered)
        assert [len(first.received), len(second.received)] == [3, 1]
        assert first.commands[-1] == "QUIT"
        assert self.network.links[0].is_lost

    def test_serve_only_messages_for_the_same_hop_in_the_same_way(self) -> None:
        for hop in (
            HOP,
            NextHop("other.test", (A,), 25),
            NextHop("mx.test", (A,), 25, TlsPolicy.OFF),
            NextHop("mx.test", (A,), 25, credentials=HopCredentials("u", "p")),
        ):
            self.serve(extensions=("AUTH PLAIN",))
            self.send(hop)
        assert len(self.network.dialled) == 4

    def test_are_given_to_one_message_at_a_time(self) -> None:
        self.serve(replies={".": [SILENCE]})
        self.serve()
        first = self.begin()
        assert isinstance(self.send(), Delivered)
        assert not first.called
        self.network.links[0].lose()
        result_of(first)

    def test_say_quit_when_idle_for_long_enough(self) -> None:
        server = self.serve()
        self.send()
        self.clock.pump([1] * 4)
        self.network.pump()
        assert "QUIT" not in server.commands
        self.clock.pump([1, 1])
        self.network.pump()
        assert server.commands[-1] == "QUIT"
        assert self.delivery.pool.open_connections == 0

    def test_that_the_server_closed_are_forgotten(self) -> None:
        self.serve()
        self.serve()
        self.send()
        self.network.links[0].lose()
        assert isinstance(self.send(), Delivered)
        assert len(self.network.dialled) == 2

    def test_that_the_server_ended_are_forgotten_though_they_are_not_gone_yet(self) -> None:
        self.serve()
        self.serve()
        self.send()
        self.network.links[0].protocol.dataReceived(b"421 4.4.2 idle\r\n")
        assert isinstance(self.send(), Delivered)
        assert len(self.network.dialled) == 2

    def test_that_turn_out_dead_are_replaced_once_without_a_word(self) -> None:
        for said in (CLOSE, "421 4.4.2 idle"):
            self.serve(replies={"MAIL": ["250 ok", said]})
            self.serve()
            self.send()
            assert isinstance(self.send(), Delivered)
            self.delivery.pool.abort()
            self.network.pump()
            self.delivery = self.make()

    def test_whose_replacement_is_dead_too_are_an_ordinary_failure(self) -> None:
        self.serve(replies={"MAIL": ["250 ok", CLOSE]})
        self.serve(replies={"MAIL": [CLOSE]})
        self.send()
        assert self.send() == Deferred(replies.CONNECTION_LOST, "mx.test[192.0.2.1]:25")
        assert len(self.network.dialled) == 2

    def test_lost_after_the_dot_are_not_replaced(self) -> None:
        self.serve(replies={".": ["250 ok", CLOSE]})
        self.send()
        outcome = self.send()
        assert isinstance(outcome, Deferred)
        assert outcome.is_ambiguous
        assert len(self.network.dialled) == 1

    def test_are_not_kept_beyond_a_number(self) -> None:
        self.delivery = self.make(PoolRules(max_idle=1))
        self.serve(A)
        server = self.serve(B)
        self.send()
        self.send(NextHop("mx.test", (B,), 25))
        assert server.commands[-1] == "QUIT"
        assert self.delivery.pool.open_connections == 1


class TestShutdown(RemoteDeliveryCase):
    def test_idle_connections_say_quit_and_busy_ones_finish(self) -> None:
        idle, busy = self.serve(A), self.serve(B, replies={".": [SILENCE]})
        self.send()
        sent = self.begin((NextHop("mx.test", (B,), 25),))
        closed = self.delivery.pool.close()
        self.network.pump()
        assert idle.commands[-1] == "QUIT"
        assert not closed.called
        busy.output += b"250 2.0.0 taken\r\n"
        self.network.pump()
        assert isinstance(result_of(sent)[1], Delivered)
        assert busy.commands[-1] == "QUIT"
        result_of(closed)

    def test_with_nothing_open_is_over_at_once(self) -> None:
        result_of(self.delivery.pool.close())

    def test_no_connection_is_opened_after_it(self) -> None:
        self.delivery.pool.close()
        assert self.send().reply == replies.CONNECTION_LOST
        assert self.network.dialled == []

    def test_cut_short_defers_what_is_under_way(self) -> None:
        self.serve(replies={"MAIL": [SILENCE]}, extensions=())
        sent = self.begin()
        self.delivery.pool.abort()
        assert result_of(sent)[1].reply == replies.CONNECTION_LOST

    def test_a_connection_that_comes_too_late_is_dropped(self) -> None:
        server = self.serve()
        connect = self.network.connector

        def close_then_connect(address: str, port: int) -> IStreamClientEndpoint:
            self.delivery.pool.close()
            return connect(address, port)

        self.delivery = RemoteDelivery(
            RemoteDeliverySettings("kms.test"),
            ClockOf(self.clock),
            close_then_connect,
            self.tls,
            self.resolver,
            maybeDeferred,
        )
        assert self.send().reply == replies.CONNECTION_LOST
        assert server.commands == []

    def test_a_call_that_is_cancelled_closes_its_connection(self) -> None:
        for script in (
            {"greeting": SILENCE},
            {"replies": {"MAIL": [SILENCE]}},
            {"replies": {"DATA": [SILENCE]}},
        ):
            self.serve(**script)
            sent = self.begin((BOTH,))
            sent.cancel()
            self.network.pump()
            with pytest.raises(CancelledError):
                result_of(sent)
            assert self.network.links[-1].is_lost

    def test_a_call_that_is_cancelled_while_connecting_tries_nothing_else(self) -> None:
        self.network.add(A, None)
        sent = self.begin((BOTH,))
        sent.cancel()
        with pytest.raises(CancelledError):
            result_of(sent)
        assert len(self.network.dialled) == 1
