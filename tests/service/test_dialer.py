"""IPv6 and IPv4 of one host: which is tried when, and which gets the mail."""

from __future__ import annotations

from twisted.internet.error import ConnectionRefusedError

from kms.domain.next_hop import NextHop
from kms.domain.outcome import Deferred, Delivered
from tests.support.remote_deliveries import BOTH, A, B, RemoteDeliveryCase
from tests.support.results import result_of
from tests.support.wire import ScriptedServer

A2, A3, B2 = "192.0.2.2", "192.0.2.3", "2001:db8::3"
SIX_FIRST = NextHop("mx.test", (B, A), 25)


class TestTheAddressesOfAHost(RemoteDeliveryCase):
    def dialled(self) -> list[str]:
        return [address for address, _ in self.network.dialled]

    def test_an_address_that_does_not_answer_costs_a_quarter_of_a_second(self) -> None:
        self.network.add(B, None)
        self.serve(A)
        sent = self.begin((SIX_FIRST,))
        self.clock.advance(0.2)
        assert self.dialled() == [B]
        self.clock.advance(0.05)
        self.network.pump()
        assert result_of(sent)[1].where == "mx.test[192.0.2.1]:25"
        assert self.dialled() == [B, A]

    def test_one_that_answers_in_time_is_the_only_one(self) -> None:
        self.serve(B)
        assert isinstance(self.send(SIX_FIRST), Delivered)
        self.clock.advance(1)
        assert self.dialled() == [B]

    def test_families_take_turns_and_at_most_four_race(self) -> None:
        many = NextHop("mx.test", (A, A2, A3, B, B2), 25)
        for address in many.addresses:
            self.network.add(address, None)
        sent = self.begin((many,))
        self.clock.pump([0.25] * 10)
        assert self.dialled() == [A, B, A2, B2]
        sent.addErrback(lambda _: None)
        sent.cancel()

    def test_what_is_left_is_tried_when_all_that_raced_have_failed(self) -> None:
        many = NextHop("mx.test", (A, A2, A3, B, B2), 25)
        for address in (A, A2, B, B2):
            self.network.add(address, ConnectionRefusedError())
        self.serve(A3)
        assert self.send(many).where == "mx.test[192.0.2.3]:25"
        assert self.dialled() == [A, B, A2, B2, A3]

    def test_the_loser_is_tried_where_the_winner_takes_no_mail_now(self) -> None:
        self.network.add(B, None, ScriptedServer())
        self.serve(A, greeting="421 busy")
        sent = self.begin((SIX_FIRST,))
        self.clock.advance(0.25)
        self.network.pump()
        assert result_of(sent)[1].where == "mx.test[2001:db8::2]:25"
        assert self.dialled() == [B, A, B]

    def test_a_kept_connection_is_used_before_another_address_is_dialled(self) -> None:
        self.network.add(B, None)
        self.serve(A)
        sent = self.begin((SIX_FIRST,))
        self.clock.advance(0.25)
        self.network.pump()
        assert isinstance(result_of(sent)[1], Delivered)
        assert self.send(SIX_FIRST).where == "mx.test[192.0.2.1]:25"
        assert self.dialled() == [B, A]

    def test_when_nobody_answers_the_outcome_says_what_happened_last(self) -> None:
        self.network.add(A, ConnectionRefusedError())
        self.network.add(B, RuntimeError("unreachable"))
        outcome = self.send(BOTH)
        assert isinstance(outcome, Deferred)
        assert outcome.where == "mx.test[2001:db8::2]:25"
        assert outcome.reply.text.endswith("unreachable")
