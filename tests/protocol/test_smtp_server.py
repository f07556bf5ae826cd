"""What the dialogues cannot show: pauses, order, memory, and what the session tells of itself."""

import sys
from typing import Any

import pytest

from kms.domain import reply as replies
from kms.domain.address import Mailbox
from kms.domain.reply import Reply
from kms.domain.status import EnhancedStatus
from kms.protocol.smtp_events import (
    ContentEnded,
    ContentReceived,
    ContentRefused,
    LoginOffered,
    RecipientOffered,
    SenderOffered,
    TlsRequested,
    TransactionAborted,
)
from kms.protocol.smtp_server import BareNewlines, SmtpServerSession, SmtpServerSettings
from tests.support.dialogue import ScriptedReception

SETTINGS = SmtpServerSettings("mail.example.org")
GREETING = b"220 mail.example.org ESMTP ready\r\n"
LOGIN = b"AUTH PLAIN AGFubmEAc2VjcmV0\r\n"
ENVELOPE = b"MAIL FROM:<>\r\nRCPT TO:<bert@example.org>\r\nDATA\r\n"


def make_session(settings: SmtpServerSettings = SETTINGS, **facts: Any) -> SmtpServerSession:
    session = SmtpServerSession(settings, **facts)
    session.greet(replies.greeting("mail.example.org"))
    session.receive_data(b"HELO client.example\r\n")
    assert session.next_event() is None
    session.data_to_send()
    return session


def say(session: SmtpServerSession, data: bytes, **answers: Reply) -> list[bytes]:
    """Send, answer everything, and give the codes of what was said."""
    session.receive_data(data)
    ScriptedReception(answers).serve(session)
    return [line[:3] for line in session.data_to_send().splitlines()]


# Order and pauses


def test_nothing_is_read_before_the_greeting_is_decided() -> None:
    session = SmtpServerSession(SETTINGS)
    session.receive_data(b"NOOP\r\n")

    assert session.next_event() is None
    assert session.data_to_send() == b""
    session.greet(replies.greeting("mail.example.org"))
    assert session.next_event() is None
    assert session.data_to_send() == GREETING + b"250 2.0.0 Ok\r\n"


def test_while_a_question_waits_nothing_behind_it_is_looked_at() -> None:
    session = make_session()
    session.receive_data(b"MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nRSET\r\nNOOP\r\n")

    assert session.next_event() == SenderOffered(None, None, False)
    assert session.next_event() is None
    assert session.buffered_octets == len(b"RCPT TO:<a@example.org>\r\nRSET\r\nNOOP\r\n")
    assert session.data_to_send() == b""
    session.reply(replies.SENDER_OK)
    assert session.next_event() == RecipientOffered(Mailbox("a", "example.org"))
    session.receive_data(b"QUIT\r\n")
    assert session.next_event() is None
    session.reply(replies.RECIPIENT_OK)
    assert session.next_event() == TransactionAborted()
    assert session.next_event() is None
    codes = [line[:3] for line in session.data_to_send().splitlines()]
    assert codes == [b"250", b"250", b"250", b"250", b"221"]


def test_a_slow_recipient_of_a_reset_transaction_never_reaches_the_next_one() -> None:
    session = make_session()
    session.receive_data(ENVELOPE.replace(b"DATA", b"RSET") + b"MAIL FROM:<b@client.example>\r\n")
    events = []
    while (event := session.next_event()) is not None:
        events.append(event)
        if not isinstance(event, TransactionAborted):
            session.reply(replies.NOTHING_DONE)

    assert events == [
        SenderOffered(None, None, False),
        RecipientOffered(Mailbox("bert", "example.org")),
        TransactionAborted(),
        SenderOffered(Mailbox("b", "client.example"), None, False),
    ]


def test_commands_behind_the_content_wait_for_its_answer() -> None:
    session = make_session()
    session.receive_data(ENVELOPE + b"x\r\n.\r\nQUIT\r\n")
    for _ in range(2):
        assert session.next_event() is not None
        session.reply(replies.NOTHING_DONE)

    assert session.next_event() == ContentEnded(b"x\r\n")
    assert session.is_in_transaction
    assert not session.is_receiving_content
    assert session.next_event() is None
    assert not session.is_closing
    session.reply(replies.queued("1"))
    assert not session.is_in_transaction
    assert session.next_event() is None
    assert session.data_to_send().endswith(b"250 2.0.0 Ok: queued as 1\r\n221 2.0.0 Bye\r\n")


def test_an_answer_without_a_question_is_a_fault_of_the_caller() -> None:
    with pytest.raises(RuntimeError):
        make_session().reply(replies.SENDER_OK)


# Content


def test_a_large_content_comes_in_chunks_and_is_never_joined() -> None:
    session = make_session()
    say(session, ENVELOPE)
    assert session.is_receiving_content
    chunk = b"x" * 65536
    for _ in range(3):
        session.receive_data(chunk)
        event = session.next_event()
        assert event == ContentReceived(chunk)
        assert session.next_event() is None
        assert session.buffered_octets == 0

    session.receive_data(b"\r\n.\r")
    assert session.next_event() is None
    session.receive_data(b"\n")
    assert session.next_event() == ContentEnded(b"\r\n")


