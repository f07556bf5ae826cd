from __future__ import annotations

import base64
from typing import Any

import pytest

from kms.domain.login import NO_PROOF, ScramProof
from kms.domain.scram import make_scram_verifier
from kms.protocol.sasl import BadResponseError, Challenge, Credentials, VerifierWanted, open_channel
from kms.protocol.sasl_scram import EXCHANGES, ScramExchange
from tests.support.scram_client import ScramClient, encode

SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
# RFC 7677 3
VERIFIER = make_scram_verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
BINDINGS = {"tls-exporter": b"exported", "tls-server-end-point": b"hash,"}
PLUS = "SCRAM-SHA-256-PLUS"


def begin(bindings: dict[str, bytes] | None = None, is_bound: bool = False) -> ScramExchange:
    channel = open_channel("mail.example.org", (PLUS,), bindings or {}, lambda: SERVER_NONCE)
    return ScramExchange(channel, is_bound=is_bound)


def run(exchange: ScramExchange, client: ScramClient) -> tuple[Credentials, str]:
    wanted = exchange.respond(client.first.encode())
    assert isinstance(wanted, VerifierWanted)
    first = exchange.take_verifier(VERIFIER).data.decode()
    credentials = exchange.respond(client.answer(first).encode())
    assert isinstance(credentials, Credentials)
    return credentials, first


def is_right(credentials: Credentials) -> bool:
    proof = credentials.proof
    assert isinstance(proof, ScramProof)
    return VERIFIER.accepts(proof.proof, proof.auth_message)


def test_the_example_of_rfc_7677() -> None:
    exchange = begin()
    assert exchange.respond(None) == Challenge(b"")
    assert exchange.respond(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == VerifierWanted("user")
    assert exchange.take_verifier(VERIFIER) == Challenge(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    credentials = exchange.respond(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert isinstance(credentials, Credentials)
    assert is_right(credentials)
    assert credentials.answer == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert "6rri" not in repr(credentials)


def test_a_wrong_password_gives_a_proof_that_does_not_fit() -> None:
    credentials, _ = run(begin(), ScramClient("user", "pencils"))
    assert not is_right(credentials)


@pytest.mark.parametrize("name", BINDINGS)
def test_plus_is_bound_to_the_channel(name: str) -> None:
    client = ScramClient("user", "pencil", f"p={name},,", BINDINGS[name])
    assert is_right(run(begin(BINDINGS, is_bound=True), client)[0])


def test_a_binding_to_another_channel_is_no_proof() -> None:
    client = ScramClient("user", "pencil", "p=tls-exporter,,", b"of somebody in the middle")
    assert run(begin(BINDINGS, is_bound=True), client)[0] == Credentials("", "user", NO_PROOF)
    assert not is_right(Credentials("", "user", NO_PROOF))


def test_who_thinks_that_we_cannot_bind_fails_where_we_offered_it() -> None:
    assert begin(BINDINGS).respond(b"y,,n=user,r=abc") == Credentials("", "user", NO_PROOF)
    assert is_right(run(begin(), ScramClient("user", "pencil", "y,,"))[0])


def test_names_are_unescaped_and_the_authorization_is_told() -> None:
    exchange = begin()
    assert exchange.respond("n,a=b=2Coss,n=us=3Dér,r=abc,x=1".encode()) == VerifierWanted("us=ér")
    exchange.take_verifier(VERIFIER)
    channel = encode("n,a=b=2Coss,")
    credentials = exchange.respond(f"c={channel},r=abc{SERVER_NONCE},x=y,p={encode(bytes(32))}".encode())
    assert isinstance(credentials, Credentials)
    assert (credentials.authorization, credentials.user) == ("b,oss", "us=ér")


@pytest.mark.parametrize(
    "first",
    [b"", b"n", b"n,,", b"n,,n=,r=a", b"n,,n=a,r=", b"n,,n=a", b"n,,r=a,n=a", b"q,,n=a,r=b", b"n,n=a,r=b",
     b"n,,n=a=b,r=b", b"n,,n=a=2c,r=b", b"n,a==,n=a,r=b", b"n,,m=1,n=a,r=b", b"n,,n=a\0,r=b", b"n,,n=\xff,r=b",
     b"n,,n=a,r=b c", b"n,,n=a,r=b,", b"p=tls-exporter,,n=a,r=b", b"n,,n=a,r=b\n"],
)  # fmt: skip
def test_a_first_message_that_is_none_is_refused(first: bytes) -> None:
    with pytest.raises(BadResponseError):
        begin(BINDINGS).respond(first)


@pytest.mark.parametrize("first", [b"n,,n=a,r=b", b"y,,n=a,r=b", b"p=tls-unique,,n=a,r=b"])
def test_plus_wants_a_binding_that_is_there(first: bytes) -> None:
    with pytest.raises(BadResponseError):
        begin(BINDINGS, is_bound=True).respond(first)


@pytest.mark.parametrize(
    "final",
    ["", "c=biws", f"c=biws,r=abc{SERVER_NONCE}", "c=biws,r=abc,p=AAAA", f"c=biws,r=abc{SERVER_NONCE},p=A",
     f"c=biws,r=abc{SERVER_NONCE},p=", f"c=b,r=abc{SERVER_NONCE},p=AAAA", f"r=abc{SERVER_NONCE},c=biws,p=AAAA",
     f"c=biws,r=abc{SERVER_NONCE},p=AAAA,p=AAAA"],
)  # fmt: skip
def test_a_final_message_that_is_none_is_refused(final: str) -> None:
    exchange = begin()
    exchange.respond(b"n,,n=user,r=abc")
    exchange.take_verifier(VERIFIER)
    with pytest.raises(BadResponseError):
        exchange.respond(final.encode())


def test_each_mechanism_is_known_by_its_name_in_capitals_and_can_begin() -> None:
    channel: Any = open_channel("mail.example.org", (), {})
    assert {name for name in EXCHANGES if EXCHANGES[name](channel).respond(None)} == set(EXCHANGES)
    assert all(name == name.upper() for name in EXCHANGES)
