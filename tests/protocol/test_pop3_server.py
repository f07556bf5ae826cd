from __future__ import annotations

import base64

import attrs
import pytest

from kms.protocol.pop3_content import MessageEncoder
from kms.protocol.pop3_events import (
    DeletionRequested,
    Event,
    LoginOffered,
    LoginRefusal,
    MessageRequested,
    Pop3ServerSettings,
    TlsRequested,
)
from kms.protocol.pop3_server import Pop3ServerSession


@attrs.frozen
class Listed:
    octets: int
    uidl: str


MESSAGES = (Listed(120, "uid-a"), Listed(340, "uid-b"), Listed(7, "uid-c"))


def make(encrypted: bool = True, plain: bool = False, **settings: object) -> Pop3ServerSession:
    return Pop3ServerSession(
        Pop3ServerSettings("mx.test", **settings),  # type: ignore[arg-type]
        is_encrypted=encrypted,
        may_send_plain_passwords=plain,
    )


def say(session: Pop3ServerSession, *lines: str) -> str:
    """Send lines that ask nothing; return the replies."""
    session.receive_data("".join(f"{line}\r\n" for line in lines).encode())
    for _ in range(1 + len(lines) // 20):  # after so many, others have their turn
        assert session.next_event() is None
    return session.data_to_send().decode()


def ask(session: Pop3ServerSession, *lines: str) -> Event:
    """Send lines of which one asks something; return what."""
    session.receive_data("".join(f"{line}\r\n" for line in lines).encode())
    event = session.next_event()
    assert event is not None
    return event


def logged_in(messages: tuple[Listed, ...] = MESSAGES) -> Pop3ServerSession:
    session = make()
    ask(session, "USER joe", "PASS secret")
    session.log_in(messages)
    session.data_to_send()
    return session


def plain(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# Greeting and capabilities


def test_the_greeting_tells_neither_version_nor_an_apop_stamp() -> None:
    session = make()
    session.greet()
    assert session.data_to_send() == b"+OK mx.test POP3 ready\r\n"


CAPABILITIES = [
    "TOP",
    "UIDL",
    "RESP-CODES",
    "AUTH-RESP-CODE",
    "PIPELINING",
    "EXPIRE_NEVER",
    "IMPLEMENTATION_kms",
    "LANG",
    "UTF8_USER",
]


def capabilities(session: Pop3ServerSession) -> list[str]:
    lines = say(session, "CAPA").split("\r\n")
    assert lines[0] == "+OK Capabilities follow"
    assert lines[-2:] == [".", ""]
    return [line.replace(" ", "_") for line in lines[1:-2]]


def test_capa_offers_passwords_only_where_they_may_be_sent() -> None:
    assert capabilities(make()) == [*CAPABILITIES, "USER", "SASL_PLAIN"]
    assert capabilities(make(encrypted=False, plain=True)) == [*CAPABILITIES, "USER", "SASL_PLAIN"]
    assert capabilities(make(encrypted=False)) == CAPABILITIES


def test_capa_offers_stls_only_before_tls_and_before_the_login() -> None:
    assert capabilities(make(encrypted=False, offers_stls=True)) == [*CAPABILITIES, "STLS"]
    assert "STLS" not in capabilities(make(encrypted=True, offers_stls=True))
    session = make(encrypted=False, plain=True, offers_stls=True)
    before = capabilities(session)
    ask(session, "USER joe", "PASS secret")
    session.log_in(())
    session.data_to_send()
    assert [*capabilities(session), "STLS"] == before


# Login


def test_user_and_pass_offer_a_login_and_blanks_belong_to_the_password() -> None:
    assert ask(make(), "USER joe@example.test", "PASS two words ") == LoginOffered(
        "PLAIN", "", "joe@example.test", "two words "
    )


def test_a_password_is_never_printed() -> None:
    assert "secret" not in repr(LoginOffered("PLAIN", "", "joe", "secret"))


def test_commands_behind_pass_wait_for_the_answer() -> None:
    session = make()
    ask(session, "USER joe", "PASS secret", "STAT", "QUIT")
    assert session.next_event() is None
    assert session.data_to_send() == b"+OK Now the password\r\n"
    session.log_in(MESSAGES)
    assert session.next_event() is None
    assert session.data_to_send() == b"+OK Logged in\r\n+OK 3 467\r\n+OK Bye\r\n"
    assert session.is_closing


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (LoginRefusal.WRONG, "-ERR [AUTH] Login failed"),
        (LoginRefusal.IN_USE, "-ERR [IN-USE] Mailbox is in use by another session"),
        (LoginRefusal.TROUBLE, "-ERR [SYS/TEMP] Temporary trouble here, try again later"),
    ],
)
def test_a_refused_login_says_why_and_leaves_the_session_as_it_was(refusal: LoginRefusal, text: str) -> None:
    session = make()
    ask(session, "USER joe", "PASS secret")
    session.data_to_send()
    session.refuse_login(refusal)
    assert session.data_to_send().decode() == f"{text}\r\n"
    assert say(session, "PASS again", "STAT") == "-ERR USER first\r\n-ERR Not valid in this state\r\n"


