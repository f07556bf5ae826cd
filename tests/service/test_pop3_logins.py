from __future__ import annotations

from datetime import timedelta

import attrs
from twisted.internet.defer import Deferred as TwistedDeferred
from twisted.internet.error import ConnectionRefusedError

from kms.domain import reply as replies
from kms.domain.dns_answer import Addresses
from kms.domain.next_hop import HopCredentials, NextHop, Pop3Login, TlsPolicy
from kms.domain.outcome import Deferred, Delivered, Failed, Outcome
from kms.service.pop3_logins import LOGIN_SECONDS, PAUSE_SECONDS
from tests.support.remote_deliveries import A, B, RemoteDeliveryCase
from tests.support.results import result_of
from tests.support.wire import ScriptedServer

EVERY = timedelta(minutes=5)
LOGIN = Pop3Login("pop.test", (B,), 110, TlsPolicy.OPPORTUNISTIC, HopCredentials("office", "secret"), EVERY)
HOP = NextHop("smart.test", (A,), 25, pop3=LOGIN)
REFUSED = "550 5.7.1 log in first"


class ScriptedPop3(ScriptedServer):
    """Says +OK to everything, or -ERR to the verbs it refuses; STLS is offered where `has_stls`."""

    def __init__(self, refuses: tuple[str, ...] = (), *, has_stls: bool = False, tls: str = "works") -> None:
        super().__init__(greeting="+OK pop.test", tls=tls)
        self.is_closed = False
        self._refuses = refuses
        self._has_stls = has_stls

    def _take_command(self, line: str) -> None:
        self.commands.append(line)
        verb = line.partition(" ")[0]
        if verb in self._refuses:
            self.output += b"-ERR no\r\n"
        elif verb == "CAPA":
            self.output += b"+OK\r\nSTLS\r\n.\r\n" if self._has_stls else b"+OK\r\n.\r\n"
        elif verb != "SILENT":
            self.output += b"+OK\r\n"
        self.is_closed = verb == "QUIT"


class SilentPop3(ScriptedPop3):
    def _take_command(self, line: str) -> None:
        self.commands.append(line)


