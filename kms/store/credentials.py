"""What is kept of passwords: a slow hash, and where wanted a SCRAM-SHA-256 verifier; never the password.

Argon2id (2 passes over 19 MiB) where the cryptography library has it, else scrypt (n = 2^14): both as PHC
strings, with a salt of 16 octets. Hashing takes tens of milliseconds: the service does it in a small pool.

A password is the exact sequence of its UTF-8 octets; a login is compared without any normalisation. So that
SCRAM clients, who must apply SASLprep (RFC 4013), come to the same octets, a password is accepted only if
SASLprep leaves it as it is: no control or invisible characters, no blanks but the ASCII one, and in NFKC.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import unicodedata
from functools import lru_cache
from sqlite3 import Connection

import attrs
from cryptography.exceptions import UnsupportedAlgorithm

from kms.domain.scram import ScramVerifier, make_scram_verifier
from kms.store.schema import StoreError

try:
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
except ImportError:  # cryptography older than 44, as in a distribution's own package
    Argon2id = None  # type: ignore[assignment,misc]

MAX_PASSWORD_OCTETS = 1024

_SALT_OCTETS = 16
_DIGEST_OCTETS = 32
_ARGON2ID = "$argon2id$v=19$m=19456,t=2,p=1$"
_SCRYPT = "$scrypt$ln=14,r=8,p=1$"
_SCRYPT_MEMORY_OCTETS = 64 * 1024 * 1024
_PHC = re.compile(
    r"\$(?:argon2id\$v=19\$m=(?P<m>\d{1,7}),t=(?P<t>\d{1,3}),p=(?P<p>\d{1,3})"
    r"|scrypt\$ln=(?P<ln>\d{1,2}),r=(?P<r>\d{1,2}),p=(?P<q>\d{1,2}))"
    r"\$(?P<salt>[A-Za-z0-9+/]+)\$(?P<digest>[A-Za-z0-9+/]+)"
)


class PasswordError(ValueError):
    """The password cannot be used; the text is a sentence for whoever sets it, without the password."""


@attrs.frozen
class Verifiers:
    """All that is kept of one password. Printing it shows nothing.

    Attributes:
        password_hash: PHC string of Argon2id or scrypt.
        scram: for SCRAM-SHA-256, or None.
        cram: for CRAM-MD5, which needs the password itself; kept only of accounts that may use it. Or None.
        apop: likewise, for APOP.
    """

    password_hash: str = attrs.field(repr=False)
    scram: str | None = attrs.field(repr=False, default=None)
    cram: str | None = attrs.field(repr=False, default=None)
    apop: str | None = attrs.field(repr=False, default=None)


def make_verifiers(
    password: str, with_scram: bool, with_cram: bool = False, with_apop: bool = False
) -> Verifiers:
    """Hash a new password; slow on purpose.

    Args:
        password: as the user types it.
        with_scram: make the SCRAM verifier too.
        with_cram: the server offers CRAM-MD5.
        with_apop: the server offers APOP.

    Raises:
        PasswordError: it is empty, too long, or holds what programs would send in different ways.
    """
    _check_password(password)
    salt = os.urandom(_SALT_OCTETS)
    prefix = _preferred()
    digest = _derive(_read(f"{prefix}{_encode(salt)}${_encode(bytes(_DIGEST_OCTETS))}"), _octets(password))
    scram = str(make_scram_verifier(password, os.urandom(_SALT_OCTETS))) if with_scram else None
    return Verifiers(
        f"{prefix}{_encode(salt)}${_encode(digest)}",
        scram,
        cram=password if with_cram else None,
        apop=password if with_apop else None,
    )


def verify_password(password: str, password_hash: str) -> bool:
    """Tell whether a password is the one that was hashed; slow on purpose, and equally so for all.

    Args:
        password: any text that a client may send.
        password_hash: from `make_verifiers`, or `dummy_verifier` for an unknown user.

    Raises:
        StoreError: the hash is damaged, or of a kind that this machine cannot compute.
    """
    octets = _octets(password)
    if len(octets) > MAX_PASSWORD_OCTETS:
        return False
    found = _read(password_hash)
    return hmac.compare_digest(_derive(found, octets), _decode(found["digest"]))


def needs_rehash(password_hash: str) -> bool:
    """Tell whether a hash is weaker than, or of another kind than, what is made today."""
    return not password_hash.startswith(_preferred())


@lru_cache(maxsize=1)
def dummy_verifier() -> str:
    """A hash that no password fits, to spend the same time on unknown users; cheap to make."""
    return f"{_preferred()}{_encode(os.urandom(_SALT_OCTETS))}${_encode(os.urandom(_DIGEST_OCTETS))}"


def save_verifiers(connection: Connection, login: str, verifiers: Verifiers) -> None:
    """Set what is kept for an account, whatever was kept before; a reversible secret only where it may be."""
    connection.execute(
        "INSERT INTO credential (login, password_hash, scram_sha_256) VALUES (?, ?, ?)"
        " ON CONFLICT (login) DO UPDATE SET password_hash = excluded.password_hash,"
        " scram_sha_256 = excluded.scram_sha_256, cram_secret = NULL, apop_secret = NULL",
        (login, verifiers.password_hash, verifiers.scram),
    )
    name, _, domain = login.rpartition("@")
    connection.execute(
        "UPDATE credential SET cram_secret = CASE WHEN may_use_cram THEN ? END,"
        " apop_secret = CASE WHEN may_use_apop THEN ? END"
        " FROM account WHERE login = ? AND name = ? AND domain = ?",
        (verifiers.cram, verifiers.apop, login, name, domain),
    )


def erase_secrets(connection: Connection, login: str, *, cram: bool, apop: bool) -> None:
    """Forget reversible secrets of an account; the password stays."""
    connection.execute(
        "UPDATE credential SET cram_secret = CASE WHEN ? THEN NULL ELSE cram_secret END,"
        " apop_secret = CASE WHEN ? THEN NULL ELSE apop_secret END WHERE login = ?",
        (cram, apop, login),
    )


def replace_verifiers(connection: Connection, login: str, known_hash: str, verifiers: Verifiers) -> bool:
    """Set what is kept for an account, but only if its hash is still `known_hash`.

    For rehashing after a login: what was changed or removed meanwhile stays so. Says whether it was set.
    """
    return (
        connection.execute(
            "UPDATE credential SET password_hash = ?, scram_sha_256 = coalesce(?, scram_sha_256)"
            " WHERE login = ? AND password_hash = ?",
            (verifiers.password_hash, verifiers.scram, login, known_hash),
        ).rowcount
        == 1
    )


def load_password_hash(connection: Connection, login: str) -> str | None:
    """Find the hash of an account's password; None where there is no such account or no password."""
    row = connection.execute("SELECT password_hash FROM credential WHERE login = ?", (login,)).fetchone()
    return None if row is None else str(row[0])


