"""POP3 logins that do not show the password, and what is told of them; the others stand in test_pop3_server.py."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest

from kms.domain.login import ApopDigest, ScramProof
from kms.domain.scram import make_scram_verifier
from kms.protocol.pop3_events import LoginOffered, LoginRefusal, Pop3ServerSettings
from kms.protocol.pop3_server import Pop3ServerSession
from kms.protocol.sasl import VerifierWanted
from tests.support.scram_client import ScramClient, encode

VERIFIER = make_scram_verifier("secret", b"salt" * 4, 4096)
MECHANISMS = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN")
STAMP = b"<fresh@mx.test>"


def make(bindings: dict[str, bytes] | None = None, **more: Any) -> Pop3ServerSession:
    settings = Pop3ServerSettings("mx.test", mechanisms=MECHANISMS, make_nonce=lambda: "fresh", **more)
    return Pop3ServerSession(
        settings, is_encrypted=bindings is not None, read_bindings=lambda: bindings or {}
    )


def say(session: Pop3ServerSession, *lines: str) -> str:
    session.receive_data("".join(f"{line}\r\n" for line in lines).encode())
    assert session.next_event() is None
    return session.data_to_send().decode()


def ask(session: Pop3ServerSession, line: str) -> Any:
    session.receive_data(f"{line}\r\n".encode())
    return session.next_event()


def challenge_of(session: Pop3ServerSession) -> str:
    line = session.data_to_send().decode()
    assert line.startswith("+ ")
    return base64.b64decode(line[2:]).decode()


def prove(session: Pop3ServerSession, client: ScramClient, mechanism: str = "SCRAM-SHA-256") -> Any:
    assert ask(session, f"AUTH {mechanism} {encode(client.first)}") == VerifierWanted("joe")
    session.take_verifier(VERIFIER)
    return ask(session, encode(client.answer(challenge_of(session))))


# SCRAM


@pytest.mark.parametrize("is_bound", [False, True])
def test_scram_ends_with_the_servers_proof_before_the_mailbox_is_there(is_bound: bool) -> None:
    session = make({"tls-exporter": b"exported"} if is_bound else None)
    client = ScramClient("joe", "secret", *(("p=tls-exporter,,", b"exported") if is_bound else ()))
    mechanism = MECHANISMS[0] if is_bound else MECHANISMS[1]
    offered = prove(session, client, mechanism)
    assert isinstance(offered, LoginOffered)
    assert (offered.mechanism, offered.authorization, offered.user) == (mechanism, "", "joe")
    assert isinstance(offered.proof, ScramProof)
    assert VERIFIER.accepts(offered.proof.proof, offered.proof.auth_message)
    session.log_in(())
    assert client.believes(challenge_of(session))
    assert say(session, "", "STAT") == "+OK Logged in\r\n+OK 0 0\r\n"


@pytest.mark.parametrize("line", ["*", "STAT", "x" * 20000])
def test_who_does_not_acknowledge_the_servers_proof_is_put_out(line: str) -> None:
    session = make()
    prove(session, ScramClient("joe", "secret"))
    session.log_in(())
    session.data_to_send()
    assert say(session, line) == "-ERR Authentication cancelled\r\n"
    assert session.is_closing


def test_a_wrong_proof_leaves_nothing_of_its_exchange() -> None:
    session = make({})
    prove(session, ScramClient("joe", "wrong"))
    session.refuse_login(LoginRefusal.WRONG)
    assert session.data_to_send() == b"-ERR [AUTH] Login failed\r\n"
    say(session, "USER joe")
    ask(session, "PASS secret")
    session.log_in(())
    assert session.data_to_send() == b"+OK Logged in\r\n"


def test_where_the_verifier_cannot_be_read_commands_go_on() -> None:
    session = make()
    ask(session, "AUTH SCRAM-SHA-256 " + encode("n,,n=joe,r=abc"))
    session.refuse_login(LoginRefusal.TROUBLE)
    assert session.data_to_send().startswith(b"-ERR [SYS/TEMP]")
    assert say(session, "LANG en").startswith("+OK")


def test_a_user_with_a_nul_is_nobody() -> None:
    assert say(make({}), "AUTH SCRAM-SHA-256 " + encode("n,,n=j\0e,r=abc")) == "-ERR Not a valid response\r\n"


# What is offered


@pytest.mark.parametrize(
    ("bindings", "names"),
    [
        (None, ["SCRAM-SHA-256"]),
        ({}, ["SCRAM-SHA-256", "PLAIN"]),
        ({"tls-exporter": b"x"}, ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"]),
    ],
)
def test_auth_alone_and_capa_tell_what_may_be_used_now(
    bindings: dict[str, bytes] | None, names: list[str]
) -> None:
    session = make(bindings)
    assert say(session, "AUTH").split("\r\n") == ["+OK Mechanisms follow", *names, ".", ""]
    lines = say(session, "CAPA").split("\r\n")
    assert " ".join(["SASL", *names]) in lines
    assert ("USER" in lines) is (bindings is not None)


def test_where_no_mechanism_is_there_capa_says_nothing_of_sasl() -> None:
    session = Pop3ServerSession(Pop3ServerSettings("mx.test", mechanisms=("PLAIN",)))
    assert "SASL" not in say(session, "CAPA")
    assert say(session, "AUTH") == "+OK Mechanisms follow\r\n.\r\n"


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "CRAM-MD5", "LOGIN", "\xe4"])
def test_another_mechanism_is_not_offered(mechanism: str) -> None:
    assert say(make({}), f"AUTH {mechanism}") == "-ERR Mechanism is not offered\r\n"


def test_the_login_delay_is_told_in_whole_seconds() -> None:
    assert "LOGIN-DELAY 91\r\n" in say(make(login_delay=timedelta(seconds=90.5)), "CAPA")


# APOP


def test_the_greeting_carries_a_stamp_where_apop_is_on() -> None:
    session = make(offers_apop=True)
    session.greet()
    assert session.data_to_send() == b"+OK mx.test POP3 ready " + STAMP + b"\r\n"
    assert ask(session, "APOP joe doe " + "0" * 32) == LoginOffered(
        "APOP", "", "joe doe", ApopDigest(STAMP, "0" * 32)
    )


@pytest.mark.parametrize("argument", ["", "joe", "0" * 32, "joe 123", "joe " + "G" * 32])
def test_apop_without_name_or_digest_is_refused(argument: str) -> None:
    assert say(make(offers_apop=True), f"APOP {argument}") == "-ERR Bad arguments\r\n"


def test_apop_of_a_name_that_is_no_text_is_a_wrong_login() -> None:
    session = make(offers_apop=True)
    session.receive_data(b"APOP \xff " + b"0" * 32 + b"\r\n")
    assert session.next_event() is None
    assert session.data_to_send() == b"-ERR [AUTH] Login failed\r\n"


# LANG


def test_lang_lists_what_is_there_and_takes_nothing_else() -> None:
    session = make()
    assert say(session, "LANG").split("\r\n") == [
        "+OK Languages follow", "i-default Default language", "en English", ".", ""
    ]  # fmt: skip
    assert say(session, "LANG EN", "LANG *", "LANG i-default") == (
        "+OK en Language chosen\r\n+OK en Language chosen\r\n+OK i-default Language chosen\r\n"
    )
    assert say(session, "LANG de", "LANG \xff") == "-ERR No such language\r\n" * 2
