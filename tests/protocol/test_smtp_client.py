from __future__ import annotations

import base64

import pytest

from kms.domain import reply as replies
from kms.domain.address import Mailbox
from kms.domain.content import Content, FileContent, InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import HopCredentials, TlsPolicy
from kms.domain.outcome import Deferred, Delivered, Failed, Outcome
from kms.domain.reply import Reply
from kms.domain.status import EnhancedStatus
from kms.protocol.client_events import (
    BLOCK_TIME,
    COMMAND_TIME,
    DATA_TIME,
    DOT_TIME,
    QUIT_TIME,
    ContentWanted,
    EndCause,
    SessionEnded,
    SessionReady,
    SmtpClientSettings,
    TlsRequested,
    TransactionEnded,
)
from kms.protocol.outgoing_message import OutgoingMessage
from kms.protocol.smtp_client import SmtpClientSession
from tests.support.wire import CLOSE, SILENCE, ScriptedServer, join

WHERE = "mx.test[192.0.2.1]:25"
CONTENT = InlineContent(b"Subject: x\r\n\r\nhello\r\n")
LOCK_STEP = ("8BITMIME", "SIZE 1000000")
PIPELINING = ("PIPELINING", "8BITMIME", "SIZE 1000000")
BOTH = pytest.mark.parametrize("extensions", [PIPELINING, LOCK_STEP], ids=["pipelining", "lock-step"])


def settings(**changes: object) -> SmtpClientSettings:
    return SmtpClientSettings(**{"helo_name": "kms.test", "where": WHERE, **changes})  # type: ignore[arg-type]


def recipient(number: int, local_part: str | None = None) -> Recipient:
    mailbox = Mailbox(local_part or f"r{number}", "far.test")
    return Recipient(number, mailbox, mailbox)


def prepare(
    count: int = 1, content: Content = CONTENT, *, is_8bit: bool = False, sender: Mailbox | None = None
) -> OutgoingMessage:
    recipients = tuple(recipient(number) for number in range(1, count + 1))
    sender = sender or Mailbox("from", "near.test")
    message, refused = OutgoingMessage.prepare(Envelope(sender, recipients, is_8bit), recipients, content)
    assert not refused
    return message


def ready(server: ScriptedServer, **changes: object) -> SmtpClientSession:
    session = SmtpClientSession(settings(**changes))
    assert [event for event in join(session, server) if not isinstance(event, TlsRequested)] == [
        SessionReady()
    ]
    assert session.is_ready
    return session


def ended(session: SmtpClientSession, server: ScriptedServer, message: OutgoingMessage) -> TransactionEnded:
    session.start(message)
    events = join(session, server)
    assert isinstance(events[0], TransactionEnded)
    return events[0]


def send(server: ScriptedServer, message: OutgoingMessage, **changes: object) -> dict[int, Outcome]:
    return ended(ready(server, **changes), server, message).outcomes


def refusal(server: ScriptedServer, **changes: object) -> SessionEnded:
    (event,) = [
        event for event in join(SmtpClientSession(settings(**changes)), server) if event != TlsRequested()
    ]
    assert isinstance(event, SessionEnded)
    return event


