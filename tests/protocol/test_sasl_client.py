from __future__ import annotations

import pytest

from kms.domain.next_hop import HopCredentials
from kms.protocol.sasl_client import (
    CramMd5Exchange,
    LoginExchange,
    PlainExchange,
    SaslError,
    choose_exchanges,
)

CREDENTIALS = HopCredentials("tim", "tanstaaftanstaaf")


def names(offered: list[str], *, is_encrypted: bool) -> list[str]:
    return [way.mechanism for way in choose_exchanges(offered, CREDENTIALS, is_encrypted=is_encrypted)]


def test_in_clear_text_the_digest_comes_first() -> None:
    assert names(["LOGIN", "PLAIN", "CRAM-MD5"], is_encrypted=False) == ["CRAM-MD5", "PLAIN", "LOGIN"]


def test_within_tls_plain_comes_first_and_the_digest_is_not_used() -> None:
    assert names(["LOGIN", "PLAIN", "CRAM-MD5"], is_encrypted=True) == ["PLAIN", "LOGIN"]


def test_only_what_is_offered_is_used() -> None:
    assert names(["GSSAPI", "LOGIN"], is_encrypted=True) == ["LOGIN"]
    assert names([], is_encrypted=True) == []


def test_cram_md5_gives_the_digest_of_rfc_2195() -> None:
    exchange = CramMd5Exchange(CREDENTIALS)
    assert exchange.initial_response() is None
    response = exchange.respond(b"<1896.697170952@postoffice.reston.mci.net>")
    assert response == b"tim b913a602c7eda7a495b4e6e7334d3890"
    with pytest.raises(SaslError):
        exchange.respond(b"again")


def test_plain_says_all_at_once_and_no_more() -> None:
    exchange = PlainExchange(CREDENTIALS)
    assert exchange.initial_response() == b"\0tim\0tanstaaftanstaaf"
    with pytest.raises(SaslError):
        exchange.respond(b"")


def test_plain_refuses_a_login_that_holds_a_nul() -> None:
    with pytest.raises(SaslError):
        PlainExchange(HopCredentials("a", "b\0c")).initial_response()


def test_login_gives_user_then_password_and_no_more() -> None:
    exchange = LoginExchange(CREDENTIALS)
    assert exchange.initial_response() is None
    assert [exchange.respond(b"User"), exchange.respond(b"anything")] == [b"tim", b"tanstaaftanstaaf"]
    with pytest.raises(SaslError):
        exchange.respond(b"more")


def test_no_exchange_prints_the_password() -> None:
    for way in choose_exchanges(["PLAIN", "LOGIN", "CRAM-MD5"], CREDENTIALS, is_encrypted=False):
        assert "tanstaaf" not in repr(way)
