from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import closing
from sqlite3 import Connection

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from kms.domain.account import Account
from kms.domain.scram import make_proof
from kms.store import credentials
from kms.store.accounts import add_account
from kms.store.credentials import (
    MAX_PASSWORD_OCTETS,
    PasswordError,
    Verifiers,
    dummy_verifier,
    erase_secrets,
    load_apop_secret,
    load_cram_secret,
    load_fake_secret,
    load_password_hash,
    load_scram_verifier,
    make_verifiers,
    needs_rehash,
    remove_verifiers,
    replace_verifiers,
    save_verifiers,
    verify_password,
)
from kms.store.schema import IN_MEMORY, StoreError, open_database

PASSWORD = "correct horse Bätterie"
VERIFIERS = make_verifiers(PASSWORD, with_scram=True)
ANN = "ann@a.test"


@pytest.fixture
def connection() -> Iterator[Connection]:
    with closing(open_database(IN_MEMORY)) as connection:
        yield connection


@pytest.fixture
def without_argon2id(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    credentials._preferred.cache_clear()
    credentials.dummy_verifier.cache_clear()
    monkeypatch.setattr(credentials, "Argon2id", None)
    yield
    credentials._preferred.cache_clear()
    credentials.dummy_verifier.cache_clear()


def test_a_password_fits_its_own_hash_only() -> None:
    assert VERIFIERS.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_password(PASSWORD, VERIFIERS.password_hash)
    assert not verify_password(PASSWORD + " ", VERIFIERS.password_hash)


def test_the_hash_is_read_by_the_library_itself() -> None:
    Argon2id.verify_phc_encoded(PASSWORD.encode(), VERIFIERS.password_hash)


def test_two_hashes_of_one_password_differ_and_show_nothing() -> None:
    again = make_verifiers(PASSWORD, with_scram=True)
    assert again.password_hash != VERIFIERS.password_hash
    assert again.scram != VERIFIERS.scram
    assert repr(again) == "Verifiers()"


def test_the_salt_has_16_octets() -> None:
    salt = credentials._decode(VERIFIERS.password_hash.split("$")[4])
    assert len(salt) == 16


@pytest.mark.parametrize(
    "password",
    [
        "",
        "\0",
        PASSWORD.upper(),
        PASSWORD + "\0",
        "\0" + PASSWORD,
        PASSWORD[:-1],
        "\uff43" + PASSWORD[1:],
        PASSWORD.replace("ä", "a\u0308"),
        PASSWORD.replace(" ", "\u00a0"),
        PASSWORD + "\u200b",
        "../" + PASSWORD,
        "' OR '1'='1",
        "*)(uid=*",
        "a" * 9_000,
        "\ud800",
        "$argon2id$v=19$m=19456,t=2,p=1$",
    ],
)
def test_odd_passwords_are_refused(password: str) -> None:
    assert not verify_password(password, VERIFIERS.password_hash)


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "empty"),
        ("a" * (MAX_PASSWORD_OCTETS + 1), "longer"),
        ("ä" * (MAX_PASSWORD_OCTETS // 2 + 1), "longer"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("soft\u00adhyphen", "invisible"),
        ("no\u00a0break", "blank"),
        ("\ud800", "control"),
        ("\uff41bc", "different ways"),
        ("\ufb01sh", "different ways"),
        ("a\u0308", "different ways"),
    ],
)
def test_a_password_that_programs_send_differently_is_not_taken(password: str, why: str) -> None:
    with pytest.raises(PasswordError, match=why) as caught:
        make_verifiers(password, with_scram=False)
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize(
    "password", [" ", "a b", "пароль", "密码", "ß€", "a" * MAX_PASSWORD_OCTETS, "'\";--%s"]
)
def test_other_passwords_are_taken(password: str) -> None:
    assert verify_password(password, make_verifiers(password, with_scram=False).password_hash)


def test_a_scram_client_can_prove_the_password(connection: Connection) -> None:
    save_verifiers(connection, ANN, VERIFIERS)
    verifier = load_scram_verifier(connection, ANN)
    assert verifier is not None
    assert verifier.iterations == 100_000
    proof = make_proof(PASSWORD, verifier.salt, verifier.iterations, b"exchange")
    assert verifier.accepts(proof, b"exchange")


def test_no_scram_verifier_is_made_unasked(connection: Connection) -> None:
    verifiers = make_verifiers("x", with_scram=False)
    save_verifiers(connection, ANN, verifiers)
    assert verifiers.scram is None
    assert load_scram_verifier(connection, ANN) is None
    assert load_scram_verifier(connection, "nobody@a.test") is None


def test_a_damaged_scram_verifier_is_told(connection: Connection) -> None:
    save_verifiers(connection, ANN, Verifiers("hash", "nonsense"))
    with pytest.raises(StoreError, match="damaged"):
        load_scram_verifier(connection, ANN)


def test_what_is_set_replaces_what_was(connection: Connection) -> None:
    save_verifiers(connection, ANN, VERIFIERS)
    save_verifiers(connection, ANN, Verifiers("new"))
    assert load_password_hash(connection, ANN) == "new"
    assert load_scram_verifier(connection, ANN) is None
    remove_verifiers(connection, ANN)
    assert load_password_hash(connection, ANN) is None


