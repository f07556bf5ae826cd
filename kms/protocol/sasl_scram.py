"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side (RFC 5802, RFC 7677, bindings RFC 5056).

Promises: a verifier is asked for by name, and what is sent of it is the same for a user that does not exist. The
server's own signature is handed over with the credentials, to be sent only where they were right. Whoever says
that we offer no channel binding while we do has met somebody who changed our list: that login fails as a wrong
password does, and so does a binding to another channel.

User names are compared as their UTF-8 octets, without SASLprep, as everywhere in kms; of passwords see
`store/credentials.py`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

from kms.domain.login import NO_PROOF, ScramProof
from kms.domain.scram import ScramVerifier
from kms.protocol.sasl import (
    SCRAM_PLUS,
    BadBase64Error,
    BadResponseError,
    Challenge,
    Channel,
    CramMd5Exchange,
    Credentials,
    LoginExchange,
    PlainExchange,
    ServerExchange,
    Step,
    VerifierWanted,
    decode_response,
    decode_text,
)

_FIRST = re.compile(
    r"(?P<header>(?:(?P<flag>[ny])|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<authorization>[^,]+))?,)"
    r"(?P<bare>n=(?P<user>[^,]+),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-z]=[^,]+)*)",
    re.ASCII,
)
_FINAL = re.compile(
    r"(?P<unproved>c=(?P<channel>[A-Za-z0-9+/=]+),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-oq-z]=[^,]+)*)"
    r",p=(?P<proof>[A-Za-z0-9+/=]+)",
    re.ASCII,
)


class ScramExchange:
    """One exchange. NUL in any message is refused.

    Args:
        channel: what of the connection matters.
        is_bound: it is the PLUS mechanism.
    """

    def __init__(self, channel: Channel, *, is_bound: bool) -> None:
        self._channel = channel
        self._is_bound = is_bound
        self._first: re.Match[str] | None = None
        self._verifier: ScramVerifier | None = None
        self._server_first = ""

    def respond(self, response: bytes | None) -> Step:
        """Take the client's first message, or its final one."""
        if response is None:
            return Challenge(b"")
        text = decode_text(response)
        if "\0" in text:
            raise BadResponseError
        return self._take_first(text) if self._first is None else self._take_final(text, self._first)

    def take_verifier(self, verifier: ScramVerifier) -> Challenge:
        """Answer `VerifierWanted`: tells salt, rounds and both nonces (RFC 5802 7, server-first-message)."""
        assert self._first is not None
        self._verifier = verifier
        self._nonce = self._first["nonce"] + self._channel.make_nonce()
        salt = base64.b64encode(verifier.salt).decode("ascii")
        self._server_first = f"r={self._nonce},s={salt},i={verifier.iterations}"
        return Challenge(self._server_first.encode())

    def _take_first(self, text: str) -> Step:
        first = _FIRST.fullmatch(text)
        if first is None or self._is_bound != (first["binding"] is not None):
            raise BadResponseError
        if first["binding"] is not None and first["binding"] not in self._channel.bindings:
            raise BadResponseError
        self._user = _decode_name(first["user"])
        self._authorization = _decode_name(first["authorization"] or "")
        if first["flag"] == "y" and self._channel.offers_plus:
            return self._fail()
        self._first = first
        return VerifierWanted(self._user)

    def _take_final(self, text: str, first: re.Match[str]) -> Credentials:
        final = _FINAL.fullmatch(text)
        verifier, self._verifier = self._verifier, None
        if final is None or verifier is None or final["nonce"] != self._nonce:
            raise BadResponseError
        channel, proof = _decode(final["channel"]), _decode(final["proof"])
        binding = self._channel.bindings[first["binding"]] if first["binding"] else b""
        if channel != first["header"].encode() + binding:
            return self._fail()
        auth_message = ",".join((first["bare"], self._server_first, final["unproved"])).encode()
        answer = b"v=" + base64.b64encode(verifier.sign(auth_message))
        return Credentials(self._authorization, self._user, ScramProof(auth_message, proof), answer)

    def _fail(self) -> Credentials:
        return Credentials(self._authorization, self._user, NO_PROOF)


def _decode_name(text: str) -> str:
    """Undo =2C and =3D (RFC 5802 5.1); no other use of = is allowed."""
    if re.search(r"=(?!2C|3D)", text):
        raise BadResponseError
    return text.replace("=2C", ",").replace("=3D", "=")


def _decode(text: str) -> bytes:
    try:
        return decode_response(text.encode("ascii"))
    except BadBase64Error:
        raise BadResponseError from None


EXCHANGES: dict[str, Callable[[Channel], ServerExchange]] = {
    SCRAM_PLUS: lambda channel: ScramExchange(channel, is_bound=True),
    "SCRAM-SHA-256": lambda channel: ScramExchange(channel, is_bound=False),
    "PLAIN": lambda _: PlainExchange(),
    "LOGIN": lambda _: LoginExchange(),
    "CRAM-MD5": CramMd5Exchange,
}
"""All mechanisms that kms speaks as a server."""