class TestOneMessage:
    def test_goes_in_two_writes_where_the_server_takes_groups(self) -> None:
        server = ScriptedServer()
        outcomes = send(server, prepare(2))
        assert outcomes == dict.fromkeys((1, 2), Delivered(Reply(250, replies.status.OK, "taken"), WHERE))
        assert server.groups == [
            b"EHLO kms.test\r\n",
            b"MAIL FROM:<from@near.test> SIZE=21\r\nRCPT TO:<r1@far.test>\r\nRCPT TO:<r2@far.test>\r\nDATA\r\n",
            b"Subject: x\r\n\r\nhello\r\n.\r\n",
        ]
        assert server.received[0].content == CONTENT.data

    def test_goes_command_by_command_where_it_does_not(self) -> None:
        server = ScriptedServer(extensions=())
        send(server, prepare(2))
        assert server.groups[1:] == [
            b"MAIL FROM:<from@near.test>\r\n",
            b"RCPT TO:<r1@far.test>\r\n",
            b"RCPT TO:<r2@far.test>\r\n",
            b"DATA\r\n",
            b"Subject: x\r\n\r\nhello\r\n.\r\n",
        ]

    def test_of_the_null_sender_goes_with_an_empty_path(self) -> None:
        recipients = (recipient(1),)
        message, _ = OutgoingMessage.prepare(Envelope(None, recipients), recipients, CONTENT)
        server = ScriptedServer()
        send(server, message)
        assert server.received[0].sender.startswith("<> ")

    def test_names_the_addresses_as_the_envelope_has_them(self) -> None:
        odd = Mailbox("user,name (c) x", "far.test")
        recipients = (Recipient(1, odd, odd),)
        message, _ = OutgoingMessage.prepare(Envelope(None, recipients), recipients, CONTENT)
        server = ScriptedServer()
        send(server, message)
        assert server.received[0].recipients == ['<"user,name (c) x"@far.test>']

    def test_carries_the_tls_of_the_connection_in_its_outcome(self) -> None:
        server = ScriptedServer(extensions=("STARTTLS",))
        outcomes = send(server, prepare())
        assert outcomes[1].tls == "TLSv1.3 TEST"

    @BOTH
    def test_is_followed_by_the_next_one_without_rset(self, extensions: tuple[str, ...]) -> None:
        server = ScriptedServer(extensions=extensions)
        session = ready(server)
        for _ in range(3):
            assert isinstance(ended(session, server, prepare()).outcomes[1], Delivered)
        assert len(server.received) == 3
        assert "RSET" not in server.commands

    def test_that_declares_8bit_says_so(self) -> None:
        server = ScriptedServer()
        send(server, prepare(content=InlineContent(b"\xe9\r\n"), is_8bit=True))
        assert server.commands[1] == "MAIL FROM:<from@near.test> SIZE=3 BODY=8BITMIME"

    def test_with_8bit_text_fails_at_a_server_that_takes_none(self) -> None:
        server = ScriptedServer(extensions=())
        outcomes = send(server, prepare(2, InlineContent(b"\xe9\r\n"), is_8bit=True))
        assert outcomes == dict.fromkeys((1, 2), Failed(replies.NEEDS_CONVERSION, WHERE))
        assert server.commands == ["EHLO kms.test"]

    def test_declared_8bit_but_ascii_goes_to_any_server(self) -> None:
        server = ScriptedServer(extensions=())
        assert isinstance(send(server, prepare(is_8bit=True))[1], Delivered)

    def test_larger_than_the_servers_limit_is_not_sent(self) -> None:
        server = ScriptedServer(extensions=("SIZE 20",))
        session = ready(server)
        assert ended(session, server, prepare()).outcomes == {1: Failed(replies.TOO_LARGE_FOR_HOP, WHERE)}
        assert session.is_ready
        assert server.commands == ["EHLO kms.test"]

    @pytest.mark.parametrize("size", ["SIZE", "SIZE 0", "SIZE much"])
    def test_is_sent_where_size_has_no_limit(self, size: str) -> None:
        server = ScriptedServer(extensions=(size,))
        assert isinstance(send(server, prepare())[1], Delivered)
        assert server.commands[1].endswith(" SIZE=21")

    def test_from_a_file_is_asked_for_and_sent_in_pieces(self) -> None:
        server = ScriptedServer()
        session = ready(server)
        session.start(prepare(content=FileContent("/spool/x", 9)))
        assert join(session, server) == [ContentWanted()]
        assert session.time_limit == BLOCK_TIME
        for piece in (b".a\r", b"\n.", b"b\r\n"):
            session.send_content(piece)
            assert join(session, server) == []
        session.end_content()
        assert session.time_limit == DOT_TIME
        (event,) = join(session, server)
        assert isinstance(event, TransactionEnded)
        assert server.received[0].content == b".a\r\n.b\r\n"


class TestAddressesThatCannotBeSent:
    def test_are_sorted_out_and_the_others_go(self) -> None:
        recipients = (recipient(1, "ü"), recipient(2, "a\r\nDATA"), recipient(3))
        message, refused = OutgoingMessage.prepare(Envelope(None, recipients), recipients, CONTENT)
        assert refused == {1: replies.NEEDS_SMTPUTF8, 2: replies.UNSENDABLE_RECIPIENT}
        assert list(message.rcpt_commands) == [3]

    @pytest.mark.parametrize(
        ("sender", "reply"), [("ü", replies.NEEDS_SMTPUTF8), ("a\0", replies.UNSENDABLE_SENDER)]
    )
    def test_as_sender_fail_every_recipient(self, sender: str, reply: Reply) -> None:
        recipients = (recipient(1), recipient(2))
        envelope = Envelope(Mailbox(sender, "near.test"), recipients)
        message, refused = OutgoingMessage.prepare(envelope, recipients, CONTENT)
        assert refused == {1: reply, 2: reply}
        assert message.rcpt_commands == {}


