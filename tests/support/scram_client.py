"""A SCRAM-SHA-256 client of the tests, after RFC 5802; it checks the server's signature."""

from __future__ import annotations

import base64
import re

from kms.domain.scram import make_proof, make_scram_verifier

NONCE = "rOprNGfwEbeRWgbNEkqO"


def encode(text: str | bytes) -> str:
    """Put a message into base64."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


class ScramClient:
    """One login.

    Args:
        user: login name, escaped by the caller.
        password: of it.
        header: the GS2 header, such as "n,," or "p=tls-exporter,,".
        binding: data of the channel.
    """

    def __init__(self, user: str, password: str, header: str = "n,,", binding: bytes = b"") -> None:
        self._password = password
        self._header = header
        self._binding = binding
        self._bare = f"n={user},r={NONCE}"
        self.first = f"{header}{self._bare}"

    def answer(self, server_first: str) -> str:
        """Make the final message."""
        found = re.fullmatch(r"r=([^,]+),s=([^,]+),i=(\d+)", server_first)
        assert found is not None
        nonce, self.salt, self.iterations = found[1], base64.b64decode(found[2]), int(found[3])
        assert nonce.startswith(NONCE)
        assert len(nonce) > len(NONCE)
        channel = encode(self._header.encode() + self._binding)
        unproved = f"c={channel},r={nonce}"
        self._auth_message = f"{self._bare},{server_first},{unproved}".encode()
        proof = make_proof(self._password, self.salt, self.iterations, self._auth_message)
        return f"{unproved},p={encode(proof)}"

    def believes(self, server_final: str) -> bool:
        """Say whether the server has shown that it knows the password's verifier."""
        verifier = make_scram_verifier(self._password, self.salt, self.iterations)
        return server_final == f"v={encode(verifier.sign(self._auth_message))}"