def test_a_refused_content_ends_the_transaction_and_counts_as_a_fault() -> None:
    settings = SmtpServerSettings("mail.example.org", max_failed_commands=1)
    session = make_session(settings)

    say(session, ENVELOPE)
    session.receive_data(b"x\ny\r\n.\r\n")
    assert session.next_event() == ContentRefused(replies.BARE_NEWLINE)
    session.reply(replies.BARE_NEWLINE.with_decision("7F3K2Q"))
    assert not session.is_in_transaction
    assert session.data_to_send().endswith(b"550 5.6.0 Bare CR or LF in the message (7F3K2Q)\r\n")
    assert say(session, ENVELOPE + b"x\ny\r\n.\r\n") == [b"250", b"250", b"354", b"421"]
    assert session.is_closing


@pytest.mark.parametrize("data", [b"x\r\n", b"\r", b"x\n"])
def test_a_connection_lost_in_the_content_leaves_no_event(data: bytes) -> None:
    session = make_session()
    say(session, ENVELOPE)
    session.receive_data(data)
    event = session.next_event()

    assert event is None or event == ContentReceived(b"x")
    assert session.next_event() is None


def test_a_normalised_content_is_accepted() -> None:
    session = make_session(SmtpServerSettings("mail.example.org", bare_newlines=BareNewlines.NORMALISE))
    reception = ScriptedReception()
    session.receive_data(ENVELOPE + b"a\nb\r\n.\r\n")
    reception.serve(session)

    assert reception.contents == [b"a\r\nb\r\n"]


# Chunks

BDAT = ENVELOPE.replace(b"DATA\r\n", b"BDAT %d\r\n")


def test_a_large_chunk_comes_in_the_pieces_in_which_it_arrives() -> None:
    session = make_session()
    say(session, BDAT % 200000)
    assert session.is_receiving_content
    piece = b"x" * 65536
    for _ in range(3):
        session.receive_data(piece)
        assert session.next_event() == ContentReceived(piece)
        assert session.next_event() is None
        assert session.buffered_octets == 0

    rest = 200000 - 3 * 65536
    assert say(session, b"x" * rest + b"BDAT 0 LAST\r\nNOOP\r\n") == [b"250", b"250", b"250"]
    assert not session.is_in_transaction


def test_many_small_chunks_in_one_piece_are_one_content() -> None:
    session = make_session()
    reception = ScriptedReception()
    session.receive_data(BDAT % 3 + b"ab\r" + b"BDAT 3\r\n\nc\r" * 2000 + b"BDAT 1 LAST\r\n\n")
    reception.serve(session)

    assert reception.contents == [b"ab\r\n" + b"c\r\n" * 2000]


def test_a_chunk_that_is_refused_drops_what_came_before_it() -> None:
    session = make_session()
    session.receive_data(BDAT % 2 + b"abBDAT 3\r\n\n\n\nBDAT 1 LAST\r\nx")
    reception = ScriptedReception()
    reception.serve(session)

    assert reception.contents == []
    assert reception.events[-2:] == [ContentRefused(replies.BARE_NEWLINE), TransactionAborted()]
    assert not session.is_in_transaction


@pytest.mark.parametrize("data", [b"", b"ab", b"ab\r", b"\n" * 9])
def test_a_connection_lost_in_a_chunk_ends_no_content(data: bytes) -> None:
    session = make_session()
    session.receive_data(BDAT % 10 + data)
    reception = ScriptedReception()
    reception.serve(session)
    session.close(replies.SHUTTING_DOWN)

    assert reception.contents == []
    assert session.next_event() is None


def test_a_chunk_without_end_that_nobody_wants_takes_no_memory() -> None:
    session = make_session()
    session.receive_data(b"BDAT 99999999999999999999\r\n")
    for _ in range(100):
        session.receive_data(b"QUIT\r\n" * 10000)
        assert session.next_event() is None
        assert session.buffered_octets == 0
    assert session.data_to_send() == b""


# Authentication


def test_a_failed_login_is_remembered_until_one_succeeds() -> None:
    session = make_session(is_encrypted=True)
    yes = {"LOGIN anna secret": replies.AUTHENTICATED}

    assert (session.login_name, session.has_failed_login) == (None, False)
    assert say(session, LOGIN) == [b"535"]
    assert say(session, b"RSET\r\nEHLO client.example\r\nMAIL FROM:<>\r\nRSET\r\n")[-1] == b"250"
    assert (session.login_name, session.has_failed_login) == (None, True)
    assert say(session, LOGIN, **yes) == [b"235"]
    assert (session.login_name, session.has_failed_login) == ("anna", False)
    assert say(session, b"RSET\r\nHELO client.example\r\n") == [b"250", b"250"]
    assert session.login_name == "anna"