class TestRefusals:
    @BOTH
    @pytest.mark.parametrize(("code", "kind"), [(451, Deferred), (550, Failed)])
    @pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "."])
    def test_give_each_recipient_the_servers_reply(
        self, extensions: tuple[str, ...], verb: str, code: int, kind: type
    ) -> None:
        server = ScriptedServer(extensions=extensions, replies={verb: [f"{code} {code // 100}.7.9 no"] * 2})
        session = ready(server)
        event = ended(session, server, prepare(2))
        reply = Reply(code, EnhancedStatus(code // 100, 7, 9), "no")
        assert event == TransactionEnded(dict.fromkeys((1, 2), kind(reply, WHERE)), True)
        assert server.received == []

    @BOTH
    @pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "."])
    def test_leave_the_connection_good_for_the_next_message_after_rset(
        self, extensions: tuple[str, ...], verb: str
    ) -> None:
        server = ScriptedServer(extensions=extensions, replies={verb: ["550 no"]})
        session = ready(server)
        ended(session, server, prepare())
        assert session.is_ready
        assert isinstance(ended(session, server, prepare()).outcomes[1], Delivered)
        assert server.commands.count("RSET") == 1

    @BOTH
    def test_of_some_recipients_touch_no_other(self, extensions: tuple[str, ...]) -> None:
        server = ScriptedServer(
            extensions=extensions, replies={"RCPT": ["250 ok", "550 5.1.1 who", "450 4.2.0 later", "251 ok"]}
        )
        outcomes = send(server, prepare(4))
        assert [type(outcomes[number]) for number in (1, 2, 3, 4)] == [Delivered, Failed, Deferred, Delivered]
        assert server.received[0].recipients == ["<r1@far.test>", "<r4@far.test>"]

    def test_of_everybody_make_a_lock_step_client_stop(self) -> None:
        server = ScriptedServer(extensions=(), replies={"RCPT": ["550 no", "550 no"]})
        send(server, prepare(2))
        assert "DATA" not in server.commands

    def test_of_everybody_followed_by_354_are_answered_by_the_dot_alone(self) -> None:
        server = ScriptedServer(replies={"RCPT": ["550 no"], "DATA": ["354 go on"]})
        session = ready(server)
        assert isinstance(ended(session, server, prepare()).outcomes[1], Failed)
        assert server.groups[-1] == b".\r\n"
        assert server.received == []
        assert session.is_ready

    def test_of_mail_followed_by_354_send_no_content_either(self) -> None:
        server = ScriptedServer(replies={"MAIL": ["550 no"], "RCPT": ["250 ok"], "DATA": ["354 go on"]})
        assert isinstance(send(server, prepare())[1], Failed)
        assert server.groups[-1] == b".\r\n"

    def test_of_rset_end_the_connection(self) -> None:
        server = ScriptedServer(replies={"MAIL": ["550 no"], "RSET": ["500 what"]})
        session = ready(server)
        ended(session, server, prepare())
        session.start(prepare())
        event, end = join(session, server)
        assert isinstance(event, TransactionEnded)
        assert not event.was_considered
        assert isinstance(event.outcomes[1], Deferred)
        assert isinstance(end, SessionEnded)
        assert server.received == []

    def test_without_enhanced_status_get_one_made_of_the_code(self) -> None:
        outcome = send(ScriptedServer(replies={"RCPT": ["550 unknown user"]}), prepare())[1]
        assert outcome.reply == Reply(550, EnhancedStatus(5, 0, 0), "unknown user")

    def test_with_a_status_of_another_class_follow_the_code(self) -> None:
        outcome = send(ScriptedServer(replies={"RCPT": ["450 5.7.1 wait"]}), prepare())[1]
        assert outcome == Deferred(Reply(450, EnhancedStatus(4, 7, 1), "wait"), WHERE)

    def test_of_several_lines_keep_them(self) -> None:
        server = ScriptedServer(replies={"RCPT": ["550-5.1.1 no such\r\n550-user\r\n550 5.1.1 here"]})
        assert send(server, prepare())[1].reply == Reply(550, EnhancedStatus(5, 1, 1), "no such\nuser\nhere")

    def test_with_hostile_octets_are_cleaned(self) -> None:
        server = ScriptedServer(replies={"RCPT": ["550 a\rX: y\x1b[2J\0\xff" + "z" * 3000]})
        reply = send(server, prepare())[1].reply
        assert reply.text == "a?X: y?[2J??" + "z" * 3000