def test_ten_wrong_logins_close_the_session() -> None:
    session = make()
    for number in range(1, 11):
        ask(session, "USER joe", f"PASS guess{number}")
        session.refuse_login(LoginRefusal.WRONG)
        assert session.is_closing is (number == 10)
    assert session.data_to_send().endswith(b"-ERR [AUTH] Too many failed logins\r\n")


def test_trouble_of_ours_and_a_mailbox_in_use_never_close_it() -> None:
    session = make()
    for _ in range(20):
        for refusal in (LoginRefusal.TROUBLE, LoginRefusal.IN_USE):
            ask(session, "USER joe", "PASS secret")
            session.refuse_login(refusal)
    assert not session.is_closing


@pytest.mark.parametrize(
    "lines", [("USER joe",), ("PASS secret",), ("AUTH PLAIN",), ("AUTH PLAIN AGEAYg==",)]
)
def test_without_tls_no_password_is_taken(lines: tuple[str, ...]) -> None:
    assert say(make(encrypted=False), *lines) == "-ERR Start TLS first, passwords are not sent in clear\r\n"


def test_without_tls_a_trusted_client_may_log_in() -> None:
    assert isinstance(ask(make(encrypted=False, plain=True), "USER joe", "PASS x"), LoginOffered)


def test_user_without_a_name_and_pass_without_a_user_are_refused() -> None:
    session = make()
    assert say(session, "USER", "USER  ", "PASS x") == "-ERR Bad arguments\r\n" * 2 + "-ERR USER first\r\n"


def test_an_empty_password_is_offered_to_be_refused_like_any_other() -> None:
    assert ask(make(), "USER joe", "PASS") == LoginOffered("PLAIN", "", "joe", "")


@pytest.mark.parametrize(
    "data",
    [
        b"USER jo\0e\r\nPASS x\r\n",
        b"USER joe\r\nPASS se\0cret\r\n",
        b"USER \xff\xfe\r\nPASS x\r\n",
        b"USER joe\r\nPASS \xff\r\n",
    ],
)
def test_credentials_that_can_be_nobodys_are_refused_like_wrong_ones(data: bytes) -> None:
    session = make()
    session.receive_data(data)
    assert session.next_event() is None
    assert session.data_to_send() == b"+OK Now the password\r\n-ERR [AUTH] Login failed\r\n"


@pytest.mark.parametrize("user", ["ｊｏｅ", "../joe", "' OR 1=1 --", "*)(uid=*", "joe\tx"])
def test_odd_names_are_offered_as_they_are_and_nothing_is_folded(user: str) -> None:
    event = ask(make(), f"USER {user}", "PASS x")
    assert isinstance(event, LoginOffered)
    assert event.user == user


def test_auth_plain_takes_an_initial_response() -> None:
    assert ask(make(), "AUTH PLAIN " + plain("\0joe\0secret")) == LoginOffered("PLAIN", "", "joe", "secret")


def test_auth_plain_asks_for_the_response_where_none_came() -> None:
    session = make()
    assert say(session, "auth plain") == "+ \r\n"
    assert ask(session, plain("boss\0joe\0secret")) == LoginOffered("PLAIN", "boss", "joe", "secret")


