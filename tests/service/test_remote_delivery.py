from __future__ import annotations

from datetime import timedelta

from twisted.internet.defer import Deferred as TwistedDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from kms.domain import reply as replies
from kms.domain import status
from kms.domain.address import Mailbox
from kms.domain.dns_answer import Addresses, LookupFailed, NoRecords, NoSuchDomain
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import HopCredentials, NextHop, TlsPolicy
from kms.domain.outcome import Deferred, Delivered, Failed, Outcome
from kms.domain.reply import Reply
from kms.domain.status import EnhancedStatus
from kms.service.dead_addresses import REMEMBERED_SECONDS
from kms.service.remote_delivery import tcp_connector
from tests.support.remote_deliveries import BOTH, CONTENT, HOP, TLS, A, B, RemoteDeliveryCase, recipients
from tests.support.results import result_of
from tests.support.wire import CLOSE, ScriptedServer


class TestDelivery(RemoteDeliveryCase):
    def test_names_host_address_and_port_in_the_outcome(self) -> None:
        server = self.serve()
        outcome = self.send()
        assert outcome == Delivered(Reply(250, status.OK, "taken"), "mx.test[192.0.2.1]:25")
        assert server.received[0].content == CONTENT.data
        assert self.network.links[0].transport.has_no_delay

    def test_fails_what_no_server_could_take_without_connecting(self) -> None:
        bad = Mailbox("a\0", "far.test")
        group = (Recipient(1, bad, bad),)
        coroutine = self.delivery.send((HOP,), Envelope(None, group), group, CONTENT)
        result = result_of(TwistedDeferred.fromCoroutine(coroutine))
        assert result == {1: Failed(replies.UNSENDABLE_RECIPIENT, "none")}
        assert self.network.dialled == []

    def test_fails_the_unsendable_and_delivers_to_the_others(self) -> None:
        self.serve()
        group = (*recipients(1), Recipient(2, Mailbox("a\r\nb", "far.test"), Mailbox("a", "far.test")))
        sent = TwistedDeferred.fromCoroutine(
            self.delivery.send((HOP,), Envelope(None, group), group, CONTENT)
        )
        self.network.pump()
        outcomes = result_of(sent)
        assert [type(outcomes[1]), type(outcomes[2])] == [Delivered, Failed]

    def test_speaks_lmtp_to_a_hop_of_that_kind(self) -> None:
        server = self.serve(is_lmtp=True)
        assert isinstance(self.send(NextHop("mx.test", (A,), 25, is_lmtp=True)), Delivered)
        assert server.commands[0] == "LHLO kms.test"

    def test_names_a_unix_socket_by_its_path(self) -> None:
        self.network.add("/run/l", ScriptedServer(is_lmtp=True), port=0)
        hop = NextHop("localhost", ("/run/l",), 0, TlsPolicy.OFF, is_lmtp=True)
        assert self.send(hop).where == "localhost[/run/l]"


