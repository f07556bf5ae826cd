"""AUTH with mechanisms of several steps; PLAIN and LOGIN stand in tests/dialogues/."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from kms.domain import reply as replies
from kms.domain.login import CramDigest, ScramProof
from kms.domain.scram import make_scram_verifier
from kms.protocol.smtp_events import LoginOffered, VerifierWanted
from kms.protocol.smtp_server import SmtpServerSession, SmtpServerSettings
from tests.support.scram_client import ScramClient, encode

VERIFIER = make_scram_verifier("secret", b"salt" * 4, 4096)
MECHANISMS = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "CRAM-MD5", "PLAIN")
SETTINGS = SmtpServerSettings("mail.example.org", mechanisms=MECHANISMS, make_nonce=lambda: "fresh")
BINDINGS = {"tls-exporter": b"exported"}


def make(bindings: dict[str, bytes] | None = None) -> SmtpServerSession:
    session = SmtpServerSession(
        SETTINGS, is_encrypted=bindings is not None, read_bindings=lambda: bindings or {}
    )
    session.greet(replies.greeting("mail.example.org"))
    say(session, "EHLO client.example")
    return session


def say(session: SmtpServerSession, line: str) -> str:
    """Send a line that asks nothing; gives the last line of the reply."""
    session.receive_data(f"{line}\r\n".encode())
    assert session.next_event() is None
    return session.data_to_send().decode().splitlines()[-1]


def ask(session: SmtpServerSession, line: str) -> Any:
    session.receive_data(f"{line}\r\n".encode())
    return session.next_event()


def challenge_of(session: SmtpServerSession) -> str:
    line = session.data_to_send().decode()
    assert line.startswith("334 ")
    return base64.b64decode(line[4:]).decode()


def prove(session: SmtpServerSession, client: ScramClient, mechanism: str) -> Any:
    """Go as far as the proof."""
    wanted = ask(session, f"AUTH {mechanism} {encode(client.first)}")
    assert wanted == VerifierWanted("anna", wanted.challenge)
    session.reply(wanted.challenge(VERIFIER))
    assert session.next_event() is None
    return ask(session, encode(client.answer(challenge_of(session))))


@pytest.mark.parametrize(
    ("mechanism", "header", "bindings"),
    [
        ("SCRAM-SHA-256", "n,,", None),
        ("SCRAM-SHA-256", "y,,", None),
        ("scram-sha-256-plus", "p=tls-exporter,,", BINDINGS),
    ],
)
def test_scram_ends_with_the_servers_proof_and_235(
    mechanism: str, header: str, bindings: dict[str, bytes] | None
) -> None:
    session = make(bindings)
    client = ScramClient("anna", "secret", header, b"exported" if bindings else b"")
    offered = prove(session, client, mechanism)
    assert isinstance(offered, LoginOffered)
    assert (offered.mechanism, offered.user) == (mechanism.upper(), "anna")
    assert isinstance(offered.proof, ScramProof)
    assert VERIFIER.accepts(offered.proof.proof, offered.proof.auth_message)
    session.reply(replies.AUTHENTICATED)
    assert client.believes(challenge_of(session))
    assert session.login_name is None
    assert say(session, "") == "235 2.7.0 Authentication successful"
    assert session.login_name == "anna"
    assert say(session, "AUTH PLAIN").startswith("503")


@pytest.mark.parametrize(
    ("line", "text"), [("*", "501 5.7.0 Authentication cancelled"), ("eA==", "501 5.5.2 Not what the")]
)
def test_who_does_not_acknowledge_the_servers_proof_is_not_logged_in(line: str, text: str) -> None:
    session = make()
    prove(session, ScramClient("anna", "secret"), "SCRAM-SHA-256")
    session.reply(replies.AUTHENTICATED)
    session.data_to_send()
    assert say(session, line).startswith(text)
    assert (session.login_name, session.has_failed_login) == (None, False)
    assert say(session, "NOOP") == "250 2.0.0 Ok"


def test_a_wrong_proof_is_answered_without_the_servers_own() -> None:
    session = make()
    prove(session, ScramClient("anna", "wrong"), "SCRAM-SHA-256")
    session.reply(replies.AUTHENTICATION_FAILED)
    assert session.data_to_send() == b"535 5.7.8 Authentication failed\r\n"
    assert session.has_failed_login
    assert say(session, "") == "500 5.5.2 Unknown command"


def test_where_the_verifier_cannot_be_read_the_exchange_is_over() -> None:
    session = make()
    ask(session, "AUTH SCRAM-SHA-256 " + encode("n,,n=anna,r=abc"))
    session.reply(replies.AUTHENTICATION_TROUBLE)
    assert session.data_to_send() == b"454 4.7.0 Temporary authentication failure\r\n"
    assert not session.has_failed_login
    assert say(session, "NOOP") == "250 2.0.0 Ok"


def test_plus_is_offered_only_where_there_is_a_channel() -> None:
    bound, unbound = make(BINDINGS), make({})
    say(bound, "NOOP")
    bound.receive_data(b"EHLO client.example\r\n")
    bound.next_event()
    assert b"AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 CRAM-MD5 PLAIN\r\n" in bound.data_to_send()
    unbound.receive_data(b"EHLO client.example\r\n")
    unbound.next_event()
    assert b"AUTH SCRAM-SHA-256 CRAM-MD5 PLAIN\r\n" in unbound.data_to_send()
    assert say(unbound, "AUTH SCRAM-SHA-256-PLUS") == "504 5.5.4 Mechanism not offered"


def test_in_clear_what_shows_no_password_may_be_used() -> None:
    session = make()
    session.receive_data(b"EHLO client.example\r\n")
    session.next_event()
    assert b"AUTH SCRAM-SHA-256 CRAM-MD5\r\n" in session.data_to_send()
    assert say(session, "AUTH PLAIN").startswith("538")
    assert say(session, "AUTH SCRAM-SHA-256") == "334 "


def test_cram_md5() -> None:
    session = make()
    stamp = b"<fresh@mail.example.org>"
    assert say(session, "AUTH CRAM-MD5") == "334 " + encode(stamp)
    assert ask(session, encode("anna " + "0" * 32)) == LoginOffered(
        "CRAM-MD5", "", "anna", CramDigest(stamp, "0" * 32)
    )
    session.reply(replies.AUTHENTICATED)
    assert session.data_to_send() == b"235 2.7.0 Authentication successful\r\n"
    assert session.login_name == "anna"
