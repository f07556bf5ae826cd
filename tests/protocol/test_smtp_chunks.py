import itertools

import pytest

from kms.domain import reply
from kms.domain.reply import Reply
from kms.protocol.smtp_chunks import ChunkReader, DiscardedChunk
from kms.protocol.smtp_content import BareNewlines


def read(
    *chunks: bytes, bare: BareNewlines = BareNewlines.REJECT, max_octets: int = 0, step: int = 0
) -> tuple[bytes, Reply | None]:
    """Read a content of these chunks, `step` octets at a time; give it, and the refusal."""
    reader = ChunkReader(bare, max_octets)
    content = b""
    for number, chunk in enumerate(chunks, 1):
        reader.begin(len(chunk), number == len(chunks))
        edges = [*range(0, len(chunk), step or len(chunk) or 1), len(chunk)]
        for start, end in itertools.pairwise(edges):
            assert not reader.is_ended
            content += reader.feed(chunk[start:end])
        if not chunk:
            content += reader.feed(b"")
        assert reader.is_ended
        if reader.refusal is not None:
            break
    return content, reader.refusal


@pytest.mark.parametrize(
    ("chunks", "content"),
    [
        ([b""], b""),
        ([b"", b""], b""),
        ([b"a\r\n"], b"a\r\n"),
        ([b"a"], b"a\r\n"),
        ([b"a\r\n", b""], b"a\r\n"),
        ([b"a", b""], b"a\r\n"),
        ([b"a\r", b"\nb\r\n"], b"a\r\nb\r\n"),
        ([b"a\r", b"", b"\n"], b"a\r\n"),
        ([b".\r\n..\r\n", b".\r\n"], b".\r\n..\r\n.\r\n"),
        ([b"\0\xff", b"\0"], b"\0\xff\0\r\n"),
    ],
)
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_content_is_what_its_chunks_are_and_its_last_line_has_an_end(
    chunks: list[bytes], content: bytes, step: int
) -> None:
    assert read(*chunks, step=step) == (content, None)


@pytest.mark.parametrize(
    ("chunks", "normal"),
    [
        ([b"a\nb"], b"a\r\nb\r\n"),
        ([b"a\r"], b"a\r\n"),
        ([b"a\r", b""], b"a\r\n"),
        ([b"a\r", b"b\r\n"], b"a\r\nb\r\n"),
        ([b"a\r", b"\r\n"], b"a\r\n\r\n"),
        ([b"\n", b"a\r\n"], b"\r\na\r\n"),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_a_bare_newline_refuses_or_becomes_crlf_also_between_chunks(
    chunks: list[bytes], normal: bytes, step: int
) -> None:
    assert read(*chunks, step=step)[1] is reply.BARE_NEWLINE
    assert read(*chunks, bare=BareNewlines.NORMALISE, step=step) == (normal, None)


@pytest.mark.parametrize(("max_octets", "refusal"), [(0, None), (6, None), (5, reply.CONTENT_TOO_LARGE)])
def test_the_size_is_that_of_all_chunks_without_the_end_that_was_added(
    max_octets: int, refusal: Reply | None
) -> None:
    for step in (0, 1, 2):
        assert read(b"abc", b"def", max_octets=max_octets, step=step)[1] is refusal


def test_nothing_is_given_once_the_content_is_refused() -> None:
    reader = ChunkReader(BareNewlines.REJECT, 0)
    reader.begin(100, True)

    assert reader.feed(b"good\r\n") == b"good\r\n"
    assert reader.feed(b"bad\n") == b""
    assert reader.feed(b"x" * 90) == b""
    assert reader.is_ended


def test_a_discarded_chunk_gives_nothing_and_knows_its_end() -> None:
    chunk = DiscardedChunk(3, True, reply.MAIL_FIRST)

    assert chunk.feed(b"ab") == b""
    assert (chunk.is_ended, chunk.wanted_octets) == (False, 1)
    assert chunk.feed(b"c") == b""
    assert chunk.is_ended
