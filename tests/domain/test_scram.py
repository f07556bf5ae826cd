"""The arithmetic of SCRAM-SHA-256, against the example of RFC 7677 3."""

from __future__ import annotations

import base64

import pytest

from kms.domain.scram import ScramVerifier, make_fake_verifier, make_proof, make_scram_verifier

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
NONCE = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
AUTH_MESSAGE = (
    f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={NONCE}"
).encode()
PROOF = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
SIGNATURE = base64.b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
VERIFIER = make_scram_verifier("pencil", SALT, 4096)
KEY = base64.b64encode(b"k" * 32).decode()


def test_the_example_of_the_rfc_is_accepted_and_signed() -> None:
    assert VERIFIER.accepts(PROOF, AUTH_MESSAGE)
    assert VERIFIER.sign(AUTH_MESSAGE) == SIGNATURE


def test_a_client_makes_the_proof_of_the_rfc() -> None:
    assert make_proof("pencil", SALT, 4096, AUTH_MESSAGE) == PROOF


@pytest.mark.parametrize("proof", [b"", PROOF[:-1], PROOF + b"x", bytes(32), PROOF[::-1]])
def test_another_proof_is_refused(proof: bytes) -> None:
    assert not VERIFIER.accepts(proof, AUTH_MESSAGE)


def test_a_proof_counts_for_its_own_exchange_only() -> None:
    assert not VERIFIER.accepts(PROOF, AUTH_MESSAGE + b"x")


def test_another_password_is_refused() -> None:
    assert not VERIFIER.accepts(make_proof("pencils", SALT, 4096, AUTH_MESSAGE), AUTH_MESSAGE)


def test_a_verifier_comes_back_from_print() -> None:
    assert ScramVerifier.parse(str(VERIFIER)) == VERIFIER


def test_a_verifier_shows_no_keys_in_a_log() -> None:
    assert "key" not in repr(VERIFIER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pencil",
        f"SCRAM-SHA-1$4096:c2FsdA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$0:c2FsdA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$x:c2FsdA==${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:c2Fsd${KEY}:{KEY}",
        f"SCRAM-SHA-256$4096:c2FsdA==$a2V5:{KEY}",
        f"SCRAM-SHA-256$4096:c2FsdA==${KEY}:a2V5",
        f"SCRAM-SHA-256$4096:c2FsdA==${KEY}:{KEY}\n",
    ],
)
def test_other_text_is_no_verifier(text: str) -> None:
    with pytest.raises(ValueError, match="not a SCRAM-SHA-256 verifier"):
        ScramVerifier.parse(text)


def test_a_password_beyond_ascii_is_taken_as_utf_8() -> None:
    verifier = make_scram_verifier("größe", SALT, 4096)
    assert verifier.accepts(make_proof("größe", SALT, 4096, b"m"), b"m")


def test_a_fake_is_stable_and_of_its_user_and_its_server_alone() -> None:
    fake = make_fake_verifier(b"secret", "nobody@a.test")
    assert fake == make_fake_verifier(b"secret", "nobody@a.test")
    others = (make_fake_verifier(b"secret", "somebody@a.test"), make_fake_verifier(b"other", "nobody@a.test"))
    assert all(other.salt != fake.salt and other.server_key != fake.server_key for other in others)
    assert ScramVerifier.parse(str(fake)) == fake