class TestTooManyRecipients:
    @BOTH
    @pytest.mark.parametrize("said", ["452 4.5.3 too many", "552 too many", "452 enough", "552 5.5.3 enough"])
    def test_go_in_further_transactions_at_once(self, extensions: tuple[str, ...], said: str) -> None:
        script = ["250 ok", "250 ok", said, said, "250 ok", said, "250 ok"]
        server = ScriptedServer(extensions=extensions, replies={"RCPT": script})
        outcomes = send(server, prepare(4))
        assert {type(outcome) for outcome in outcomes.values()} == {Delivered}
        taken = [mail.recipients for mail in server.received]
        assert taken == [["<r1@far.test>", "<r2@far.test>"], ["<r3@far.test>"], ["<r4@far.test>"]]
        assert "RSET" not in server.commands

    def test_ask_for_the_content_of_a_file_again(self) -> None:
        server = ScriptedServer(replies={"RCPT": ["250 ok", "452 4.5.3 too many"]})
        session = ready(server)
        session.start(prepare(2, FileContent("/spool/x", 3)))
        for _ in range(2):
            assert join(session, server) == [ContentWanted()]
            session.send_content(b"x\r\n")
            session.end_content()
        (event,) = join(session, server)
        assert isinstance(event, TransactionEnded)
        assert [mail.content for mail in server.received] == [b"x\r\n", b"x\r\n"]

    @BOTH
    def test_are_deferred_where_nobody_was_accepted(self, extensions: tuple[str, ...]) -> None:
        server = ScriptedServer(extensions=extensions, replies={"RCPT": ["552 too many"]})
        assert send(server, prepare()) == {
            1: Deferred(Reply(452, EnhancedStatus(4, 0, 0), "too many"), WHERE)
        }

    def test_of_a_full_mailbox_is_another_thing_and_waits(self) -> None:
        server = ScriptedServer(replies={"RCPT": ["250 ok", "552 5.2.2 full"]})
        outcomes = send(server, prepare(2))
        assert outcomes[2] == Deferred(Reply(452, EnhancedStatus(4, 2, 2), "full"), WHERE)

    def test_follow_also_a_content_that_was_refused(self) -> None:
        server = ScriptedServer(replies={"RCPT": ["250 ok", "452 4.5.3 x"], ".": ["554 5.6.0 bad"]})
        outcomes = send(server, prepare(2))
        assert [type(outcomes[1]), type(outcomes[2])] == [Failed, Delivered]
        assert server.commands.count("RSET") == 1

    def test_are_deferred_when_the_connection_ends_first(self) -> None:
        server = ScriptedServer(replies={"RCPT": ["250 ok", "452 4.5.3 x"], ".": [CLOSE]})
        outcomes = send(server, prepare(2))
        assert outcomes[1] == Deferred(replies.CONNECTION_LOST, WHERE, is_ambiguous=True)
        assert outcomes[2] == Deferred(Reply(452, EnhancedStatus(4, 5, 3), "x"), WHERE)


