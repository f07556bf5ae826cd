"""Replies: how they look on the wire, and that the whole table of them is sound."""

from __future__ import annotations

import pytest

from kms.domain import reply, status
from kms.domain.reply import MAX_LINE_OCTETS, Reply
from kms.domain.status import EnhancedStatus

TABLE = {name: value for name, value in vars(reply).items() if isinstance(value, Reply)}
WITHOUT_STATUS = {"START_CONTENT"}


def test_one_line_has_code_status_and_text() -> None:
    assert Reply(250, status.OK, "Ok").wire == b"250 2.0.0 Ok\r\n"


def test_a_greeting_has_no_status() -> None:
    assert reply.greeting("mx.local.test").wire == b"220 mx.local.test ESMTP ready\r\n"


def test_every_line_but_the_last_has_a_hyphen() -> None:
    assert Reply(250, None, "one\ntwo\nthree").wire == b"250-one\r\n250-two\r\n250 three\r\n"
    assert Reply(550, status.BAD_MAILBOX, "one\ntwo").wire == b"550-5.1.1 one\r\n550 5.1.1 two\r\n"


def test_no_line_is_longer_than_512_octets() -> None:
    wire = Reply(550, status.NOT_AUTHORIZED, "x" * 1000 + "\n" + "y" * 1000).wire
    lines = wire.splitlines(keepends=True)
    assert [len(line) for line in lines] == [MAX_LINE_OCTETS, MAX_LINE_OCTETS]
    assert all(line.endswith(b"\r\n") for line in lines)


def test_only_ascii_is_said() -> None:
    assert Reply(550, None, "ü").wire == b"550 ?\r\n"


def test_replies_compare_by_what_they_say() -> None:
    assert Reply(250, status.OK, "Ok") == Reply(250, EnhancedStatus(2, 0, 0), "Ok")
    assert Reply(250, status.OK, "Ok") != Reply(250, None, "Ok")


@pytest.mark.parametrize(
    ("code", "kinds"),
    [
        (220, (True, False, False)),
        (299, (True, False, False)),
        (354, (False, False, False)),
        (400, (False, True, False)),
        (451, (False, True, False)),
        (500, (False, False, True)),
        (554, (False, False, True)),
        (600, (False, False, False)),
        (199, (False, False, False)),
    ],
)
def test_the_first_digit_is_the_verdict(code: int, kinds: tuple[bool, bool, bool]) -> None:
    tested = Reply(code, None, "x")
    assert (tested.is_success, tested.is_transient, tested.is_permanent) == kinds


def test_printing_gives_one_line() -> None:
    assert str(Reply(550, status.BAD_MAILBOX, "one\ntwo")) == "550 5.1.1 one two"
    assert str(Reply(354, None, "go on")) == "354 go on"


@pytest.mark.parametrize("name", sorted(TABLE))
def test_the_table_is_sound(name: str) -> None:
    tested = TABLE[name]
    assert len(tested.wire) <= MAX_LINE_OCTETS
    assert tested.wire.isascii()
    assert "?" not in tested.text
    if name in WITHOUT_STATUS:
        assert tested.status is None
    else:
        assert tested.status is not None
        assert tested.status.klass == tested.code // 100


class TestRelayingDenied:
    def test_names_the_recipient(self) -> None:
        assert reply.relaying_denied("b@far.test").wire == b"550 5.7.1 Relaying to <b@far.test> denied\r\n"

    def test_shortens_what_would_not_fit(self) -> None:
        wire = reply.relaying_denied("b" * 5000).wire
        assert wire.endswith(b"...> denied\r\n")
        assert len(wire) <= MAX_LINE_OCTETS

    def test_leaves_the_longest_path_whole(self) -> None:
        assert ("b" * 320).encode() in reply.relaying_denied("b" * 320).wire


def test_the_final_250_names_the_queue_id() -> None:
    assert reply.queued("7C2A91F3").wire == b"250 2.0.0 Ok: queued as 7C2A91F3\r\n"


def test_hello_lists_the_extensions_without_status() -> None:
    assert reply.hello("mx.local.test").wire == b"250 mx.local.test\r\n"
    wire = reply.hello("mx.local.test", ("PIPELINING", "SIZE 1000")).wire
    assert wire == b"250-mx.local.test\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"


def test_a_challenge_is_the_bare_base64() -> None:
    assert reply.challenge("VXNlcm5hbWU6").wire == b"334 VXNlcm5hbWU6\r\n"
    assert reply.challenge("").wire == b"334 \r\n"


def test_a_reply_is_ascii_unless_the_client_takes_utf8() -> None:
    answer = Reply(550, EnhancedStatus(5, 7, 1), "Relaying to <ü@b.test> denied")
    assert answer.wire == b"550 5.7.1 Relaying to <?@b.test> denied\r\n"
    assert answer.utf8_wire == "550 5.7.1 Relaying to <ü@b.test> denied\r\n".encode()
    assert reply.SENDER_OK.utf8_wire is reply.SENDER_OK.wire


def test_a_long_line_in_utf8_is_cut_between_characters() -> None:
    for start in range(3):
        line = Reply(550, None, "x" * start + "ü" * 400).utf8_wire
        assert len(line) in (511, 512)
        assert line.decode().startswith("550 " + "x" * start + "üü")
