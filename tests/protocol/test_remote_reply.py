from __future__ import annotations

from kms.domain.outcome import Deferred
from kms.domain.reply import Reply
from kms.domain.status import EnhancedStatus
from kms.protocol.client_events import SessionEnded
from kms.protocol.smtp_client import SmtpClientSession
from tests.support.client_sessions import WHERE, prepare, send, settings
from tests.support.wire import ScriptedServer


class TestReplies:
    def test_without_an_enhanced_status_get_one_made_of_the_code(self) -> None:
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