class TestOrderOfHosts(RemoteDeliveryCase):
    def test_each_address_of_a_host_is_tried_then_the_next_host(self) -> None:
        self.network.add(A, ConnectionRefusedError())
        self.network.add(B, ConnectionRefusedError())
        self.network.add("192.0.2.9", ScriptedServer())
        outcome = self.send(BOTH, NextHop("mx2.test", ("192.0.2.9",), 25))
        assert outcome.where == "mx2.test[192.0.2.9]:25"
        assert [address for address, _ in self.network.dialled] == [A, B, "192.0.2.9"]

    def test_an_address_that_was_dead_is_tried_last_for_some_minutes(self) -> None:
        six_first = NextHop("mx.test", (B, A), 25)
        self.network.add(B, ConnectionRefusedError())
        self.serve(A)
        self.serve(A)
        assert self.send(six_first).where == "mx.test[192.0.2.1]:25"
        self.clock.pump([1] * 10)  # the kept connection closes
        self.network.pump()
        assert self.send(six_first).where == "mx.test[192.0.2.1]:25"
        assert [address for address, _ in self.network.dialled] == [B, A, A]
        self.clock.pump([1] * 10)
        self.network.pump()
        self.clock.advance(REMEMBERED_SECONDS)
        self.serve(B)
        assert self.send(six_first).where == "mx.test[2001:db8::2]:25"

    def test_an_address_that_was_dead_is_still_tried_where_there_is_no_other(self) -> None:
        self.network.add(A, ConnectionRefusedError())
        assert isinstance(self.send(), Deferred)
        self.serve(A)
        assert isinstance(self.send(), Delivered)

    def test_nobody_answering_defers_with_the_reason(self) -> None:
        self.network.add(A, ConnectionRefusedError())
        outcome = self.send()
        assert isinstance(outcome, Deferred)
        assert (outcome.reply.code, str(outcome.reply.status)) == (450, "4.4.1")
        assert "refused" in outcome.reply.text
        assert outcome.where == "mx.test[192.0.2.1]:25"

    def test_any_fault_of_connecting_defers(self) -> None:
        self.network.add(A, RuntimeError("x\r\ny\0"))
        assert self.send().reply.text.endswith(": x y?")

    def test_a_host_that_takes_no_mail_now_gives_way_to_the_next_address(self) -> None:
        for script in (
            {"greeting": "421 busy"},
            {"greeting": "450 later"},
            {"greeting": "554 no mail here"},
            {"greeting": CLOSE},
            {"greeting": "what?"},
            {"replies": {"EHLO": ["450 later"]}},
            {"replies": {"MAIL": [CLOSE]}},
            {"replies": {"MAIL": ["421 going down"]}},
        ):
            self.serve(A, **script)
            self.serve(B)
            assert self.send(BOTH).where == "mx.test[2001:db8::2]:25", script
            self.delivery.pool.abort()
            self.network.pump()
            self.delivery = self.make()

    def test_a_host_that_has_looked_at_the_message_is_the_last_one(self) -> None:
        for verb, said in (("MAIL", "550 no"), ("MAIL", "451 no"), ("RCPT", "550 no"), ("RCPT", CLOSE)):
            self.serve(A, replies={verb: [said]})
            self.send(BOTH)
        assert (B, 25) not in self.network.dialled

    def test_a_greeting_that_refuses_for_good_everywhere_fails(self) -> None:
        self.serve(A, greeting="554 no mail here")
        self.serve(B, greeting="554 nor here")
        reply = Reply(554, EnhancedStatus(5, 0, 0), "nor here")
        assert self.send(BOTH) == Failed(reply, "mx.test[2001:db8::2]:25")

    def test_a_greeting_that_refuses_for_good_does_not_outweigh_one_for_now(self) -> None:
        self.serve(A, greeting="421 busy")
        self.serve(B, greeting="554 no mail here")
        assert self.send(BOTH).reply.code == 421

    def test_loss_after_the_dot_is_ambiguous_and_never_sent_again(self) -> None:
        server = self.serve(A, replies={".": [CLOSE]})
        outcome = self.send(BOTH)
        assert outcome == Deferred(replies.CONNECTION_LOST, "mx.test[192.0.2.1]:25", is_ambiguous=True)
        assert len(self.network.dialled) == 1
        assert server.received == []


class TestSmarthostByName(RemoteDeliveryCase):
    SMARTHOST = NextHop("smart.test", (), 587)

    def test_is_looked_up(self) -> None:
        self.resolver.answers["smart.test"] = Addresses((B, A))
        self.network.add(B, ConnectionRefusedError(), port=587)
        self.network.add(A, ScriptedServer(), port=587)
        assert self.send(self.SMARTHOST).where == "smart.test[192.0.2.1]:587"

    def test_that_cannot_be_found_defers_whatever_the_dns_says(self) -> None:
        for answer in (NoSuchDomain(), NoRecords(), LookupFailed("servfail")):
            self.resolver.answers["smart.test"] = answer
            assert self.send(self.SMARTHOST) == Deferred(replies.SMARTHOST_LOOKUP_FAILED, "none")

    def test_that_cannot_be_found_gives_way_to_the_next(self) -> None:
        self.serve()
        assert isinstance(self.send(self.SMARTHOST, HOP), Delivered)

    def test_that_is_an_address_is_not_looked_up(self) -> None:
        self.serve(B)
        assert isinstance(self.send(NextHop("[2001:db8::2]", (), 25)), Delivered)

    def test_that_refuses_the_login_defers_in_its_own_words(self) -> None:
        self.serve(extensions=("AUTH PLAIN",), replies={"AUTH": ["535 5.7.8 wrong password"]})
        outcome = self.send(NextHop("mx.test", (A,), 25, credentials=HopCredentials("u", "p")))
        assert isinstance(outcome, Deferred)
        assert "535 5.7.8 wrong password" in outcome.reply.text

    def test_that_gets_the_password_in_clear_still_gets_the_mail(self) -> None:
        server = self.serve(extensions=("AUTH PLAIN",))
        outcome = self.send(NextHop("mx.test", (A,), 25, credentials=HopCredentials("u", "p")))
        assert isinstance(outcome, Delivered)
        assert server.commands[1] == "AUTH PLAIN AHUAcA=="


