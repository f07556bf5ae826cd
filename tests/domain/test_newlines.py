import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.domain.newlines import crlf_to_lf, has_bare_newline, normalise_newlines

octets = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\x00", b"\x85", b"\xff", b"\x0b"])).map(
    b"".join
)


@pytest.mark.parametrize(
    ("data", "is_bare"),
    [
        (b"", False),
        (b"a\r\nb\r\n", False),
        (b"a\nb", True),
        (b"a\rb", True),
        (b"\r\r\n", True),
        (b"\r\n\n", True),
        (b"\n\r", True),
    ],
)
def test_newlines_that_stand_alone_are_seen(data: bytes, is_bare: bool) -> None:
    assert has_bare_newline(data) is is_bare


@pytest.mark.parametrize(
    ("data", "normalised"),
    [
        (b"a\r\nb", b"a\r\nb"),
        (b"a\nb\rc", b"a\r\nb\r\nc"),
        (b"\r\r\n\n\r", b"\r\n\r\n\r\n\r\n"),
    ],
)
def test_each_newline_that_stands_alone_becomes_crlf(data: bytes, normalised: bytes) -> None:
    assert normalise_newlines(data) == normalised


@given(octets)
def test_a_newline_stands_alone_where_neither_of_its_neighbours_makes_it_crlf(data: bytes) -> None:
    alone = re.search(rb"\r(?!\n)|(?<!\r)\n", data) is not None
    assert has_bare_newline(data) is alone
    assert not has_bare_newline(normalise_newlines(data))


@given(octets)
def test_only_crlf_becomes_lf(data: bytes) -> None:
    assert crlf_to_lf(data) == re.sub(rb"\r\n", b"\n", data)