def load_scram_verifier(connection: Connection, login: str) -> ScramVerifier | None:
    """Find the SCRAM verifier of an account; None where none was made. Raises StoreError when damaged."""
    row = connection.execute("SELECT scram_sha_256 FROM credential WHERE login = ?", (login,)).fetchone()
    if row is None or row[0] is None:
        return None
    try:
        return ScramVerifier.parse(row[0])
    except ValueError as error:
        raise StoreError(f"The SCRAM verifier of {login} is damaged: set the password again") from error


def load_cram_secret(connection: Connection, login: str) -> str | None:
    """Find the password of an account that may use CRAM-MD5; None where it was not kept."""
    row = connection.execute("SELECT cram_secret FROM credential WHERE login = ?", (login,)).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def load_apop_secret(connection: Connection, login: str) -> str | None:
    """Find the password of an account that may use APOP; None where it was not kept."""
    row = connection.execute("SELECT apop_secret FROM credential WHERE login = ?", (login,)).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def load_fake_secret(connection: Connection) -> bytes:
    """Find the secret that SCRAM verifiers of users who do not exist are made of; the same for ever."""
    row = connection.execute("SELECT value FROM secret WHERE name = 'scram'").fetchone()
    if row is None:
        raise StoreError("The secret for SCRAM is missing in the database")
    return bytes(row[0])


def remove_verifiers(connection: Connection, login: str) -> None:
    """Forget the password of an account."""
    connection.execute("DELETE FROM credential WHERE login = ?", (login,))


def _check_password(password: str) -> None:
    if not password:
        raise PasswordError("The password is empty")
    if len(_octets(password)) > MAX_PASSWORD_OCTETS:
        raise PasswordError(f"The password is longer than {MAX_PASSWORD_OCTETS} octets")
    for character in password:
        if character != " " and unicodedata.category(character)[0] in "CZ":
            raise PasswordError(
                "The password holds a control or invisible character, or a blank that is not the usual one"
            )
    if unicodedata.normalize("NFKC", password) != password:
        raise PasswordError(
            "The password holds a character that mail programs send in different ways (such as a full-width "
            "letter, a ligature, or an accent apart from its letter)"
        )


@lru_cache(maxsize=1)
def _preferred() -> str:
    """The beginning of the hashes that this machine makes."""
    try:
        _argon2id(bytes(_SALT_OCTETS), 2, 1, 19_456)
    except UnsupportedAlgorithm:
        return _SCRYPT
    return _ARGON2ID


def _argon2id(salt: bytes, iterations: int, lanes: int, memory_kib: int) -> Argon2id:
    if Argon2id is None:
        raise UnsupportedAlgorithm("this cryptography library has no Argon2id")
    return Argon2id(
        salt=salt, length=_DIGEST_OCTETS, iterations=iterations, lanes=lanes, memory_cost=memory_kib
    )


def _read(password_hash: str) -> re.Match[str]:
    found = _PHC.fullmatch(password_hash)
    if found is None:
        raise StoreError("A password hash in the database is damaged: set the password again")
    return found


def _derive(found: re.Match[str], password: bytes) -> bytes:
    try:
        salt = _decode(found["salt"])
        if found["m"]:
            return _argon2id(salt, int(found["t"]), int(found["p"]), int(found["m"])).derive(password)
        return hashlib.scrypt(
            password,
            salt=salt,
            n=1 << int(found["ln"]),
            r=int(found["r"]),
            p=int(found["q"]),
            maxmem=_SCRYPT_MEMORY_OCTETS,
            dklen=_DIGEST_OCTETS,
        )
    except UnsupportedAlgorithm as error:
        raise StoreError(
            "This machine's cryptography library cannot compute Argon2id (OpenSSL 3.2)"
        ) from error
    except ValueError as error:
        raise StoreError("A password hash in the database is damaged: set the password again") from error


def _octets(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))