class TestTls(RemoteDeliveryCase):
    def test_is_started_where_it_is_offered(self) -> None:
        server = self.serve(extensions=TLS)
        outcome = self.send()
        assert server.is_encrypted
        assert outcome.tls == "TLSv1.3 TEST"
        assert self.tls.asked == [("mx.test", TlsPolicy.OPPORTUNISTIC)]

    def test_with_a_wrong_certificate_is_said_in_the_outcome(self) -> None:
        self.serve(extensions=TLS)
        self.tls.problems.append("self-signed certificate")
        assert self.send().tls == "TLSv1.3 TEST, certificate not verified"

    def test_that_fails_is_gone_without_on_a_new_connection(self) -> None:
        for way in ("fails", "refused certificate"):
            self.serve(extensions=TLS, tls=way)
            clear = self.serve(extensions=TLS)
            outcome = self.send()
            assert isinstance(outcome, Delivered)
            assert outcome.tls is None
            assert "STARTTLS" not in clear.commands
            self.delivery.pool.abort()
            self.network.pump()
            self.delivery = self.make()

    def test_that_fails_in_the_second_connection_too_ends_there(self) -> None:
        self.serve(extensions=TLS, tls="fails")
        self.network.add(A, ConnectionRefusedError())
        assert isinstance(self.send(), Deferred)

    def test_that_is_required_and_fails_defers_and_says_nothing_in_clear(self) -> None:
        for policy in (TlsPolicy.REQUIRE, TlsPolicy.VERIFY):
            for way in ("fails", "refused certificate"):
                server = self.serve(extensions=TLS, tls=way)
                outcome = self.send(NextHop("mx.test", (A,), 25, policy))
                assert isinstance(outcome, Deferred)
                assert str(outcome.reply.status) == "4.7.5"
                assert server.commands == ["EHLO kms.test", "STARTTLS"]

    def test_that_fails_names_what_is_wrong_with_the_certificate(self) -> None:
        self.serve(extensions=TLS, tls="refused certificate")
        self.tls.problems.append("the name\nis wrong")
        outcome = self.send(NextHop("mx.test", (A,), 25, TlsPolicy.VERIFY))
        assert outcome.reply.text == "TLS with the server failed: the name?is wrong"

    def test_that_is_required_and_not_offered_defers(self) -> None:
        self.serve()
        assert self.send(NextHop("mx.test", (A,), 25, TlsPolicy.REQUIRE)) == Deferred(
            replies.TLS_NOT_OFFERED_BY_HOP, "mx.test[192.0.2.1]:25"
        )

    def test_at_once_comes_before_the_greeting(self) -> None:
        hop = NextHop("mx.test", (A,), 465, is_tls_at_once=True)
        server = ScriptedServer(extensions=TLS)
        self.network.add(A, server, port=465)
        outcome = self.send(hop)
        assert outcome.tls == "TLSv1.3 TEST"
        assert "STARTTLS" not in server.commands

    def test_at_once_never_falls_back_to_clear_text(self) -> None:
        self.network.add(A, ScriptedServer(tls="fails"), port=465)
        outcome = self.send(NextHop("mx.test", (A,), 465, is_tls_at_once=True))
        assert str(outcome.reply.status) == "4.7.5"
        assert len(self.network.dialled) == 1

    def test_handshake_that_hangs_counts_as_failed(self) -> None:
        self.serve(extensions=TLS, tls="hangs")
        clear = self.serve()
        sent = self.begin()
        self.clock.advance(300)
        self.network.pump()
        assert isinstance(result_of(sent)[1], Delivered)
        assert len(clear.received) == 1


class TestConnector(SynchronousTestCase):
    def test_follows_the_form_of_the_address(self) -> None:
        connect = tcp_connector(MemoryReactorClock(), timedelta(seconds=7))
        assert isinstance(connect(A, 25), TCP4ClientEndpoint)
        assert isinstance(connect(B, 25), TCP6ClientEndpoint)
        assert isinstance(connect("/run/lmtp.sock", 0), UNIXClientEndpoint)


class TestInternationalMail(RemoteDeliveryCase):
    UTF8 = ("PIPELINING", "8BITMIME", "SMTPUTF8")

    def send_both(self) -> dict[int, Outcome]:
        foreign = Mailbox("ü", "far.test")
        group = (Recipient(1, foreign, foreign), *recipients(2)[1:])
        coroutine = self.delivery.send((BOTH,), Envelope(None, group), group, CONTENT)
        sent = TwistedDeferred.fromCoroutine(coroutine)
        self.network.pump()
        return result_of(sent)

    def test_goes_to_another_server_for_those_who_need_it(self) -> None:
        plain, international = self.serve(A), self.serve(B, extensions=self.UTF8)
        outcomes = self.send_both()
        assert [type(outcome) for outcome in outcomes.values()] == [Delivered, Delivered]
        assert plain.received[0].recipients == ["<r2@far.test>"]
        assert len(international.received[0].recipients) == 1

    def test_that_no_server_takes_fails(self) -> None:
        self.serve(A)
        self.serve(B)
        outcomes = self.send_both()
        assert outcomes[1] == Failed(replies.NEEDS_SMTPUTF8, "mx.test[2001:db8::2]:25")
        assert isinstance(outcomes[2], Delivered)

    def test_is_put_off_while_a_server_that_may_take_it_is_down(self) -> None:
        self.serve(A)
        outcomes = self.send_both()
        assert isinstance(outcomes[1], Deferred)
        assert isinstance(outcomes[2], Delivered)