def test_a_long_response_fits_and_a_longer_one_is_refused_without_being_obeyed() -> None:
    session = make()
    assert isinstance(ask(session, "AUTH PLAIN " + plain("\0joe\0" + "p" * 9000)), LoginOffered)
    session.refuse_login(LoginRefusal.WRONG)
    session.data_to_send()
    assert say(session, "AUTH PLAIN") == "+ \r\n"
    assert say(session, "A" * 13000, "CAPA x") == "-ERR Line too long\r\n-ERR Bad arguments\r\n"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("AUTH CRAM-MD5", "Mechanism is not offered"),
        ("AUTH PLAIN =", "Not a valid response"),
        ("AUTH PLAIN *", "Not valid base64"),
        ("AUTH PLAIN !!!", "Not valid base64"),
        ("AUTH PLAIN " + plain("joe"), "Not a valid response"),
        ("AUTH PLAIN " + plain("\0jo\0e\0x"), "Not a valid response"),
    ],
)
def test_auth_that_makes_no_sense_is_refused(line: str, text: str) -> None:
    session = make()
    assert say(session, line) == f"-ERR {text}\r\n"
    assert say(session, "NOOP") == "-ERR Not valid in this state\r\n"


def test_auth_can_be_cancelled() -> None:
    session = make()
    assert say(session, "AUTH PLAIN", "*") == "+ \r\n-ERR Authentication cancelled\r\n"
    assert say(session, "PASS x") == "-ERR USER first\r\n"


def test_nobody_logs_in_twice() -> None:
    session = logged_in()
    assert say(session, "USER joe", "PASS x", "AUTH PLAIN", "STLS") == "-ERR Not valid in this state\r\n" * 4


# TLS


def test_stls_forgets_the_user_that_was_named_in_clear() -> None:
    session = make(encrypted=False, plain=True, offers_stls=True)
    say(session, "USER joe")
    assert ask(session, "STLS") == TlsRequested()
    assert session.data_to_send() == b"+OK Begin TLS\r\n"
    session.tls_started()
    assert session.is_encrypted
    assert say(session, "PASS x") == "-ERR USER first\r\n"
    assert say(session, "STLS") == "-ERR TLS is on already\r\n"


def test_what_came_in_clear_behind_stls_is_never_obeyed() -> None:
    session = make(encrypted=False, offers_stls=True)
    session.receive_data(b"STLS\r\nUSER evil\r\n")
    assert session.next_event() is None
    assert session.data_to_send() == b"-ERR Data after STLS\r\n"
    assert session.is_closing


def test_half_a_line_behind_stls_is_enough_to_close() -> None:
    session = make(encrypted=False, offers_stls=True)
    session.receive_data(b"STLS\r\nUS")
    assert session.next_event() is None
    assert session.is_closing


def test_what_arrives_before_the_handshake_is_dropped() -> None:
    session = make(encrypted=False, offers_stls=True)
    ask(session, "STLS")
    session.data_to_send()
    session.receive_data(b"USER evil\r\n")
    session.tls_started()
    assert session.next_event() is None
    assert session.data_to_send() == b""


def test_stls_where_it_is_not_offered_is_refused() -> None:
    assert say(make(encrypted=False), "STLS") == "-ERR STLS is not offered\r\n"


# Lines


@pytest.mark.parametrize("line", ["XYZZY", "", "LAST", "APOP joe 123", "user"])
def test_unknown_commands_are_refused_and_three_do_not_close(line: str) -> None:
    session = make()
    text = "Bad arguments" if line == "user" else "Unknown command"
    assert say(session, line, line, line) == f"-ERR {text}\r\n" * 3
    assert not session.is_closing


def test_a_hundred_failed_commands_close_the_session() -> None:
    session = make()
    assert say(session, *["XYZZY"] * 200).count("\r\n") == 100
    assert session.is_closing
    session.receive_data(b"CAPA\r\n")
    assert session.buffered_octets == 0 or session.next_event() is None


def test_an_over_long_line_is_thrown_away_whole() -> None:
    session = make()
    session.receive_data(b"USER " + b"x" * 400 + b"\r\n")
    assert session.next_event() is None
    assert session.data_to_send() == b"-ERR Line too long\r\n"
    for _ in range(10):
        session.receive_data(b"USER x " * 1000)
        assert session.next_event() is None
        assert session.buffered_octets < 20000
    session.receive_data(b"\r\nPASS x\r\n")
    assert session.next_event() is None
    assert session.data_to_send() == b"-ERR Line too long\r\n-ERR USER first\r\n"


