"""The arithmetic of SCRAM-SHA-256: verifiers, proofs and signatures (RFC 5802 3, RFC 7677).

Pure computation: who says what, and when, is the SASL exchange's affair; where verifiers are kept, the
store's. Passwords are taken as their UTF-8 octets: `store.credentials` accepts only those that SASLprep
leaves as they are.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re

import attrs

SCRAM_ITERATIONS = 100_000
SALT_OCTETS = 16

_DIGEST_OCTETS = 32
_VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


@attrs.frozen
class ScramVerifier:
    """What a server keeps of a password; it proves clients, and proves itself to them.

    Attributes:
        salt: random octets of this verifier.
        iterations: rounds of PBKDF2; at least 4096 (RFC 7677 4).
        stored_key: checks a client's proof.
        server_key: signs for the client.
    """

    salt: bytes
    iterations: int
    stored_key: bytes = attrs.field(repr=False)
    server_key: bytes = attrs.field(repr=False)

    def __str__(self) -> str:
        """Print it as the store keeps it, in the form of RFC 5803 2."""
        salt, stored_key, server_key = map(_encode, (self.salt, self.stored_key, self.server_key))
        return f"SCRAM-SHA-256${self.iterations}:{salt}${stored_key}:{server_key}"

    @classmethod
    def parse(cls, text: str) -> ScramVerifier:
        """Read what `str` printed; raises ValueError for anything else."""
        found = _VERIFIER.fullmatch(text)
        if found is None:
            raise ValueError("not a SCRAM-SHA-256 verifier")
        try:
            salt, stored_key, server_key = (
                base64.b64decode(part, validate=True) for part in found.group(2, 3, 4)
            )
        except binascii.Error as error:
            raise ValueError("not a SCRAM-SHA-256 verifier") from error
        if len(stored_key) != _DIGEST_OCTETS or len(server_key) != _DIGEST_OCTETS or int(found[1]) < 1:
            raise ValueError("not a SCRAM-SHA-256 verifier")
        return cls(salt, int(found[1]), stored_key, server_key)

    def accepts(self, proof: bytes, auth_message: bytes) -> bool:
        """Check a client's proof; RFC 5802 3: StoredKey == H(ClientProof XOR ClientSignature)."""
        if len(proof) != _DIGEST_OCTETS:
            return False
        client_key = _xor(proof, _hmac(self.stored_key, auth_message))
        return hmac.compare_digest(hashlib.sha256(client_key).digest(), self.stored_key)

    def sign(self, auth_message: bytes) -> bytes:
        """Make the server's signature, which the client checks."""
        return _hmac(self.server_key, auth_message)


def make_scram_verifier(password: str, salt: bytes, iterations: int = SCRAM_ITERATIONS) -> ScramVerifier:
    """Make the verifier of a password; slow on purpose."""
    salted = _salt(password, salt, iterations)
    client_key = _hmac(salted, b"Client Key")
    return ScramVerifier(salt, iterations, hashlib.sha256(client_key).digest(), _hmac(salted, b"Server Key"))


def make_fake_verifier(secret: bytes, user: str, iterations: int = SCRAM_ITERATIONS) -> ScramVerifier:
    """Make the verifier of a user who has none: the same each time, and no client can fit it.

    Args:
        secret: of the server; whoever knows it can tell fakes.
        user: in the one spelling that its account would have.
    """
    salt, stored_key, server_key = (
        _hmac(secret, label + user.encode("utf-8", "surrogatepass"))
        for label in (b"salt\0", b"stored\0", b"server\0")
    )
    return ScramVerifier(salt[:SALT_OCTETS], iterations, stored_key, server_key)


def make_proof(password: str, salt: bytes, iterations: int, auth_message: bytes) -> bytes:
    """Make the client's proof, for a login at another server; slow on purpose."""
    client_key = _hmac(_salt(password, salt, iterations), b"Client Key")
    return _xor(client_key, _hmac(hashlib.sha256(client_key).digest(), auth_message))


def _salt(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode("utf-8", "surrogatepass"), salt, iterations)


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
