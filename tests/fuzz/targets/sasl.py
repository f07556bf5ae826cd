"""SASL, both sides: a client's responses to the server, a server's challenges to the client, a stored verifier.

The lines are the responses, in base64 as they come, or else as they are.
"""

from kms.domain.next_hop import HopCredentials
from kms.domain.scram import ScramVerifier, make_fake_verifier
from kms.protocol import sasl, sasl_client
from kms.protocol.sasl_scram import EXCHANGES, ScramExchange

_BINDINGS = {"tls-exporter": b"x" * 32}
_VERIFIER = make_fake_verifier(b"key", "anna")


def _decode(line: bytes) -> bytes:
    try:
        return sasl.decode_response(line)
    except sasl.BadBase64Error:
        return line


def _serve(name: str, responses: list[bytes], *, has_initial: bool) -> None:
    channel = sasl.Channel("mail.example.org", _BINDINGS, offers_plus=True, make_nonce=lambda: "nonce")
    exchange = EXCHANGES[name](channel)
    pending: list[bytes | None] = [*([] if has_initial else [None]), *responses]
    for response in pending:
        try:
            step = exchange.respond(response)
            if isinstance(step, sasl.VerifierWanted):
                assert isinstance(exchange, ScramExchange)
                step = exchange.take_verifier(_VERIFIER)
        except sasl.SaslError:
            return
        if not isinstance(step, sasl.Challenge):
            assert "secret" not in repr(step) or "secret" in step.user + step.authorization
            return
        assert sasl.encode_challenge(step.data).isascii()


def _log_in(challenges: list[bytes]) -> None:
    credentials = HopCredentials("anna", "secret")
    offered = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")
    for exchange in sasl_client.choose_exchanges(offered, credentials, is_encrypted=False):
        exchange.initial_response()
        for challenge in challenges:
            try:
                response = exchange.respond(challenge)
            except sasl_client.SaslError:
                break
            assert exchange.shows_password or b"secret" not in response


def run(data: bytes) -> None:
    responses = [_decode(line) for line in data.split(b"\n")][:8]
    for name in EXCHANGES:
        _serve(name, responses, has_initial=False)
        _serve(name, responses, has_initial=True)
    _log_in(responses)
    try:
        verifier = ScramVerifier.parse(data.decode("utf-8", "replace"))
    except ValueError:
        return
    assert ScramVerifier.parse(str(verifier)) == verifier