def test_a_line_of_255_octets_is_not_too_long() -> None:
    session = make()
    assert say(session, "USER " + "x" * 248) == "+OK Now the password\r\n"
    assert say(session, "USER " + "x" * 249) == "-ERR Line too long\r\n"


def test_a_stream_without_line_end_closes_the_session() -> None:
    session = make()
    for _ in range(20):
        session.receive_data(b"x" * 65536)
        assert session.next_event() is None
    assert session.is_closing
    assert session.data_to_send() == b"-ERR Line without end\r\n"


def test_much_output_is_to_be_sent_before_more_is_made() -> None:
    session = logged_in(tuple(Listed(1, "u" * 70) for _ in range(500)))
    session.receive_data(b"UIDL\r\n" * 100)
    assert session.next_event() is None
    assert len(session.data_to_send()) < 150_000
    assert session.buffered_octets > 0
    assert session.next_event() is None
    assert session.data_to_send() != b""


# Lists


def test_stat_list_and_uidl_tell_of_all_messages() -> None:
    session = logged_in()
    assert say(session, "STAT") == "+OK 3 467\r\n"
    assert say(session, "LIST") == "+OK 3 messages\r\n1 120\r\n2 340\r\n3 7\r\n.\r\n"
    assert say(session, "uidl") == "+OK 3 messages\r\n1 uid-a\r\n2 uid-b\r\n3 uid-c\r\n.\r\n"
    assert say(session, "LIST 2", "UIDL  3 ") == "+OK 2 340\r\n+OK 3 uid-c\r\n"


def test_an_empty_mailbox_has_empty_lists() -> None:
    session = logged_in(())
    assert say(session, "STAT", "LIST", "UIDL") == "+OK 0 0\r\n" + "+OK 0 messages\r\n.\r\n" * 2


@pytest.mark.parametrize("verb", ["LIST", "UIDL", "RETR", "DELE"])
@pytest.mark.parametrize("number", ["0", "4", "99", "999999999"])
def test_there_is_no_such_message(verb: str, number: str) -> None:
    assert say(logged_in(), f"{verb} {number}") == "-ERR No such message\r\n"


@pytest.mark.parametrize(
    "line",
    ["LIST x", "LIST -1", "LIST 1 2", "LIST 12345678901", "RETR", "DELE", "DELE x", "TOP", "TOP 1", "TOP 1 x",
     "TOP 1 -1", "TOP x 1", "UIDL ²", "STAT 1", "NOOP 1", "RSET 1", "QUIT now", "CAPA x"],
)  # fmt: skip
def test_bad_arguments_are_refused(line: str) -> None:
    session = logged_in()
    assert say(session, line) == "-ERR Bad arguments\r\n"
    assert not session.is_closing


# Messages


def test_retr_sends_a_message_with_its_size() -> None:
    session = logged_in()
    assert ask(session, "RETR 1") == MessageRequested(1)
    session.send_content(b"A: b\n\n.dot\n..\nend", is_last=True)
    assert session.data_to_send() == b"+OK 120 octets\r\nA: b\r\n\r\n..dot\r\n...\r\nend\r\n.\r\n"
    assert not session.is_sending


def test_a_large_message_goes_out_in_parts_and_what_is_pipelined_waits() -> None:
    session = logged_in()
    ask(session, "RETR 2", "NOOP")
    session.send_content(b"A: b\n", is_last=False)
    assert session.data_to_send() == b""  # not before the header is whole
    session.send_content(b"\nx\n", is_last=False)
    assert session.is_sending
    assert session.next_event() is None
    assert session.data_to_send() == b"+OK 340 octets\r\nA: b\r\n\r\nx\r\n"
    session.send_content(b"\n.", is_last=False)
    session.send_content(b"", is_last=True)
    assert session.next_event() is None
    assert session.data_to_send() == b"\r\n..\r\n.\r\n+OK Nothing done\r\n"


def test_content_that_nobody_asked_for_is_dropped() -> None:
    session = logged_in()
    session.send_content(b"x", is_last=True)
    assert session.data_to_send() == b""


