import itertools

import pytest

from kms.domain import reply
from kms.domain.reply import Reply
from kms.protocol.smtp_content import BareNewlines, ContentReader

NEWLINES = [b"\n", b"\r", b"\r\n", b"\r\r", b"\n\r", b"\0", b"\r\0\n", b""]


def read(
    data: bytes, *cuts: int, bare: BareNewlines = BareNewlines.REJECT, max_octets: int = 0
) -> tuple[bytes, Reply | None, bytes | None]:
    """Feed `data` cut at `cuts`; give the content, the refusal, and what is behind the end (None: no end)."""
    reader = ContentReader(bare, max_octets)
    content = b""
    edges = [0, *cuts, len(data)]
    for start, end in itertools.pairwise(edges):
        if reader.is_ended:
            return content, reader.refusal, reader.rest + data[start:]
        content += reader.feed(data[start:end])
    return content, reader.refusal, reader.rest if reader.is_ended else None


@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a\r\n..\r\n...\r\n.\r\n", b"a\r\n.\r\n..\r\n"),
        (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
        (b"\0\xff\r\n.\r\n", b"\0\xff\r\n"),
    ],
)
def test_dots_are_taken_off_wherever_the_octets_are_cut(wire: bytes, content: bytes) -> None:
    for cut in range(len(wire) + 1):
        assert read(wire, cut) == (content, None, b"")


def test_what_comes_behind_the_end_is_left() -> None:
    assert read(b"a\r\n.\r\nQUIT\r\n") == (b"a\r\n", None, b"QUIT\r\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [pair for pair in itertools.product(NEWLINES, repeat=2) if pair != (b"\r\n", b"\r\n")],
)
def test_only_crlf_dot_crlf_ends_the_content(before: bytes, after: bytes) -> None:
    smuggled = b"a" + before + b"." + after + b"MAIL FROM:<evil@b.example>\r\n"
    wire = smuggled + b"\r\n.\r\nQUIT\r\n"
    is_bare = any(newline.replace(b"\r\n", b"").strip(b"\0") for newline in (before, after))

    for cut in range(len(wire) + 1):
        content, refusal, rest = read(wire, cut)
        assert rest == b"QUIT\r\n"
        assert refusal is (reply.BARE_NEWLINE if is_bare else None)

        content, refusal, rest = read(wire, cut, bare=BareNewlines.NORMALISE)
        assert (refusal, rest) == (None, b"QUIT\r\n")
        assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
        assert b"MAIL FROM:<evil@b.example>\r\n" in content


def test_a_normalised_line_keeps_its_dot() -> None:
    assert read(b"a\n.\r\n..\r\n\n.b\r\n.\r\n", bare=BareNewlines.NORMALISE) == (
        b"a\r\n.\r\n.\r\n\r\n.b\r\n",
        None,
        b"",
    )


def test_nothing_is_given_after_a_bare_newline_but_the_end_is_still_found() -> None:
    reader = ContentReader(BareNewlines.REJECT, 0)

    assert reader.feed(b"good\r\n") == b"good"
    assert reader.feed(b"bad\n") == b""
    assert reader.refusal is reply.BARE_NEWLINE
    assert reader.feed(b"good\r\n") == b""
    assert not reader.is_ended
    assert reader.feed(b".\r\n") == b""
    assert reader.is_ended


@pytest.mark.parametrize(("max_octets", "refusal"), [(0, None), (7, None), (6, reply.CONTENT_TOO_LARGE)])
def test_size_is_that_of_the_content_without_stuffed_dots(max_octets: int, refusal: Reply | None) -> None:
    wire = b"..a\r\nb\r\n.\r\n"
    for cut in range(len(wire) + 1):
        content, found, rest = read(wire, cut, max_octets=max_octets)
        assert (found, rest) == (refusal, b"")
        if refusal is None:
            assert content == b".a\r\nb\r\n"


def test_too_large_and_bare_is_too_large_whichever_comes_first() -> None:
    for wire in (b"\n" + b"x" * 20 + b"\r\n.\r\n", b"x" * 20 + b"\n\r\n.\r\n"):
        for cut in range(len(wire) + 1):
            assert read(wire, cut, max_octets=10)[1] is reply.CONTENT_TOO_LARGE


def test_a_line_may_be_of_any_length_and_is_passed_on_as_it_comes() -> None:
    reader = ContentReader(BareNewlines.REJECT, 0)

    for _ in range(50):
        assert reader.feed(b"x" * 65536) == b"x" * 65536
    assert reader.feed(b"\r\n.\r\n") == b"\r\n"
    assert reader.is_ended


@pytest.mark.parametrize("held", [b"\r", b"\r\n", b"\r\n.", b"\r\n.\r"])
def test_only_what_may_be_the_end_is_held_back(held: bytes) -> None:
    reader = ContentReader(BareNewlines.REJECT, 0)

    assert reader.feed(b"x" + held) == b"x"