class Pop3LoginCase(RemoteDeliveryCase):
    def pop3(self, server: ScriptedPop3 | None = None, port: int = 110) -> ScriptedPop3:
        server = server or ScriptedPop3()
        self.network.add(B, server, port=port)
        return server

    def dialled(self, port: int = 110) -> int:
        return self.network.dialled.count((B, port))

    def pass_time(self, seconds: float) -> None:
        """Let time pass; connections to the hop that are idle close."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.network.pump()


class TestBeforeSending(Pop3LoginCase):
    def test_the_login_comes_first(self) -> None:
        pop3 = self.pop3()
        self.serve()
        assert isinstance(self.send(HOP), Delivered)
        assert self.network.dialled == [(B, 110), (A, 25)]
        assert pop3.commands == ["CAPA", "USER office", "PASS secret", "QUIT"]

    def test_a_young_login_is_enough(self) -> None:
        self.pop3()
        self.serve()
        self.send(HOP)
        self.clock.advance(4)
        assert isinstance(self.send(HOP), Delivered)
        assert self.dialled() == 1

    def test_an_old_one_is_made_anew(self) -> None:
        self.pop3()
        self.serve()
        self.send(HOP)
        self.pass_time(301)
        self.pop3()
        self.serve()
        assert isinstance(self.send(HOP), Delivered)
        assert self.dialled() == 2

    def test_of_many_messages_one_logs_in(self) -> None:
        pop3 = self.pop3(SilentPop3())
        self.serve()
        self.serve()
        waiting = [self.begin((HOP,)), self.begin((HOP,))]
        pop3.output += b"+OK\r\n.\r\n+OK\r\n+OK\r\n+OK\r\n"
        self.network.pump()
        assert [type(result_of(sent)[1]) for sent in waiting] == [Delivered, Delivered]
        assert self.dialled() == 1


class TestTlsOfTheLogin(Pop3LoginCase):
    def test_is_begun_where_offered(self) -> None:
        pop3 = self.pop3(ScriptedPop3(has_stls=True))
        self.serve()
        assert isinstance(self.send(HOP), Delivered)
        assert pop3.is_encrypted
        assert pop3.commands[1] == "STLS"

    def test_comes_at_once_at_port_995(self) -> None:
        pop3 = self.pop3(port=995)
        self.serve()
        hop = attrs.evolve(HOP, pop3=attrs.evolve(LOGIN, port=995))
        assert isinstance(self.send(hop), Delivered)
        assert pop3.is_encrypted
        assert pop3.commands[0] == "USER office"

    def test_that_is_refused_gives_no_password_away(self) -> None:
        for way in ("fails", "refused certificate"):
            self.delivery = self.make()
            pop3 = self.pop3(ScriptedPop3(has_stls=True, tls=way))
            self.tls.problems.append("the name is wrong")
            outcome = self.send(attrs.evolve(HOP, pop3=attrs.evolve(LOGIN, tls=TlsPolicy.VERIFY)))
            assert isinstance(outcome, Deferred)
            assert "the name is wrong" in outcome.reply.text
            assert pop3.commands == ["CAPA", "STLS"]


class TestAFailedLogin(Pop3LoginCase):
    def test_defers_in_the_servers_words_and_rests_for_a_minute(self) -> None:
        self.pop3(ScriptedPop3(("PASS",)))
        outcome = self.send(HOP)
        assert isinstance(outcome, Deferred)
        assert str(outcome.reply) == "454 4.7.0 the server refused our login: pop.test:110: -ERR no"
        assert self.send(HOP) == outcome
        assert self.dialled() == 1
        self.clock.advance(PAUSE_SECONDS)
        self.pop3()
        self.serve()
        assert isinstance(self.send(HOP), Delivered)

    def test_may_be_one_that_reached_no_server(self) -> None:
        self.network.add(B, ConnectionRefusedError(), port=110)
        assert "refused" in self.send(HOP).reply.text

    def test_may_be_one_whose_server_cannot_be_looked_up(self) -> None:
        hop = attrs.evolve(HOP, pop3=attrs.evolve(LOGIN, addresses=()))
        assert self.send(hop).reply.text.endswith("the POP3 server cannot be looked up now")

    def test_may_be_one_that_takes_too_long(self) -> None:
        self.pop3(SilentPop3())
        sent = self.begin((HOP,))
        self.clock.advance(LOGIN_SECONDS)
        self.network.pump()
        assert result_of(sent)[1].reply.text.endswith("no answer in time")

    def test_gives_way_to_the_next_smarthost(self) -> None:
        self.pop3(ScriptedPop3(("USER",)))
        self.serve("192.0.2.9")
        assert isinstance(self.send(HOP, NextHop("other.test", ("192.0.2.9",), 25)), Delivered)

    def test_of_a_server_known_by_name_is_none(self) -> None:
        self.resolver.answers["pop.test"] = Addresses((B,))
        self.pop3()
        self.serve()
        assert isinstance(self.send(attrs.evolve(HOP, pop3=attrs.evolve(LOGIN, addresses=()))), Delivered)


class TestARefusal(Pop3LoginCase):
    def test_gets_one_more_login_and_one_more_try(self) -> None:
        self.pop3()
        self.serve(replies={"RCPT": [REFUSED]})
        self.pop3()
        again = self.serve()
        assert isinstance(self.send(HOP), Delivered)
        assert self.dialled() == 2
        assert len(again.received) == 1

    def test_that_comes_again_counts(self) -> None:
        for _ in range(2):
            self.pop3()
            self.serve(replies={"RCPT": [REFUSED]})
        outcome = self.send(HOP)
        assert isinstance(outcome, Failed)
        assert self.dialled() == 2

    def test_sends_again_only_to_those_who_were_refused(self) -> None:
        self.pop3()
        first = self.serve(replies={"RCPT": ["250 ok", REFUSED]})
        self.pop3()
        second = self.serve()
        outcomes = result_of(self.begin((HOP,), count=2))
        assert [type(outcome) for outcome in outcomes.values()] == [Delivered, Delivered]
        assert first.received[0].recipients == ["<r1@far.test>"]
        assert second.received[0].recipients == ["<r2@far.test>"]

    def test_in_the_greeting_is_one_too(self) -> None:
        self.pop3()
        self.serve(greeting="554 5.7.1 log in first")
        self.pop3()
        self.serve()
        assert isinstance(self.send(HOP), Delivered)

    def test_of_another_kind_counts_at_once(self) -> None:
        self.pop3()
        self.serve(replies={"RCPT": ["550 5.1.1 nobody"]})
        assert isinstance(self.send(HOP), Failed)
        assert self.dialled() == 1

    def test_after_which_the_login_fails_defers(self) -> None:
        for script in ({"replies": {"RCPT": [REFUSED]}}, {"greeting": "554 5.7.1 log in first"}):
            self.delivery = self.make()
            self.pop3()
            self.serve(**script)
            self.pop3(ScriptedPop3(("PASS",)))
            outcome = self.send(HOP)
            assert isinstance(outcome, Deferred)
            assert "-ERR no" in outcome.reply.text

    def test_after_which_nobody_answers_defers(self) -> None:
        self.pop3()
        self.serve(replies={"RCPT": [REFUSED]})
        self.pop3()
        self.network.add(A, ConnectionRefusedError())
        outcome = self.send(HOP)
        assert isinstance(outcome, Deferred)
        assert outcome.reply.status == replies.NO_HOST_ANSWERED.status

    def test_of_two_messages_at_once_makes_one_login(self) -> None:
        self.pop3()
        self.serve(replies={"RCPT": [REFUSED, REFUSED]})
        pop3 = self.pop3(SilentPop3())
        self.serve()
        self.serve()
        waiting: list[TwistedDeferred[dict[int, Outcome]]] = [self.begin((HOP,)), self.begin((HOP,))]
        pop3.output += b"+OK\r\n.\r\n+OK\r\n+OK\r\n+OK\r\n"
        self.network.pump()
        assert [type(result_of(sent)[1]) for sent in waiting] == [Delivered, Delivered]
        assert self.dialled() == 2