def test_a_message_that_cannot_be_read_is_refused() -> None:
    session = logged_in()
    ask(session, "RETR 1")
    session.refuse_message("gone")
    assert session.data_to_send() == b"-ERR gone\r\n"
    assert not session.is_sending
    assert say(session, "NOOP") == "+OK Nothing done\r\n"


@pytest.mark.parametrize(
    ("lines", "sent"),
    [
        (0, b"A: b\r\nC: d\r\n\r\n"),
        (1, b"A: b\r\nC: d\r\n\r\none\r\n"),
        (2, b"A: b\r\nC: d\r\n\r\none\r\n..two\r\n"),
        (4, b"A: b\r\nC: d\r\n\r\none\r\n..two\r\n\r\nfour\r\n"),
        (99, b"A: b\r\nC: d\r\n\r\none\r\n..two\r\n\r\nfour\r\nfive\r\n"),
    ],
)
def test_top_sends_the_header_and_so_many_lines(lines: int, sent: bytes) -> None:
    session = logged_in()
    assert ask(session, f"TOP 3 {lines}") == MessageRequested(3)
    session.send_content(b"A: b\nC: d\n\none\n.two\n\nfour\nfive", is_last=True)
    assert session.data_to_send() == b"+OK Top of message follows\r\n" + sent + b".\r\n"


def test_top_needs_no_more_of_a_message_than_it_sends() -> None:
    session = logged_in()
    ask(session, "TOP 1 1")
    session.send_content(b"A: b\n", is_last=False)
    assert session.is_sending
    session.send_content(b"\none\ntwo\n", is_last=False)
    assert not session.is_sending
    assert session.data_to_send().endswith(b"A: b\r\n\r\none\r\n.\r\n")


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        (b"", b""),
        (b"A: b\n", b"A: b\r\n"),
        (b"\nbody\n", b"\r\n"),
        (b"A: b", b"A: b\r\n"),
        (b"A: b\r", b"A: b\r\r\n"),
        (b"A: b\r\n\r\nx\r", b"A: b\r\n\r\n"),
    ],
)
def test_top_of_odd_messages_ends_well(stored: bytes, sent: bytes) -> None:
    encoder = MessageEncoder(0)
    assert encoder.feed(stored) + encoder.finish() == sent + b".\r\n"


# Deletion


def test_a_deleted_message_is_in_no_list_until_rset() -> None:
    session = logged_in()
    assert say(session, "DELE 2") == "+OK Message 2 marked\r\n"
    assert say(session, "STAT", "LIST 2", "DELE 2", "RETR 2", "TOP 2 0") == (
        "+OK 2 127\r\n" + "-ERR No such message\r\n" * 4
    )
    assert say(session, "UIDL") == "+OK 2 messages\r\n1 uid-a\r\n3 uid-c\r\n.\r\n"
    assert say(session, "RSET", "STAT") == "+OK 3 messages\r\n+OK 3 467\r\n"


def test_quit_asks_for_the_deletion_of_what_is_marked() -> None:
    session = logged_in()
    say(session, "DELE 3", "DELE 1")
    assert ask(session, "QUIT") == DeletionRequested((1, 3))
    assert not session.is_closing
    session.finish_update(True)
    assert session.data_to_send() == b"+OK Bye\r\n"
    assert session.is_closing


def test_quit_tells_when_not_all_could_be_removed() -> None:
    session = logged_in()
    say(session, "DELE 1")
    ask(session, "QUIT")
    session.finish_update(False)
    assert session.data_to_send() == b"-ERR [SYS/TEMP] some deleted messages not removed\r\n"
    assert session.is_closing


def test_quit_with_nothing_marked_asks_nothing() -> None:
    session = logged_in()
    assert say(session, "DELE 1", "RSET", "QUIT").endswith("+OK Bye\r\n")
    assert session.is_closing


def test_quit_before_the_login_closes() -> None:
    session = make()
    assert say(session, "QUIT") == "+OK Bye\r\n"
    assert session.is_closing


def test_nothing_is_obeyed_after_the_close() -> None:
    session = logged_in()
    say(session, "DELE 1")
    session.close("[SYS/TEMP] Server is shutting down")
    session.receive_data(b"QUIT\r\n")
    assert session.next_event() is None
    assert session.data_to_send() == b"-ERR [SYS/TEMP] Server is shutting down\r\n"