class TestTroubleOnTheWay:
    @BOTH
    @pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "."])
    @pytest.mark.parametrize("said", [CLOSE, "421 4.3.2 going down", "354 go", "garbage", "999 x", "25x"])
    def test_defers_and_ends_the_connection(self, extensions: tuple[str, ...], verb: str, said: str) -> None:
        if verb == "DATA" and said == "354 go":
            said = "250 ok"
        server = ScriptedServer(extensions=extensions, replies={verb: [said]})
        session = ready(server)
        session.start(prepare(2))
        event, end = join(session, server)
        assert isinstance(event, TransactionEnded)
        assert isinstance(end, SessionEnded)
        assert end.cause is EndCause.LOST
        assert event.was_considered == (verb != "MAIL")
        says_goodbye = said.startswith("421")
        for outcome in event.outcomes.values():
            assert isinstance(outcome, Deferred)
            assert outcome.is_ambiguous == (verb == "." and not says_goodbye)
            assert outcome.reply.is_transient
            if says_goodbye:
                assert outcome.reply == Reply(421, EnhancedStatus(4, 3, 2), "going down")
        assert session.is_over
        assert not session.is_ready

    def test_leaves_those_alone_who_have_their_outcome(self) -> None:
        server = ScriptedServer(replies={"RCPT": ["550 no", "250 ok", CLOSE]})
        outcomes = send(server, prepare(3))
        assert [type(outcomes[number]) for number in (1, 2, 3)] == [Failed, Deferred, Deferred]

    def test_by_a_time_out_after_the_dot_is_ambiguous(self) -> None:
        server = ScriptedServer(replies={".": [SILENCE]})
        session = ready(server)
        session.start(prepare())
        assert join(session, server) == []
        session.lose(replies.NO_ANSWER_IN_TIME)
        event = session.next_event()
        assert event == TransactionEnded(
            {1: Deferred(replies.NO_ANSWER_IN_TIME, WHERE, is_ambiguous=True)}, True
        )
        assert isinstance(session.next_event(), SessionEnded)
        session.lose()
        assert session.next_event() is None

    @pytest.mark.parametrize(("said", "kind"), [("552 5.3.4 too large", Failed), ("451 no", Deferred)])
    def test_an_early_answer_to_the_content_counts(self, said: str, kind: type) -> None:
        session = self.sending_a_file()
        session.receive_data(said.encode() + b"\r\n")
        session.send_content(b"more")
        session.end_content()
        event = session.next_event()
        assert isinstance(event, TransactionEnded)
        assert type(event.outcomes[1]) is kind
        assert isinstance(session.next_event(), SessionEnded)
        assert session.data_to_send() == b""

    def test_an_early_250_does_not_count(self) -> None:
        session = self.sending_a_file()
        session.receive_data(b"250 taken\r\n")
        event = session.next_event()
        assert isinstance(event, TransactionEnded)
        assert isinstance(event.outcomes[1], Deferred)

    @staticmethod
    def sending_a_file() -> SmtpClientSession:
        server = ScriptedServer()
        session = ready(server)
        session.start(prepare(content=FileContent("/spool/x", 100)))
        assert join(session, server) == [ContentWanted()]
        return session

    def test_a_reply_without_end_is_cut(self) -> None:
        session = SmtpClientSession(settings())
        for _ in range(9):
            session.receive_data(b"2" * 1024)
        event = session.next_event()
        assert isinstance(event, SessionEnded)
        assert "without end" in event.reply.text

    def test_a_reply_of_too_many_lines_is_cut(self) -> None:
        session = SmtpClientSession(settings())
        session.receive_data(b"220-x\r\n" * 101)
        assert isinstance(session.next_event(), SessionEnded)

    def test_an_unasked_reply_ends_an_idle_session(self) -> None:
        session = ready(ScriptedServer())
        session.receive_data(b"421 4.4.2 idle\r\n")
        assert session.next_event() == SessionEnded(
            EndCause.LOST, Reply(421, EnhancedStatus(4, 4, 2), "idle")
        )


class TestLmtp:
    @BOTH
    def test_answers_each_recipient_after_the_dot(self, extensions: tuple[str, ...]) -> None:
        server = ScriptedServer(
            is_lmtp=True,
            extensions=extensions,
            replies={"RCPT": ["250 a", "550 b"], ".": ["250 2.0.0 taken", "452 4.2.2 full", "554 no"]},
        )
        session = ready(server, is_lmtp=True)
        outcomes = ended(session, server, prepare(4)).outcomes
        assert [type(outcomes[number]) for number in (1, 2, 3, 4)] == [Delivered, Failed, Deferred, Failed]
        assert server.commands[0] == "LHLO kms.test"
        assert session.is_ready
        ended(session, server, prepare())
        assert "RSET" not in server.commands

    @pytest.mark.parametrize("said", [CLOSE, "354 x"])
    def test_lost_among_the_answers_is_ambiguous_for_the_rest(self, said: str) -> None:
        server = ScriptedServer(is_lmtp=True, replies={".": ["250 taken", said]})
        outcomes = send(server, prepare(3), is_lmtp=True)
        assert isinstance(outcomes[1], Delivered)
        for number in (2, 3):
            outcome = outcomes[number]
            assert isinstance(outcome, Deferred)
            assert outcome.is_ambiguous

    def test_has_no_helo_to_fall_back_to(self) -> None:
        server = ScriptedServer(is_lmtp=True, replies={"LHLO": ["500 what"]})
        assert refusal(server, is_lmtp=True).cause is EndCause.REFUSED
        assert server.commands == ["LHLO kms.test", "QUIT"]


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
        assert session.next_event() is None