def test_a_rehash_does_not_undo_a_change_of_password(connection: Connection) -> None:
    save_verifiers(connection, ANN, Verifiers("old", VERIFIERS.scram))
    assert replace_verifiers(connection, ANN, "old", Verifiers("rehashed"))
    assert load_scram_verifier(connection, ANN) is not None
    save_verifiers(connection, ANN, Verifiers("changed"))
    assert not replace_verifiers(connection, ANN, "rehashed", Verifiers("again"))
    assert load_password_hash(connection, ANN) == "changed"
    assert not replace_verifiers(connection, "nobody@a.test", "old", Verifiers("again"))
    assert load_password_hash(connection, "nobody@a.test") is None


def test_a_fresh_hash_needs_no_rehash_and_a_weak_one_does() -> None:
    assert not needs_rehash(VERIFIERS.password_hash)
    assert needs_rehash(VERIFIERS.password_hash.replace("t=2", "t=1"))
    assert needs_rehash("$scrypt$ln=14,r=8,p=1$c2FsdHNhbHQ$ZGlnZXN0")


def test_nothing_fits_the_dummy_and_it_costs_the_same_work() -> None:
    assert dummy_verifier() == dummy_verifier()
    assert not needs_rehash(dummy_verifier())
    assert not verify_password(PASSWORD, dummy_verifier())


@pytest.mark.usefixtures("without_argon2id")
def test_without_argon2id_scrypt_is_used() -> None:
    verifiers = make_verifiers(PASSWORD, with_scram=False)
    kind, settings, salt, digest = verifiers.password_hash.split("$")[1:]
    assert (kind, settings) == ("scrypt", "ln=14,r=8,p=1")
    expected = hashlib.scrypt(
        PASSWORD.encode(), salt=credentials._decode(salt), n=2**14, r=8, p=1, maxmem=2**26, dklen=32
    )
    assert hmac.compare_digest(credentials._decode(digest), expected)
    assert verify_password(PASSWORD, verifiers.password_hash)
    assert not verify_password("other", verifiers.password_hash)
    assert not needs_rehash(verifiers.password_hash)
    assert dummy_verifier().startswith("$scrypt$")


@pytest.mark.usefixtures("without_argon2id")
def test_a_hash_that_this_machine_cannot_compute_is_told() -> None:
    with pytest.raises(StoreError, match="cannot compute Argon2id"):
        verify_password(PASSWORD, VERIFIERS.password_hash)


def test_an_openssl_without_argon2id_means_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise UnsupportedAlgorithm("old OpenSSL")

    credentials._preferred.cache_clear()
    monkeypatch.setattr(credentials, "Argon2id", refuse)
    assert credentials._preferred() == "$scrypt$ln=14,r=8,p=1$"
    credentials._preferred.cache_clear()


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "plain",
        "$2b$12$abcdefghijklmnopqrstuv",
        VERIFIERS.password_hash[:20],
        VERIFIERS.password_hash.replace("p=1", "p=0"),
        "$scrypt$ln=14,r=8,p=0$c2FsdHNhbHQ$ZGlnZXN0",
        "$scrypt$ln=30,r=8,p=1$c2FsdHNhbHQ$ZGlnZXN0",
        "$scrypt$ln=14,r=8,p=1$c$ZGlnZXN0",
    ],
    ids=[
        "nothing",
        "no hash",
        "bcrypt",
        "cut",
        "no lanes",
        "no parallelisation",
        "too dear",
        "salt is not base64",
    ],
)
def test_a_damaged_hash_is_told_and_proves_nothing(damaged: str) -> None:
    with pytest.raises(StoreError):
        verify_password(PASSWORD, damaged)


def test_a_reversible_secret_is_kept_only_of_who_may_use_it(connection: Connection) -> None:
    add_account(connection, Account("ann", "a.test", may_use_cram=True), None, ["a.test"])
    add_account(connection, Account("bob", "a.test", may_use_apop=True), None, ["a.test"])
    verifiers = Verifiers("hash", None, cram="the password", apop="the password")
    for login in ("ann@a.test", "bob@a.test", "nobody@a.test"):
        save_verifiers(connection, login, verifiers)
    assert [load_cram_secret(connection, f"{name}@a.test") for name in ("ann", "bob", "nobody")] == [
        "the password", None, None
    ]  # fmt: skip
    assert [load_apop_secret(connection, f"{name}@a.test") for name in ("ann", "bob", "nobody")] == [
        None, "the password", None
    ]  # fmt: skip
    save_verifiers(connection, "ann@a.test", Verifiers("another"))
    assert load_cram_secret(connection, "ann@a.test") is None


def test_secrets_can_be_erased_one_by_one(connection: Connection) -> None:
    account = Account("ann", "a.test", may_use_cram=True, may_use_apop=True)
    add_account(connection, account, Verifiers("hash", None, "one", "two"), ["a.test"])
    erase_secrets(connection, "ann@a.test", cram=True, apop=False)
    assert load_cram_secret(connection, "ann@a.test") is None
    assert load_apop_secret(connection, "ann@a.test") == "two"
    assert load_password_hash(connection, "ann@a.test") == "hash"


def test_the_password_is_carried_only_where_it_is_to_be_kept() -> None:
    assert make_verifiers("x", False, with_cram=True).apop is None
    kept = make_verifiers("x", False, with_cram=True, with_apop=True)
    assert (kept.cram, kept.apop) == ("x", "x")
    assert repr(kept) == "Verifiers()"


def test_the_secret_of_fakes_is_the_databases_own(connection: Connection) -> None:
    secret = load_fake_secret(connection)
    assert len(secret) == 32
    assert load_fake_secret(connection) == secret
    connection.execute("DELETE FROM secret")
    with pytest.raises(StoreError, match="SCRAM"):
        load_fake_secret(connection)
