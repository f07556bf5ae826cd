import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.domain.dsn_request import (
    Notify,
    RecipientRequest,
    decode_original_recipient,
    decode_xtext,
    encode_utf8_address,
    encode_xtext,
)


@given(st.text(alphabet=st.characters(max_codepoint=126), max_size=80))
def test_xtext_comes_back(text: str) -> None:
    written = encode_xtext(text)
    assert decode_xtext(written) == text
    assert all("!" <= character <= "~" for character in written)
    assert "=" not in written


@given(st.text(max_size=40))
def test_an_address_of_type_utf8_comes_back(text: str) -> None:
    written = encode_utf8_address(text)
    assert decode_original_recipient(f"utf-8;{written}") == ("utf-8", text)
    assert all("!" <= character <= "~" for character in written)


@pytest.mark.parametrize(
    ("text", "kind", "address"),
    [
        ("rfc822;bob@far.test", "rfc822", "bob@far.test"),
        ("RFC822;a+2Bb@far.test", "rfc822", "a+b@far.test"),
        ("x400;/S=a/", "x400", "/S=a/"),
        (r"rfc822;\x{FC}@b", "rfc822", r"\x{FC}@b"),
        (r"utf-8;j\x{FC}rgen+20x@b", "utf-8", "jürgen x@b"),
        ("utf-8;jürgen@b", "utf-8", "jürgen@b"),
        (r"utf-8;\x{FFFFFF}@b", "utf-8", r"\x{FFFFFF}@b"),
        ("", "", ""),
    ],
)
def test_an_original_recipient_is_parted_and_decoded(text: str, kind: str, address: str) -> None:
    assert decode_original_recipient(text) == (kind, address)


@pytest.mark.parametrize(
    ("asked", "expanded"),
    [
        (None, None),
        (Notify.NEVER, Notify.NEVER),
        (Notify.FAILURE, Notify.FAILURE),
        (Notify.SUCCESS, Notify.EXPANSION),
        (Notify.SUCCESS | Notify.DELAY, Notify.EXPANSION | Notify.DELAY),
    ],
)
def test_a_target_of_several_is_not_asked_for_success(asked: Notify | None, expanded: Notify | None) -> None:
    assert RecipientRequest(asked, "x").expand() == RecipientRequest(expanded, "x")


def test_octets_beyond_ascii_in_xtext_are_utf_8_and_make_an_address_of_that_type() -> None:
    assert decode_original_recipient("rfc822;j+C3+BCrgen@x.test") == ("utf-8", "jürgen@x.test")
    assert decode_original_recipient("rfc822;+FF@x.test") == ("utf-8", "\ufffd@x.test")
