from __future__ import annotations

import base64

import pytest

from kms.domain import reply as replies
from kms.domain.address import Mailbox
from kms.domain.content import InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import HopCredentials, TlsPolicy
from kms.domain.outcome import Delivered
from kms.domain.reply import Reply
from kms.domain.status import EnhancedStatus
from kms.protocol.client_events import (
    COMMAND_TIME,
    DATA_TIME,
    QUIT_TIME,
    EndCause,
    SessionEnded,
    SessionReady,
    TlsRequested,
    TransactionEnded,
)
from kms.protocol.outgoing_message import OutgoingMessage
from kms.protocol.smtp_client import SmtpClientSession
from kms.protocol.smtp_server import SmtpServerSettings
from tests.support.client_sessions import ended, prepare, ready, recipient, refusal, send, settings
from tests.support.wire import SILENCE, ReceivedMail, ScriptedServer, SessionServer, join


class TestGreeting:
    @pytest.mark.parametrize("code", [421, 450, 554])
    def test_that_refuses_ends_the_session_with_the_reply(self, code: int) -> None:
        end = refusal(ScriptedServer(greeting=f"{code} not now"))
        assert end == SessionEnded(
            EndCause.REFUSED, Reply(code, EnhancedStatus(code // 100, 0, 0), "not now")
        )

    @pytest.mark.parametrize("greeting", ["250 hello", "354 hello", "HTTP/1.1 400 Bad Request"])
    def test_that_makes_no_sense_defers(self, greeting: str) -> None:
        end = refusal(ScriptedServer(greeting=greeting))
        assert end.cause is EndCause.LOST
        assert end.reply.code == 451
        assert greeting[4:12] in end.reply.text

    def test_that_does_not_come_leaves_the_session_waiting_with_a_limit(self) -> None:
        session = SmtpClientSession(settings())
        assert join(session, ScriptedServer(greeting=SILENCE)) == []
        assert session.time_limit == COMMAND_TIME
        session.lose(replies.NO_ANSWER_IN_TIME)
        assert session.next_event() == SessionEnded(EndCause.LOST, replies.NO_ANSWER_IN_TIME)

    def test_may_have_many_lines_and_bare_newlines(self) -> None:
        ready(ScriptedServer(greeting="220-mx.test\n220-no spam\n220"))

    def test_falls_back_to_helo_where_ehlo_is_refused_for_good(self) -> None:
        server = ScriptedServer(replies={"EHLO": ["502 what"]})
        assert isinstance(send(server, prepare())[1], Delivered)
        assert server.commands[:3] == ["EHLO kms.test", "HELO kms.test", "MAIL FROM:<from@near.test>"]

    @pytest.mark.parametrize(
        "script",
        [{"EHLO": ["450 later"]}, {"EHLO": ["502 no"], "HELO": ["450 later"]}, {"EHLO": ["421 later"]}],
    )
    def test_defers_where_hello_is_refused_for_now(self, script: dict[str, list[str]]) -> None:
        end = refusal(ScriptedServer(replies=script))
        assert end.cause is EndCause.REFUSED
        assert end.reply.is_transient

    def test_reads_keywords_in_any_case_and_not_in_the_first_line(self) -> None:
        server = ScriptedServer(replies={"EHLO": ["250-STARTTLS\r\n250 pipelining"]})
        session = ready(server, tls=TlsPolicy.OPPORTUNISTIC)
        ended(session, server, prepare())
        assert server.groups[1].count(b"\r\n") == 3
        assert "STARTTLS" not in server.commands


class TestStartTls:
    def test_comes_first_and_ehlo_again_after_it(self) -> None:
        server = ScriptedServer(extensions=("starttls", "PIPELINING"))
        session = ready(server)
        assert server.commands == ["EHLO kms.test", "STARTTLS", "EHLO kms.test"]
        assert session.is_encrypted

    def test_drops_what_was_offered_before_it(self) -> None:
        server = ScriptedServer(
            replies={"EHLO": ["250-mx\r\n250-STARTTLS\r\n250 PIPELINING", "250-mx\r\n250 8BITMIME"]}
        )
        session = ready(server)
        session.start(prepare())
        assert session.data_to_send() == b"MAIL FROM:<from@near.test>\r\n"

    def test_is_not_used_when_off(self) -> None:
        server = ScriptedServer(extensions=("STARTTLS",))
        ready(server, tls=TlsPolicy.OFF)
        assert "STARTTLS" not in server.commands

    @pytest.mark.parametrize("policy", list(TlsPolicy))
    def test_fails_when_octets_came_before_the_handshake(self, policy: TlsPolicy) -> None:
        if policy is TlsPolicy.OFF:
            return
        server = ScriptedServer(
            extensions=("STARTTLS",), replies={"STARTTLS": ["220 go\r\n250-x\r\n250 AUTH PLAIN"]}
        )
        assert refusal(server, tls=policy) == SessionEnded(EndCause.TLS, replies.TLS_FAILED_AT_HOP)

    def test_fails_when_a_reply_comes_in_clear_text_during_the_handshake(self) -> None:
        session = SmtpClientSession(settings())
        session.receive_data(b"220 mx\r\n")
        session.receive_data(b"250-mx\r\n250 STARTTLS\r\n")
        session.receive_data(b"220 go\r\n")
        assert session.next_event() == TlsRequested()
        session.receive_data(b"250 AUTH PLAIN\r\n")
        assert session.next_event() == SessionEnded(EndCause.TLS, replies.TLS_FAILED_AT_HOP)

    @pytest.mark.parametrize("said", ["454 4.7.0 not now", "500 what"])
    def test_refused_is_gone_without_where_it_is_only_wished(self, said: str) -> None:
        server = ScriptedServer(extensions=("STARTTLS",), replies={"STARTTLS": [said]})
        assert not ready(server).is_encrypted

    def test_refused_with_421_is_no_reason_to_go_on(self) -> None:
        server = ScriptedServer(extensions=("STARTTLS",), replies={"STARTTLS": ["421 bye"]})
        assert refusal(server).cause is EndCause.TLS

    @pytest.mark.parametrize("policy", [TlsPolicy.REQUIRE, TlsPolicy.VERIFY])
    @pytest.mark.parametrize("extensions", [(), ("STARTTLS",)])
    def test_required_but_not_given_defers(self, policy: TlsPolicy, extensions: tuple[str, ...]) -> None:
        server = ScriptedServer(extensions=extensions, replies={"STARTTLS": ["454 no"]})
        end = refusal(server, tls=policy, credentials=HopCredentials("u", "p"))
        assert end.cause is EndCause.TLS
        assert end.reply.code == 454
        assert str(end.reply.status) == "4.7.4"
        assert not any(command.startswith(("AUTH", "MAIL")) for command in server.commands)

    def test_that_fails_is_told_by_the_owner(self) -> None:
        session = SmtpClientSession(settings())
        session.lose(replies.TLS_FAILED_AT_HOP, EndCause.TLS)
        assert session.next_event() == SessionEnded(EndCause.TLS, replies.TLS_FAILED_AT_HOP)


class TestLogin:
    CREDENTIALS = HopCredentials("joe", "sécret")

    @pytest.mark.parametrize("offer", ["AUTH PLAIN LOGIN", "AUTH=LOGIN PLAIN", "auth login plain"])
    def test_takes_plain_before_login(self, offer: str) -> None:
        server = ScriptedServer(extensions=(offer,))
        session = ready(server, credentials=self.CREDENTIALS)
        assert server.commands[1].startswith("AUTH PLAIN ")
        assert base64.b64decode(server.commands[1][11:]).decode() == "\0joe\0sécret"
        assert session.shows_password

    def test_of_a_line_and_an_old_form_takes_both(self) -> None:
        server = ScriptedServer(extensions=("AUTH CRAM-MD5", "AUTH=PLAIN"), replies={"AUTH": ["504 no"]})
        ready(server, credentials=self.CREDENTIALS)
        assert [command[:10] for command in server.commands[1:]] == ["AUTH CRAM-", "AUTH PLAIN"]

    def test_by_login_answers_two_challenges(self) -> None:
        server = ScriptedServer(
            extensions=("AUTH LOGIN",),
            replies={"AUTH": ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 2.7.0 welcome"]},
        )
        ready(server, credentials=self.CREDENTIALS)
        assert [base64.b64decode(command).decode() for command in server.commands[2:]] == ["joe", "sécret"]

    def test_by_cram_md5_hides_the_password(self) -> None:
        server = ScriptedServer(extensions=("AUTH PLAIN CRAM-MD5",), replies={"AUTH": ["334 PDFAeD4="]})
        session = ready(server, credentials=self.CREDENTIALS)
        assert server.commands[1] == "AUTH CRAM-MD5"
        assert not session.shows_password

    def test_within_tls_uses_plain_and_shows_nothing(self) -> None:
        server = ScriptedServer(extensions=("STARTTLS", "AUTH CRAM-MD5 PLAIN"))
        session = ready(server, credentials=self.CREDENTIALS)
        assert server.commands[3].startswith("AUTH PLAIN ")
        assert not session.shows_password

    @pytest.mark.parametrize(
        "said", ["535 5.7.8 wrong", "454 4.7.0 later", "504 5.5.4 unknown", "354 x", "421 4.7.0 go away"]
    )
    def test_refused_defers_in_the_servers_words(self, said: str) -> None:
        server = ScriptedServer(extensions=("AUTH PLAIN",), replies={"AUTH": [said]})
        end = refusal(server, credentials=self.CREDENTIALS)
        assert end.cause is EndCause.LOGIN
        assert end.reply.code == 454
        assert said in end.reply.text
        assert "MAIL" not in " ".join(server.commands)

    def test_not_offered_defers(self) -> None:
        end = refusal(ScriptedServer(extensions=("AUTH GSSAPI",)), credentials=self.CREDENTIALS)
        assert end == SessionEnded(EndCause.LOGIN, replies.LOGIN_NOT_OFFERED_BY_HOP)

    @pytest.mark.parametrize(
        ("offer", "script"),
        [
            ("AUTH PLAIN", ["334 eA==", "501 cancelled"]),
            ("AUTH CRAM-MD5", ["334 !!!", "501 cancelled"]),
            ("AUTH CRAM-MD5", ["334 eA==", "334 eA==", "501 cancelled"]),
            ("AUTH LOGIN", ["334 eA==", "334 eA==", "334 eA==", "501 cancelled"]),
        ],
    )
    def test_that_asks_for_more_is_cancelled(self, offer: str, script: list[str]) -> None:
        server = ScriptedServer(extensions=(offer,), replies={"AUTH": script})
        end = refusal(server, credentials=self.CREDENTIALS)
        assert end.cause is EndCause.LOGIN
        assert server.commands[-2:] == ["*", "QUIT"]

    def test_that_does_not_fit_the_mechanism_defers(self) -> None:
        server = ScriptedServer(extensions=("AUTH PLAIN",))
        assert refusal(server, credentials=HopCredentials("a\0b", "c")).cause is EndCause.LOGIN


class TestAgainstTheServerOfKms:
    @pytest.mark.parametrize("offers_starttls", [False, True])
    @pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
    def test_login_and_messages_arrive_as_they_were(self, offers_starttls: bool, mechanism: str) -> None:
        server = SessionServer(
            SmtpServerSettings("mx.test", mechanisms=(mechanism,), offers_starttls=offers_starttls)
        )
        session = SmtpClientSession(settings(credentials=HopCredentials("joe", "s\u00e9cret")))
        assert join(session, server)[-1] == SessionReady()
        odd = Mailbox('a "b\\c', "far.test")
        recipients = (recipient(1), Recipient(2, odd, odd))
        for data in (b".x\r\n..\r\n.\r\nMAIL FROM:<e@x>\r\n", b"", b"\xe9\0\r\n"):
            envelope = Envelope(None, recipients, is_8bit=True)
            message, _ = OutgoingMessage.prepare(envelope, recipients, InlineContent(data))
            session.start(message)
            (event,) = join(session, server)
            assert isinstance(event, TransactionEnded)
            assert {type(outcome) for outcome in event.outcomes.values()} == {Delivered}
            assert server.received[-1] == ReceivedMail("", ["r1@far.test", str(odd)], data)
        assert server.logins == [("joe", "s\u00e9cret")]
        assert server.session.is_encrypted == offers_starttls
        session.quit()
        (end,) = join(session, server)
        assert isinstance(end, SessionEnded)
        assert end.cause is EndCause.QUIT


class TestTimeAndEnd:
    def test_limits_follow_the_stage(self) -> None:
        server = ScriptedServer(replies={"MAIL": [SILENCE], "RCPT": [SILENCE], "DATA": [SILENCE]})
        session = ready(server)
        session.start(prepare())
        join(session, server)
        assert session.time_limit == COMMAND_TIME
        session.receive_data(b"250 ok\r\n")
        assert session.time_limit == COMMAND_TIME
        session.receive_data(b"250 ok\r\n")
        assert session.time_limit == DATA_TIME
        assert session.replies_taken == 4

    def test_quit_waits_a_moment_for_the_answer(self) -> None:
        server = ScriptedServer()
        session = ready(server)
        session.quit()
        assert session.time_limit == QUIT_TIME
        (event,) = join(session, server)
        assert isinstance(event, SessionEnded)
        assert event.cause is EndCause.QUIT

    def test_content_that_nobody_wants_is_dropped(self) -> None:
        session = ready(ScriptedServer())
        session.send_content(b"x")
        session.end_content()
        assert session.data_to_send() == b""
        session.start(prepare())
        session.data_to_send()
        session.send_content(b"x")
        session.end_content()
        assert session.data_to_send() == b""
