"""What a client sends to prove who it is: the password itself, or something made of it.

Flow: `protocol/sasl.py` and POP3's commands make one, `service/login_checker.py` judges it. Of the digests no
password can be read, so nobody can tell whether two failed ones came of the same password.
"""

from __future__ import annotations

import hashlib
import hmac

import attrs


@attrs.frozen
class ScramProof:
    """The client's proof of SCRAM-SHA-256, and what it signs (RFC 5802 3).

    Attributes:
        auth_message: all that both sides have said.
        proof: 32 octets; any other length proves nothing.
    """

    auth_message: bytes
    proof: bytes = attrs.field(repr=False)


NO_PROOF = ScramProof(b"", b"")
"""Proves nothing: for an exchange that must end as a wrong password does."""


@attrs.frozen
class CramDigest:
    """CRAM-MD5 (RFC 2195): the challenge, keyed with the password; `digest` is lower-case hexadecimal."""

    challenge: bytes
    digest: str = attrs.field(repr=False)

    def fits(self, password: str) -> bool:
        """Say whether it was made of this password."""
        made = hmac.new(password.encode("utf-8"), self.challenge, "md5").hexdigest()
        return hmac.compare_digest(made, self.digest)


@attrs.frozen
class ApopDigest:
    """APOP (RFC 1939 7): MD5 of the greeting's stamp and the password; `digest` is lower-case hexadecimal."""

    stamp: bytes
    digest: str = attrs.field(repr=False)

    def fits(self, password: str) -> bool:
        """Say whether it was made of this password."""
        made = hashlib.md5(self.stamp + password.encode("utf-8"), usedforsecurity=False).hexdigest()
        return hmac.compare_digest(made, self.digest)


Proof = str | ScramProof | CramDigest | ApopDigest
"""A `str` is the password as the client wrote it."""
