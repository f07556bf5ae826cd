import base64

import pytest

from kms.domain.login import CramDigest
from kms.protocol.sasl import (
    BadBase64Error,
    BadResponseError,
    Challenge,
    CramMd5Exchange,
    Credentials,
    LoginExchange,
    PlainExchange,
    decode_response,
    encode_challenge,
    list_offered,
    make_nonce,
    open_channel,
)


def test_plain_takes_all_in_one_response() -> None:
    assert PlainExchange().respond(b"boss\0anna\0s e cr\xc3\xa9t") == Credentials("boss", "anna", "s e crét")


def test_plain_asks_by_an_empty_challenge_when_there_was_no_initial_response() -> None:
    exchange = PlainExchange()

    assert exchange.respond(None) == Challenge(b"")
    assert exchange.respond(b"\0anna\0secret") == Credentials("", "anna", "secret")


@pytest.mark.parametrize("response", [b"", b"anna", b"\0anna", b"\0\0secret", b"\0a\0b\0c", b"\0\xff\0b"])
def test_plain_refuses_what_is_no_plain_response(response: bytes) -> None:
    with pytest.raises(BadResponseError):
        PlainExchange().respond(response)


def test_an_empty_plain_password_is_a_password() -> None:
    assert PlainExchange().respond(b"\0anna\0") == Credentials("", "anna", "")


def test_login_asks_for_user_and_password() -> None:
    exchange = LoginExchange()

    assert exchange.respond(None) == Challenge(b"Username:")
    assert exchange.respond(b"anna") == Challenge(b"Password:")
    assert exchange.respond(b"sec\0ret") == Credentials("", "anna", "sec\0ret")


def test_login_takes_the_user_as_initial_response() -> None:
    exchange = LoginExchange()

    assert exchange.respond(b"anna") == Challenge(b"Password:")
    assert exchange.respond(b"") == Credentials("", "anna", "")


@pytest.mark.parametrize("user", [b"", b"\xff"])
def test_login_refuses_a_user_that_is_empty_or_no_text(user: bytes) -> None:
    with pytest.raises(BadResponseError):
        LoginExchange().respond(user)


def test_login_refuses_a_password_that_is_no_text() -> None:
    exchange = LoginExchange()
    exchange.respond(b"anna")

    with pytest.raises(BadResponseError):
        exchange.respond(b"\xff")


def test_the_password_is_never_printed() -> None:
    assert "secret" not in repr(PlainExchange().respond(b"\0anna\0secret"))


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", bytes(range(256))])
def test_base64_goes_both_ways(data: bytes) -> None:
    assert decode_response(encode_challenge(data).encode()) == data
    assert encode_challenge(data) == base64.b64encode(data).decode()


@pytest.mark.parametrize("line", [b"YQ", b"YQ=", b"=", b"YQ==YQ==", b"Y Q==", b"Y\xffQ=", b"YQ==\n", b"*"])
def test_what_is_not_strictly_base64_is_refused(line: bytes) -> None:
    with pytest.raises(BadBase64Error):
        decode_response(line)


CHANNEL = open_channel("mail.example.org", (), {}, lambda: "1896.697170952")


def test_cram_md5_keys_a_challenge_of_its_own() -> None:
    exchange = CramMd5Exchange(CHANNEL)
    digest = "0" * 32

    assert exchange.respond(None) == Challenge(b"<1896.697170952@mail.example.org>")
    assert exchange.respond(f"a nna {digest}".encode()) == Credentials(
        "", "a nna", CramDigest(b"<1896.697170952@mail.example.org>", digest)
    )


@pytest.mark.parametrize(
    "response", [b"", b"anna", b"anna 12", b" " + b"0" * 32, b"anna " + b"G" * 32, b"\xff " + b"0" * 32]
)
def test_cram_md5_refuses_what_is_no_digest(response: bytes) -> None:
    exchange = CramMd5Exchange(CHANNEL)
    exchange.respond(None)
    with pytest.raises(BadResponseError):
        exchange.respond(response)


def test_cram_md5_has_no_initial_response() -> None:
    with pytest.raises(BadResponseError):
        CramMd5Exchange(CHANNEL).respond(b"anna " + b"0" * 32)


def test_what_shows_passwords_or_needs_a_binding_is_offered_only_where_it_may_be() -> None:
    names = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "CRAM-MD5")
    assert list_offered(names, may_send_passwords=True, may_bind=True) == names
    assert list_offered(names, may_send_passwords=False, may_bind=False) == ("SCRAM-SHA-256", "CRAM-MD5")


def test_no_two_nonces_are_the_same() -> None:
    assert make_nonce() != make_nonce()
