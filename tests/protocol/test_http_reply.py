import pytest

from kms.protocol.http_reply import MAX_CHUNKS, MAX_FIELDS, MAX_HEADER_OCTETS, HttpError, find_body

TYPE = b"Content-Type: text/plain\r\n"
OK = b"HTTP/1.1 200 OK\r\n" + TYPE


def find(octets: bytes, *, is_closed: bool = False) -> bytes | None:
    return find_body(octets, is_closed=is_closed, content_type="text/plain")


WHOLE = [
    (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    (OK + b"content-length:5 \r\n\r\nhello and more", b"hello"),
    (b"HTTP/1.0 200\r\nContent-type: Text/Plain; charset=utf-8\r\nContent-Length: 0\r\n\r\n", b""),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3 ;x=y\r\nllo\r\n0\r\n\r\n", b"hello"),
]


@pytest.mark.parametrize(("octets", "body"), WHOLE)
def test_a_whole_answer_has_a_body_however_it_comes(octets: bytes, body: bytes) -> None:
    assert find(octets) == body
    assert find(octets, is_closed=True) == body


@pytest.mark.parametrize(("octets", "body"), WHOLE)
def test_a_piece_of_it_has_none_or_is_cut_off(octets: bytes, body: bytes) -> None:
    end = (
        octets.rindex(b"\r\n0\r\n") + 4 if b"chunked" in octets else octets.index(b"\r\n\r\n") + 4 + len(body)
    )
    for length in range(end):
        assert find(octets[:length]) is None
        with pytest.raises(HttpError, match="cut off"):
            find(octets[:length], is_closed=True)


def test_without_a_length_the_end_of_the_connection_is_the_end() -> None:
    assert find(OK + b"\r\nhello") is None
    assert find(OK + b"\r\nhello", is_closed=True) == b"hello"


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"220 mx.test ESMTP\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://x.test/\r\n" + TYPE + b"\r\n", "the answer is 301"),
        (b"HTTP/1.1 404 Not Found\r\n" + TYPE + b"Content-Length: 5\r\n\r\nhello", "the answer is 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nhello", "not text/plain"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "not text/plain"),
        (OK + b"Content-Length: -5\r\n\r\nhello", "length makes no sense"),
        (OK + b"Content-Length: 99999999999\r\n\r\nhello", "length makes no sense"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "not known"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n", "chunks make no sense"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n", "chunks make no sense"),
    ],
)
def test_what_is_no_such_answer_is_an_error_at_once(octets: bytes, words: str) -> None:
    with pytest.raises(HttpError, match=words):
        find(octets)


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (OK + b"X: y\r\n" * MAX_FIELDS, "header is too long"),
        (OK + b"X: " + b"y" * MAX_HEADER_OCTETS, "header is too long"),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (MAX_CHUNKS + 1),
            "chunks are too many",
        ),
    ],
)
def test_an_answer_that_is_made_to_take_long_is_not_read_on(octets: bytes, words: str) -> None:
    with pytest.raises(HttpError, match=words):
        find(octets)
