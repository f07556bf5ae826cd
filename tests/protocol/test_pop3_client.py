from __future__ import annotations

import pytest

from kms.domain.next_hop import HopCredentials, TlsPolicy
from kms.protocol.pop3_client import Pop3LoginSession

ME = HopCredentials("office", "let me relay")


def make(tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC, me: HopCredentials = ME) -> Pop3LoginSession:
    return Pop3LoginSession(me, tls)


def talk(session: Pop3LoginSession, *said: bytes) -> list[bytes]:
    """Let the server say these; what the client said, after each."""
    answers = []
    for data in said:
        session.receive_data(data)
        answers.append(session.data_to_send())
    return answers


WITHOUT_STLS = b"+OK\r\nTOP\r\n.\r\n"
WITH_STLS = b"+OK\r\nTOP\r\nstls\r\n.\r\n"


def test_a_login_reads_nothing_and_says_good_bye() -> None:
    session = make(TlsPolicy.OFF)
    said = talk(session, b"+OK hello\r\n", b"+OK\r\n", b"+OK 3 messages\r\n", b"+OK bye\r\n")
    assert said == [b"USER office\r\n", b"PASS let me relay\r\n", b"QUIT\r\n", b""]
    assert session.is_over
    assert session.has_logged_in
    assert session.problem is None
    assert session.shows_password


def test_tls_is_begun_where_it_is_offered() -> None:
    session = make()
    said = talk(session, b"+OK\r\n", WITH_STLS, b"+OK begin\r\n")
    assert said == [b"CAPA\r\n", b"STLS\r\n", b""]
    assert session.wants_tls
    session.tls_started()
    assert session.data_to_send() == b"USER office\r\n"
    assert talk(session, b"+OK\r\n") == [b"PASS let me relay\r\n"]
    assert not session.shows_password


def test_within_tls_nothing_is_asked() -> None:
    session = Pop3LoginSession(ME, TlsPolicy.VERIFY, is_encrypted=True)
    assert talk(session, b"+OK\r\n") == [b"USER office\r\n"]


@pytest.mark.parametrize("said", [(b"-ERR what?\r\n",), (WITHOUT_STLS,), (WITH_STLS, b"-ERR not now\r\n")])
def test_without_tls_the_policy_decides(said: tuple[bytes, ...]) -> None:
    session = make()
    assert talk(session, b"+OK\r\n", *said)[-1] == b"USER office\r\n"
    for tls in (TlsPolicy.REQUIRE, TlsPolicy.VERIFY):
        session = make(tls)
        assert b"USER" not in b"".join(talk(session, b"+OK\r\n", *said))
        assert session.is_over
        assert session.problem == "TLS is required, and not offered"


@pytest.mark.parametrize("data", [b"+OK\r\n+OK\r\n", b"+OK\r\n+O"])
def test_octets_before_the_handshake_end_it(data: bytes) -> None:
    session = make()
    talk(session, b"+OK\r\n", WITH_STLS, data)
    assert session.problem == "octets came before the TLS handshake"
    assert not session.wants_tls


def test_octets_after_the_answer_to_stls_end_it_too() -> None:
    session = make()
    talk(session, b"+OK\r\n", WITH_STLS, b"+OK\r\n", b"+OK\r\n")
    assert session.problem == "octets came before the TLS handshake"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_refusal_is_the_problem_in_the_servers_words(count: int) -> None:
    session = make(TlsPolicy.OFF)
    said = talk(session, *[b"+OK\r\n"] * count, b"-ERR [AUTH] no\x07\r\n")
    assert said[-1] == b"QUIT\r\n"
    assert session.problem == "-ERR [AUTH] no?"
    assert not session.has_logged_in


@pytest.mark.parametrize(
    "me", [HopCredentials("a b", "x"), HopCredentials("a\r\nDELE 1", "x"), HopCredentials("a", "x\n")]
)
def test_what_the_protocol_cannot_say_is_not_said(me: HopCredentials) -> None:
    session = make(TlsPolicy.OFF, me)
    assert talk(session, b"+OK\r\n") == [b""]
    assert session.problem is not None


def test_an_answer_without_end_ends_it() -> None:
    session = make()
    talk(session, b"+" * 9000)
    assert session.problem == "the answer never ends"
    session = make()
    talk(session, b"+OK\r\n", b"+OK\r\n" + b"X\r\n" * 200)
    assert session.problem == "the list of capabilities never ends"


def test_a_loss_before_the_login_is_a_problem_and_none_after_it() -> None:
    session = make(TlsPolicy.OFF)
    talk(session, b"+OK\r\n")
    session.lose("gone")
    session.lose("gone again")
    assert session.problem == "gone"
    session = make(TlsPolicy.OFF)
    talk(session, b"+OK\r\n", b"+OK\r\n", b"+OK\r\n")
    session.lose("gone")
    assert session.is_over
    assert session.problem is None