@pytest.mark.parametrize(
    ("lines", "answers"),
    [
        (b"AUTH LOGIN\r\n*\r\n", {}),
        (b"AUTH SCRAM\r\n", {}),
        (b"AUTH PLAIN !\r\n", {}),
        (LOGIN, {"LOGIN anna secret": replies.AUTHENTICATION_TROUBLE}),
        (LOGIN, {"LOGIN anna secret": Reply(550, EnhancedStatus(5, 7, 0), "Not now")}),
    ],
)
def test_only_535_is_a_failed_login(lines: bytes, answers: dict[str, Reply]) -> None:
    session = make_session(is_encrypted=True)

    say(session, lines, **answers)
    assert not session.has_failed_login
    say(session, LOGIN)
    say(session, lines, **answers)
    assert session.has_failed_login


def test_a_login_tells_whom_the_client_wants_to_act_as() -> None:
    session = make_session(is_encrypted=True)
    session.receive_data(b"AUTH PLAIN Ym9zcwBhbm5hAHNlY3JldA==\r\n")

    assert session.next_event() == LoginOffered("PLAIN", "boss", "anna", "secret")


def test_a_mechanism_that_does_not_exist_cannot_be_offered() -> None:
    with pytest.raises(ValueError, match="X-MAGIC"):
        SmtpServerSettings("mail.example.org", mechanisms=("PLAIN", "X-MAGIC"))


# TLS


def test_tls_begins_a_session_that_knows_nothing_of_the_one_before() -> None:
    settings = SmtpServerSettings("mail.example.org", offers_starttls=True)
    session = make_session(settings, may_send_plain_passwords=True)
    say(session, LOGIN + b"EHLO client.example\r\n", **{"LOGIN anna secret": replies.AUTHENTICATED})
    session.receive_data(b"STARTTLS\r\nRSET\r\nNO")

    assert session.next_event() == TlsRequested()
    session.receive_data(b"QUIT\r\n")
    assert session.next_event() is None
    assert session.buffered_octets == 0
    session.tls_started()
    assert session.is_encrypted
    assert (session.login_name, session.client_name, session.is_extended) == (None, "", False)
    assert session.data_to_send() == b"220 2.0.0 Ready to start TLS\r\n"
    assert say(session, b"OP\r\nMAIL FROM:<>\r\n") == [b"500", b"503"]


def test_tls_clears_a_failed_login() -> None:
    settings = SmtpServerSettings("mail.example.org", offers_starttls=True)
    session = make_session(settings, may_send_plain_passwords=True)
    say(session, LOGIN + b"STARTTLS\r\n")
    assert session.has_failed_login

    session.tls_started()

    assert not session.has_failed_login


def test_tls_that_starts_after_the_close_opens_nothing() -> None:
    session = make_session(SmtpServerSettings("mail.example.org", offers_starttls=True))
    say(session, b"STARTTLS\r\n")

    session.close(replies.SHUTTING_DOWN)
    session.tls_started()

    assert session.is_closing


# Closing


def test_a_close_says_its_reply_once_and_nothing_is_read_after_it() -> None:
    session = make_session()
    say(session, b"MAIL FROM:<>\r\n")
    session.receive_data(b"NOOP\r\n")

    session.close(replies.IDLE_TOO_LONG)
    session.close(replies.SHUTTING_DOWN)
    session.greet(replies.greeting("mail.example.org"))
    session.receive_data(b"NOOP\r\n")

    assert session.is_closing
    assert not session.is_in_transaction
    assert session.next_event() is None
    assert session.data_to_send() == replies.IDLE_TOO_LONG.wire
    assert session.buffered_octets == 0


def test_the_answer_to_a_question_given_up_by_a_close_is_not_said() -> None:
    session = make_session()
    session.receive_data(b"MAIL FROM:<>\r\n")
    assert session.next_event() is not None

    session.close(replies.SHUTTING_DOWN)
    session.reply(replies.SENDER_OK)

    assert session.data_to_send() == replies.SHUTTING_DOWN.wire


def test_a_421_from_reception_closes() -> None:
    session = make_session()
    answer = Reply(421, EnhancedStatus(4, 7, 0), "Too many unknown recipients")

    assert say(session, ENVELOPE, **{"RCPT <bert@example.org>": answer}) == [b"250", b"421"]
    assert session.is_closing


def test_the_session_says_which_reply_it_really_gave() -> None:
    session = make_session(SmtpServerSettings("mail.example.org", max_failed_commands=1))
    denied = replies.relaying_denied("far@elsewhere.example")
    session.receive_data(b"MAIL FROM:<>\r\n" + b"RCPT TO:<far@elsewhere.example>\r\n" * 2)
    session.next_event()

    assert session.reply(replies.SENDER_OK) is replies.SENDER_OK
    session.next_event()
    assert session.reply(denied) is denied
    session.next_event()
    assert session.reply(denied) is replies.TOO_MANY_ERRORS
    assert session.is_closing


def test_an_idle_session_is_small() -> None:
    session = make_session()
    parts = [getattr(session, name) for name in ("_lines", "_output", "client_name")]

    assert not hasattr(session, "__dict__")
    assert sys.getsizeof(session) + sum(sys.getsizeof(part) for part in parts) < 1024
