from __future__ import annotations

import attrs
import pytest

from kms.domain import reply as replies
from kms.domain import status
from kms.domain.address import Mailbox
from kms.domain.content import FileContent, InlineContent
from kms.domain.dsn_request import MessageRequest, Notify, RecipientRequest, Returned
from kms.domain.envelope import Envelope, Recipient
from kms.domain.outcome import Deferred, Delivered, Failed, Handover
from kms.domain.reply import Reply
from kms.domain.status import EnhancedStatus
from kms.protocol.client_events import (
    BLOCK_TIME,
    DOT_TIME,
    ContentWanted,
    EndCause,
    SessionEnded,
    TransactionEnded,
)
from kms.protocol.outgoing_message import OutgoingMessage
from kms.protocol.smtp_client import SmtpClientSession
from tests.support.client_sessions import (
    BOTH,
    CONTENT,
    WHERE,
    ended,
    prepare,
    ready,
    recipient,
    refusal,
    send,
)
from tests.support.wire import CLOSE, SILENCE, ScriptedServer, join


class TestOneMessage:
    def test_goes_in_two_writes_where_the_server_takes_groups(self) -> None:
        server = ScriptedServer()
        outcomes = send(server, prepare(2))
        assert outcomes == dict.fromkeys((1, 2), Delivered(Reply(250, status.OK, "taken"), WHERE))
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

    def test_that_wants_a_content_for_nobody_is_left(self) -> None:
        server = ScriptedServer(is_lmtp=True, replies={"RCPT": ["550 no"], "DATA": ["354 go"]})
        session = ready(server, is_lmtp=True)
        assert isinstance(ended(session, server, prepare()).outcomes[1], Failed)
        assert session.is_over

    def test_has_no_helo_to_fall_back_to(self) -> None:
        server = ScriptedServer(is_lmtp=True, replies={"LHLO": ["500 what"]})
        assert refusal(server, is_lmtp=True).cause is EndCause.REFUSED
        assert server.commands == ["LHLO kms.test", "QUIT"]


class TestInternationalMail:
    UTF8 = ("PIPELINING", "8BITMIME", "SMTPUTF8")

    def prepare(
        self, *local_parts: str, sender: str = "from", has_utf8_header: bool = False
    ) -> OutgoingMessage:
        recipients = tuple(recipient(number, name) for number, name in enumerate(local_parts, 1))
        envelope = Envelope(Mailbox(sender, "near.test"), recipients, has_utf8_header=has_utf8_header)
        return OutgoingMessage.prepare(envelope, recipients, CONTENT)[0]

    @pytest.mark.parametrize("extensions", [UTF8, UTF8[1:]])
    def test_says_smtputf8_where_the_server_offers_it(self, extensions: tuple[str, ...]) -> None:
        server = ScriptedServer(extensions=extensions)
        outcomes = send(server, self.prepare("ü", "b"))
        assert [type(outcome) for outcome in outcomes.values()] == [Delivered, Delivered]
        assert server.commands[1:4] == [
            "MAIL FROM:<from@near.test> SMTPUTF8",
            "RCPT TO:<ü@far.test>".encode().decode("latin-1"),
            "RCPT TO:<b@far.test>",
        ]

    def test_of_ascii_alone_does_not_say_so(self) -> None:
        server = ScriptedServer(extensions=self.UTF8)
        send(server, self.prepare("a"))
        assert server.commands[1] == "MAIL FROM:<from@near.test>"

    @BOTH
    def test_goes_to_those_whom_a_server_without_it_can_serve(self, extensions: tuple[str, ...]) -> None:
        server = ScriptedServer(extensions=extensions)
        outcomes = send(server, self.prepare("ü", "b"))
        assert outcomes[1] == Failed(replies.NEEDS_SMTPUTF8, WHERE)
        assert isinstance(outcomes[2], Delivered)
        assert server.received[0].recipients == ["<b@far.test>"]

    @pytest.mark.parametrize(("sender", "has_utf8_header"), [("ü", False), ("a", True)])
    def test_that_the_server_cannot_serve_at_all_is_not_begun(
        self, sender: str, has_utf8_header: bool
    ) -> None:
        server = ScriptedServer()
        session = ready(server)
        result = ended(session, server, self.prepare("a", sender=sender, has_utf8_header=has_utf8_header))
        assert result == TransactionEnded({1: Failed(replies.NEEDS_SMTPUTF8, WHERE)}, True)
        assert server.commands == ["EHLO kms.test"]
        assert isinstance(ended(session, server, prepare()).outcomes[1], Delivered)


class TestARequestForReports:
    ENVELOPE = Envelope(
        Mailbox("from", "near.test"),
        (
            attrs.evolve(recipient(1), request=RecipientRequest(Notify.SUCCESS, "rfc822;x@y.test")),
            recipient(2),
        ),
        request=MessageRequest(Returned.HEADER, "QQ1"),
    )

    def prepare(self) -> OutgoingMessage:
        return OutgoingMessage.prepare(self.ENVELOPE, self.ENVELOPE.recipients, CONTENT)[0]

    def test_goes_to_a_server_with_dsn_which_reports_from_then_on(self) -> None:
        server = ScriptedServer(extensions=("PIPELINING", "DSN"))
        outcomes = send(server, self.prepare())
        reporting = Delivered(Reply(250, status.OK, "taken"), WHERE, handover=Handover.REPORTING)
        assert outcomes == dict.fromkeys((1, 2), reporting)
        assert server.commands[1:4] == [
            "MAIL FROM:<from@near.test> RET=HDRS ENVID=QQ1",
            "RCPT TO:<r1@far.test> NOTIFY=SUCCESS ORCPT=rfc822;x@y.test",
            "RCPT TO:<r2@far.test>",
        ]

    def test_goes_to_no_server_without_it(self) -> None:
        server = ScriptedServer(extensions=("PIPELINING",))
        outcomes = send(server, self.prepare())
        assert outcomes == dict.fromkeys((1, 2), Delivered(Reply(250, status.OK, "taken"), WHERE))
        assert server.commands[1:3] == ["MAIL FROM:<from@near.test>", "RCPT TO:<r1@far.test>"]
