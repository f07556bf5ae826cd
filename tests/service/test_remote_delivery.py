from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.internet.defer import Deferred as TwistedDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from kms.domain import reply as replies
from kms.domain.address import Mailbox
from kms.domain.content import Content, FileContent, InlineContent
from kms.domain.dns_answer import AddressAnswer, Addresses, LookupFailed, MxAnswer, NoRecords, NoSuchDomain
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import HopCredentials, NextHop, TlsPolicy
from kms.domain.outcome import Deferred, Delivered, Failed, Outcome
from kms.domain.reply import Reply
from kms.domain.status import EnhancedStatus
from kms.service.clock import ClockOf
from kms.service.connection_pool import PoolRules
from kms.service.remote_delivery import RemoteDelivery, RemoteDeliverySettings, read_chunks, tcp_connector
from tests.support.wire import CLOSE, SILENCE, Link, MemoryNetwork, ScriptedServer

A, B = "192.0.2.1", "2001:db8::2"
HOP = NextHop("mx.test", (A,), 25)
BOTH = NextHop("mx.test", (A, B), 25)
CONTENT = InlineContent(b"Subject: x\r\n\r\nhello\r\n")
TLS = ("PIPELINING", "STARTTLS")


class TableResolver:
    def __init__(self) -> None:
        self.answers: dict[str, AddressAnswer] = {}

    async def lookup_mx(self, domain: str) -> MxAnswer:
        return NoRecords()

    async def lookup_addresses(self, host: str) -> AddressAnswer:
        return self.answers.get(host, NoSuchDomain())


class RecordingTls:
    def __init__(self) -> None:
        self.asked: list[tuple[str, TlsPolicy]] = []

    def creator_for(self, host: str, policy: TlsPolicy) -> object:
        self.asked.append((host, policy))
        return object()


def recipients(count: int) -> tuple[Recipient, ...]:
    mailboxes = [Mailbox(f"r{number}", "far.test") for number in range(1, count + 1)]
    return tuple(Recipient(number, mailbox, mailbox) for number, mailbox in enumerate(mailboxes, 1))


class RemoteDeliveryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork()
        self.resolver = TableResolver()
        self.tls = RecordingTls()
        self.run_in_thread: Callable[..., TwistedDeferred[Any]] = maybeDeferred
        self.delivery = self.make()

    def tearDown(self) -> None:
        self.delivery.pool.abort()
        for link in self.network.links:
            if not link.is_lost:
                link.lose()
        self.assertEqual(self.delivery.pool.open_connections, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def make(self, pool: PoolRules = PoolRules(messages_per_connection=3)) -> RemoteDelivery:  # noqa: B008
        return RemoteDelivery(
            RemoteDeliverySettings("kms.test", pool),
            ClockOf(self.clock),
            self.network.connector,
            self.tls,
            self.resolver,
            lambda function, *args: self.run_in_thread(function, *args),
        )

    def begin(
        self, hops: Sequence[NextHop] = (HOP,), count: int = 1, content: Content = CONTENT
    ) -> TwistedDeferred[dict[int, Outcome]]:
        group = recipients(count)
        envelope = Envelope(Mailbox("from", "near.test"), group)
        sent = TwistedDeferred.fromCoroutine(self.delivery.send(hops, envelope, group, content))
        self.network.pump()
        return sent

    def send(self, *hops: NextHop, content: Content = CONTENT) -> Outcome:
        return self.successResultOf(self.begin(hops or (HOP,), content=content))[1]

    def serve(self, address: str = A, **script: Any) -> ScriptedServer:
        server = ScriptedServer(**script)
        self.network.add(address, server)
        return server


class TestDelivery(RemoteDeliveryCase):
    def test_names_host_address_and_port_in_the_outcome(self) -> None:
        server = self.serve()
        outcome = self.send()
        self.assertEqual(outcome, Delivered(Reply(250, replies.status.OK, "taken"), "mx.test[192.0.2.1]:25"))
        self.assertEqual(server.received[0].content, CONTENT.data)
        self.assertTrue(self.network.links[0].transport.has_no_delay)

    def test_fails_what_no_server_could_take_without_connecting(self) -> None:
        bad = Mailbox("ü", "far.test")
        group = (Recipient(1, bad, bad),)
        coroutine = self.delivery.send((HOP,), Envelope(None, group), group, CONTENT)
        result = self.successResultOf(TwistedDeferred.fromCoroutine(coroutine))
        self.assertEqual(result, {1: Failed(replies.NEEDS_SMTPUTF8, "none")})
        self.assertEqual(self.network.dialled, [])

    def test_fails_the_unsendable_and_delivers_to_the_others(self) -> None:
        self.serve()
        group = (*recipients(1), Recipient(2, Mailbox("a\r\nb", "far.test"), Mailbox("a", "far.test")))
        sent = TwistedDeferred.fromCoroutine(
            self.delivery.send((HOP,), Envelope(None, group), group, CONTENT)
        )
        self.network.pump()
        outcomes = self.successResultOf(sent)
        self.assertEqual([type(outcomes[1]), type(outcomes[2])], [Delivered, Failed])

    def test_speaks_lmtp_to_a_hop_of_that_kind(self) -> None:
        server = self.serve(is_lmtp=True)
        self.assertIsInstance(self.send(NextHop("mx.test", (A,), 25, is_lmtp=True)), Delivered)
        self.assertEqual(server.commands[0], "LHLO kms.test")


class TestOrderOfHosts(RemoteDeliveryCase):
    def test_each_address_of_a_host_is_tried_then_the_next_host(self) -> None:
        self.network.add(A, ConnectionRefusedError())
        self.network.add(B, ConnectionRefusedError())
        self.network.add("192.0.2.9", ScriptedServer())
        outcome = self.send(BOTH, NextHop("mx2.test", ("192.0.2.9",), 25))
        self.assertEqual(outcome.where, "mx2.test[192.0.2.9]:25")
        self.assertEqual([address for address, _ in self.network.dialled], [A, B, "192.0.2.9"])

    def test_nobody_answering_defers_with_the_reason(self) -> None:
        self.network.add(A, ConnectionRefusedError())
        outcome = self.send()
        self.assertIsInstance(outcome, Deferred)
        self.assertEqual((outcome.reply.code, str(outcome.reply.status)), (450, "4.4.1"))
        self.assertIn("refused", outcome.reply.text)
        self.assertEqual(outcome.where, "mx.test[192.0.2.1]:25")

    def test_any_fault_of_connecting_defers(self) -> None:
        self.network.add(A, RuntimeError("x\r\ny\0"))
        self.assertTrue(self.send().reply.text.endswith(": x y?"))

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
            self.assertEqual(self.send(BOTH).where, "mx.test[2001:db8::2]:25", script)
            self.delivery.pool.abort()
            self.network.pump()
            self.delivery = self.make()

    def test_a_host_that_has_looked_at_the_message_is_the_last_one(self) -> None:
        for verb, said in (("MAIL", "550 no"), ("MAIL", "451 no"), ("RCPT", "550 no"), ("RCPT", CLOSE)):
            self.serve(A, replies={verb: [said]})
            self.send(BOTH)
        self.assertNotIn((B, 25), self.network.dialled)

    def test_a_greeting_that_refuses_for_good_everywhere_fails(self) -> None:
        self.serve(A, greeting="554 no mail here")
        self.serve(B, greeting="554 nor here")
        reply = Reply(554, EnhancedStatus(5, 0, 0), "nor here")
        self.assertEqual(self.send(BOTH), Failed(reply, "mx.test[2001:db8::2]:25"))

    def test_a_greeting_that_refuses_for_good_does_not_outweigh_one_for_now(self) -> None:
        self.serve(A, greeting="421 busy")
        self.serve(B, greeting="554 no mail here")
        self.assertEqual(self.send(BOTH).reply.code, 421)

    def test_loss_after_the_dot_is_ambiguous_and_never_sent_again(self) -> None:
        server = self.serve(A, replies={".": [CLOSE]})
        outcome = self.send(BOTH)
        self.assertEqual(
            outcome, Deferred(replies.CONNECTION_LOST, "mx.test[192.0.2.1]:25", is_ambiguous=True)
        )
        self.assertEqual(len(self.network.dialled), 1)
        self.assertEqual(server.received, [])


class TestSmarthostByName(RemoteDeliveryCase):
    SMARTHOST = NextHop("smart.test", (), 587)

    def test_is_looked_up(self) -> None:
        self.resolver.answers["smart.test"] = Addresses((B, A))
        self.network.add(B, ConnectionRefusedError(), port=587)
        self.network.add(A, ScriptedServer(), port=587)
        self.assertEqual(self.send(self.SMARTHOST).where, "smart.test[192.0.2.1]:587")

    def test_that_cannot_be_found_defers_whatever_the_dns_says(self) -> None:
        for answer in (NoSuchDomain(), NoRecords(), LookupFailed("servfail")):
            self.resolver.answers["smart.test"] = answer
            self.assertEqual(self.send(self.SMARTHOST), Deferred(replies.SMARTHOST_LOOKUP_FAILED, "none"))

    def test_that_cannot_be_found_gives_way_to_the_next(self) -> None:
        self.serve()
        self.assertIsInstance(self.send(self.SMARTHOST, HOP), Delivered)

    def test_that_is_an_address_is_not_looked_up(self) -> None:
        self.serve(B)
        self.assertIsInstance(self.send(NextHop("[2001:db8::2]", (), 25)), Delivered)

    def test_that_refuses_the_login_defers_in_its_own_words(self) -> None:
        self.serve(extensions=("AUTH PLAIN",), replies={"AUTH": ["535 5.7.8 wrong password"]})
        outcome = self.send(NextHop("mx.test", (A,), 25, credentials=HopCredentials("u", "p")))
        self.assertIsInstance(outcome, Deferred)
        self.assertIn("535 5.7.8 wrong password", outcome.reply.text)

    def test_that_gets_the_password_in_clear_still_gets_the_mail(self) -> None:
        server = self.serve(extensions=("AUTH PLAIN",))
        outcome = self.send(NextHop("mx.test", (A,), 25, credentials=HopCredentials("u", "p")))
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(server.commands[1], "AUTH PLAIN AHUAcA==")


class TestTls(RemoteDeliveryCase):
    def test_is_started_where_it_is_offered(self) -> None:
        server = self.serve(extensions=TLS)
        outcome = self.send()
        self.assertTrue(server.is_encrypted)
        self.assertEqual(outcome.tls, "TLSv1.3 TEST")
        self.assertEqual(self.tls.asked, [("mx.test", TlsPolicy.OPPORTUNISTIC)])

    def test_that_fails_is_gone_without_on_a_new_connection(self) -> None:
        for way in ("fails", "refused certificate"):
            self.serve(extensions=TLS, tls=way)
            clear = self.serve(extensions=TLS)
            outcome = self.send()
            self.assertIsInstance(outcome, Delivered)
            self.assertIsNone(outcome.tls)
            self.assertNotIn("STARTTLS", clear.commands)
            self.delivery.pool.abort()
            self.network.pump()
            self.delivery = self.make()

    def test_that_fails_in_the_second_connection_too_ends_there(self) -> None:
        self.serve(extensions=TLS, tls="fails")
        self.network.add(A, ConnectionRefusedError())
        self.assertIsInstance(self.send(), Deferred)

    def test_that_is_required_and_fails_defers_and_says_nothing_in_clear(self) -> None:
        for policy in (TlsPolicy.REQUIRE, TlsPolicy.VERIFY):
            for way in ("fails", "refused certificate"):
                server = self.serve(extensions=TLS, tls=way)
                outcome = self.send(NextHop("mx.test", (A,), 25, policy))
                self.assertIsInstance(outcome, Deferred)
                self.assertEqual(str(outcome.reply.status), "4.7.5")
                self.assertEqual(server.commands, ["EHLO kms.test", "STARTTLS"])

    def test_that_is_required_and_not_offered_defers(self) -> None:
        self.serve()
        self.assertEqual(
            self.send(NextHop("mx.test", (A,), 25, TlsPolicy.REQUIRE)),
            Deferred(replies.TLS_NOT_OFFERED_BY_HOP, "mx.test[192.0.2.1]:25"),
        )

    def test_at_once_comes_before_the_greeting(self) -> None:
        hop = NextHop("mx.test", (A,), 465, is_tls_at_once=True)
        server = ScriptedServer(extensions=TLS)
        self.network.add(A, server, port=465)
        outcome = self.send(hop)
        self.assertEqual(outcome.tls, "TLSv1.3 TEST")
        self.assertNotIn("STARTTLS", server.commands)

    def test_at_once_never_falls_back_to_clear_text(self) -> None:
        self.network.add(A, ScriptedServer(tls="fails"), port=465)
        outcome = self.send(NextHop("mx.test", (A,), 465, is_tls_at_once=True))
        self.assertEqual(str(outcome.reply.status), "4.7.5")
        self.assertEqual(len(self.network.dialled), 1)

    def test_handshake_that_hangs_counts_as_failed(self) -> None:
        self.serve(extensions=TLS, tls="hangs")
        clear = self.serve()
        sent = self.begin()
        self.clock.advance(300)
        self.network.pump()
        self.assertIsInstance(self.successResultOf(sent)[1], Delivered)
        self.assertEqual(len(clear.received), 1)


class TestKeptConnections(RemoteDeliveryCase):
    def test_serve_so_many_messages_and_say_quit(self) -> None:
        first, second = self.serve(), self.serve()
        for _ in range(4):
            self.assertIsInstance(self.send(), Delivered)
        self.assertEqual([len(first.received), len(second.received)], [3, 1])
        self.assertEqual(first.commands[-1], "QUIT")
        self.assertTrue(self.network.links[0].is_lost)

    def test_serve_only_messages_for_the_same_hop_in_the_same_way(self) -> None:
        for hop in (
            HOP,
            NextHop("other.test", (A,), 25),
            NextHop("mx.test", (A,), 25, TlsPolicy.OFF),
            NextHop("mx.test", (A,), 25, credentials=HopCredentials("u", "p")),
        ):
            self.serve(extensions=("AUTH PLAIN",))
            self.send(hop)
        self.assertEqual(len(self.network.dialled), 4)

    def test_are_given_to_one_message_at_a_time(self) -> None:
        self.serve(replies={".": [SILENCE]})
        self.serve()
        first = self.begin()
        self.assertIsInstance(self.send(), Delivered)
        self.assertNoResult(first)
        self.network.links[0].lose()
        self.successResultOf(first)

    def test_say_quit_when_idle_for_long_enough(self) -> None:
        server = self.serve()
        self.send()
        self.clock.pump([1] * 4)
        self.network.pump()
        self.assertNotIn("QUIT", server.commands)
        self.clock.pump([1, 1])
        self.network.pump()
        self.assertEqual(server.commands[-1], "QUIT")
        self.assertEqual(self.delivery.pool.open_connections, 0)

    def test_that_the_server_closed_are_forgotten(self) -> None:
        self.serve()
        self.serve()
        self.send()
        self.network.links[0].lose()
        self.assertIsInstance(self.send(), Delivered)
        self.assertEqual(len(self.network.dialled), 2)

    def test_that_the_server_ended_are_forgotten_though_they_are_not_gone_yet(self) -> None:
        self.serve()
        self.serve()
        self.send()
        self.network.links[0].protocol.dataReceived(b"421 4.4.2 idle\r\n")
        self.assertIsInstance(self.send(), Delivered)
        self.assertEqual(len(self.network.dialled), 2)

    def test_that_turn_out_dead_are_replaced_once_without_a_word(self) -> None:
        for said in (CLOSE, "421 4.4.2 idle"):
            self.serve(replies={"MAIL": ["250 ok", said]})
            self.serve()
            self.send()
            self.assertIsInstance(self.send(), Delivered)
            self.delivery.pool.abort()
            self.network.pump()
            self.delivery = self.make()

    def test_whose_replacement_is_dead_too_are_an_ordinary_failure(self) -> None:
        self.serve(replies={"MAIL": ["250 ok", CLOSE]})
        self.serve(replies={"MAIL": [CLOSE]})
        self.send()
        self.assertEqual(self.send(), Deferred(replies.CONNECTION_LOST, "mx.test[192.0.2.1]:25"))
        self.assertEqual(len(self.network.dialled), 2)

    def test_lost_after_the_dot_are_not_replaced(self) -> None:
        self.serve(replies={".": ["250 ok", CLOSE]})
        self.send()
        outcome = self.send()
        assert isinstance(outcome, Deferred)
        self.assertTrue(outcome.is_ambiguous)
        self.assertEqual(len(self.network.dialled), 1)

    def test_are_not_kept_beyond_a_number(self) -> None:
        self.delivery = self.make(PoolRules(max_idle=1))
        self.serve(A)
        server = self.serve(B)
        self.send()
        self.send(NextHop("mx.test", (B,), 25))
        self.assertEqual(server.commands[-1], "QUIT")
        self.assertEqual(self.delivery.pool.open_connections, 1)


class TestTime(RemoteDeliveryCase):
    def wait_for(self, seconds: int, **script: Any) -> Outcome:
        self.serve(**script)
        sent = self.begin()
        self.clock.pump([1] * (seconds - 1))
        self.network.pump()
        self.assertNoResult(sent)
        self.clock.pump([1, 1])
        self.network.pump()
        return self.successResultOf(sent)[1]

    def test_each_answer_has_its_limit(self) -> None:
        for seconds, verb in ((300, "EHLO"), (300, "MAIL"), (120, "DATA"), (600, ".")):
            outcome = self.wait_for(seconds, replies={verb: [SILENCE]}, extensions=())
            self.assertEqual(outcome.reply, replies.NO_ANSWER_IN_TIME, verb)
            assert isinstance(outcome, Deferred)
            self.assertEqual(outcome.is_ambiguous, verb == ".")
            self.assertTrue(self.network.links[-1].transport.is_aborted)

    def test_the_greeting_has_its_limit(self) -> None:
        outcome = self.wait_for(300, greeting=SILENCE)
        self.assertEqual(outcome.reply, replies.NO_ANSWER_IN_TIME)

    def test_octets_that_are_no_answer_win_no_time(self) -> None:
        self.serve(greeting=SILENCE)
        sent = self.begin()
        for _ in range(299):
            self.clock.advance(1)
            self.network.links[0].protocol.dataReceived(b"2")
        self.clock.pump([1, 1])
        self.network.pump()
        self.assertIsInstance(self.successResultOf(sent)[1], Deferred)

    def test_a_server_that_does_not_answer_quit_is_cut(self) -> None:
        self.serve(replies={"QUIT": [SILENCE]})
        self.delivery.pool.rules = PoolRules(messages_per_connection=1)
        self.send()
        link = self.network.links[0]
        self.clock.pump([1] * 4)
        self.assertFalse(link.transport.is_aborted)
        self.clock.pump([1] * 2)
        self.assertTrue(link.transport.is_aborted)

    def test_a_connection_that_lingers_after_its_end_is_cut(self) -> None:
        self.serve(greeting=SILENCE)
        sent = self.begin()
        link = self.network.links[0]
        link.protocol.dataReceived(b"554 no\r\n")
        self.assertIsInstance(self.successResultOf(sent)[1], Failed)
        self.clock.pump([1] * 11)
        self.assertTrue(link.transport.is_aborted)


class TestFiles(RemoteDeliveryCase):
    def file(self, octets: int) -> FileContent:
        path = Path(self.mktemp())
        line = b"." + b"x" * 62 + b"\r\n"
        path.write_bytes(line * (octets // len(line)) + b"y" * (octets % len(line)))
        self.data = path.read_bytes()
        return FileContent(str(path), octets)

    def test_are_sent_whole(self) -> None:
        server = self.serve()
        self.assertIsInstance(self.send(content=self.file(500_000)), Delivered)
        self.assertEqual(server.received[0].content, self.data + b"\r\n")
        self.assertIsNone(self.network.links[0].transport.producer)

    def test_are_read_only_as_fast_as_the_server_reads(self) -> None:
        link, sent = self.send_to_a_server_that_does_not_read()
        self.assertLess(sum(map(len, link.transport.written)), 70_000)
        self.assertNoResult(sent)
        link.is_stuck = False
        self.network.pump()
        self.assertIsInstance(self.successResultOf(sent)[1], Delivered)
        self.assertEqual(link.server.received[0].content, self.data + b"\r\n")

    def test_a_server_that_stops_reading_is_given_up(self) -> None:
        link, sent = self.send_to_a_server_that_does_not_read()
        self.clock.pump([1] * 179)
        self.assertNoResult(sent)
        self.clock.pump([1, 1])
        self.assertEqual(
            self.successResultOf(sent)[1], Deferred(replies.NO_ANSWER_IN_TIME, "mx.test[192.0.2.1]:25")
        )
        self.assertTrue(link.transport.is_aborted)

    def test_loss_while_the_server_does_not_read_defers(self) -> None:
        link, sent = self.send_to_a_server_that_does_not_read()
        link.lose()
        self.assertEqual(self.successResultOf(sent)[1].reply, replies.CONNECTION_LOST)

    def test_an_answer_before_the_end_closes_over_tls_as_well(self) -> None:
        link, sent = self.send_to_a_server_that_does_not_read()
        link.server.output += b"552 5.3.4 too large\r\n"
        self.network.pump()
        self.assertIsInstance(self.successResultOf(sent)[1], Failed)
        self.assertIsNone(link.transport.producer)
        self.assertTrue(link.is_lost)

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
            self.assertEqual(outcome, Deferred(replies.CONTENT_UNREADABLE, "mx.test[192.0.2.1]:25"))
            self.assertEqual(server.received, [])
            self.assertTrue(self.network.links[-1].transport.is_aborted)
            self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_that_are_links_are_not_read(self) -> None:
        target = self.file(100)
        link = Path(self.mktemp())
        link.symlink_to(target.path)
        self.assertRaises(OSError, next, read_chunks(FileContent(str(link), 100)))

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
            self.assertEqual(self.successResultOf(sent)[1].reply, replies.CONNECTION_LOST)
            waiting.pop().callback(None)
            self.assertEqual(waiting, [])


def _call_later(
    waiting: list[TwistedDeferred[Any]], function: Callable[..., Any], *args: Any
) -> TwistedDeferred[Any]:
    waiting.append(TwistedDeferred())
    return waiting[-1].addCallback(lambda _: function(*args))


class TestShutdown(RemoteDeliveryCase):
    def test_idle_connections_say_quit_and_busy_ones_finish(self) -> None:
        idle, busy = self.serve(A), self.serve(B, replies={".": [SILENCE]})
        self.send()
        sent = self.begin((NextHop("mx.test", (B,), 25),))
        closed = self.delivery.pool.close()
        self.network.pump()
        self.assertEqual(idle.commands[-1], "QUIT")
        self.assertNoResult(closed)
        busy.output += b"250 2.0.0 taken\r\n"
        self.network.pump()
        self.assertIsInstance(self.successResultOf(sent)[1], Delivered)
        self.assertEqual(busy.commands[-1], "QUIT")
        self.successResultOf(closed)

    def test_with_nothing_open_is_over_at_once(self) -> None:
        self.successResultOf(self.delivery.pool.close())

    def test_no_connection_is_opened_after_it(self) -> None:
        self.delivery.pool.close()
        self.assertEqual(self.send().reply, replies.CONNECTION_LOST)
        self.assertEqual(self.network.dialled, [])

    def test_cut_short_defers_what_is_under_way(self) -> None:
        self.serve(replies={"MAIL": [SILENCE]}, extensions=())
        sent = self.begin()
        self.delivery.pool.abort()
        self.assertEqual(self.successResultOf(sent)[1].reply, replies.CONNECTION_LOST)

    def test_a_call_that_is_cancelled_closes_its_connection(self) -> None:
        for script in ({"greeting": SILENCE}, {"replies": {"DATA": [SILENCE]}}):
            self.serve(**script)
            sent = self.begin()
            sent.addErrback(lambda failure: failure.trap(CancelledError) and {})
            sent.cancel()
            self.network.pump()
            self.successResultOf(sent)
            self.assertTrue(self.network.links[-1].is_lost)

    def test_a_call_that_is_cancelled_while_connecting_tries_nothing_else(self) -> None:
        self.network.add(A, None)
        sent = self.begin((BOTH,))
        sent.cancel()
        self.failureResultOf(sent, CancelledError)
        self.assertEqual(len(self.network.dialled), 1)


class TestConnector(SynchronousTestCase):
    def test_follows_the_form_of_the_address(self) -> None:
        connect = tcp_connector(MemoryReactorClock(), timedelta(seconds=7))
        self.assertIsInstance(connect(A, 25), TCP4ClientEndpoint)
        self.assertIsInstance(connect(B, 25), TCP6ClientEndpoint)
