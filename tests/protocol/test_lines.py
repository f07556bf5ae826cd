import pytest

from kms.protocol.lines import (
    MAX_DISCARDED_OCTETS,
    LineBuffer,
    LineFault,
)


def buffer_of(*pieces: bytes) -> LineBuffer:
    buffer = LineBuffer()
    for piece in pieces:
        buffer.append(piece)
    return buffer


def test_lines_come_one_by_one_without_their_ends() -> None:
    buffer = buffer_of(b"one\r\n\r\ntw", b"o\r", b"\nthree")

    assert [buffer.next_line(10) for _ in range(4)] == [b"one", b"", b"two", None]
    assert buffer.octets == 5
    assert buffer.take(100) == b"three"
    assert buffer.octets == 0
    assert buffer.take(100) == b""


def test_octets_are_taken_by_number_and_what_is_behind_them_stays() -> None:
    buffer = buffer_of(b"BDAT 7\r\none\r\ntwoNOOP\r\n")

    assert buffer.next_line(10) == b"BDAT 7"
    assert buffer.take(0) == b""
    assert [buffer.take(5), buffer.take(3)] == [b"one\r\n", b"two"]
    assert buffer.next_line(10) == b"NOOP"
    assert buffer.take(5) == b""


def test_a_bare_cr_or_lf_ends_no_line() -> None:
    assert buffer_of(b"a\nb\rc\n\rd\r\n").next_line(100) == b"a\nb\rc\n\rd"


def test_a_line_at_the_limit_is_given_and_one_above_it_is_not() -> None:
    buffer = buffer_of(b"12345\r\n123456\r\nnext\r\n")

    assert buffer.next_line(5) == b"12345"
    assert buffer.next_line(5) is LineFault.TOO_LONG
    assert buffer.next_line(5) == b"next"


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_a_long_line_is_thrown_away_while_it_is_read(step: int) -> None:
    buffer = LineBuffer()
    data = b"x" * 100 + b"\ry" + b"z" * 50 + b"\r\nnext\r\n"
    given = []
    for start in range(0, len(data), step):
        buffer.append(data[start : start + step])
        assert buffer.octets <= 5 + 1 + step
        while (line := buffer.next_line(5)) is not None:
            given.append(line)

    assert given == [LineFault.TOO_LONG, b"next"]


@pytest.mark.parametrize("step", [1000, 65536, MAX_DISCARDED_OCTETS + 100])
@pytest.mark.parametrize(
    ("octets", "fault"),
    [(MAX_DISCARDED_OCTETS, LineFault.TOO_LONG), (MAX_DISCARDED_OCTETS + 1, LineFault.NO_END)],
)
def test_a_line_of_more_than_a_mebibyte_is_no_line(step: int, octets: int, fault: LineFault) -> None:
    buffer = LineBuffer()
    data = b"x" * octets + b"\r\n"
    given = None
    for start in range(0, len(data), step):
        buffer.append(data[start : start + step])
        given = given or buffer.next_line(2048)

    assert given is fault


def test_an_endless_line_is_a_fault_before_its_end_comes() -> None:
    assert buffer_of(b"x" * (MAX_DISCARDED_OCTETS + 1)).next_line(2048) is LineFault.NO_END


def test_what_is_cleared_is_forgotten_and_so_is_the_long_line_in_progress() -> None:
    buffer = buffer_of(b"x" * 100)
    assert buffer.next_line(5) is None
    buffer.append(b"left")

    buffer.clear()
    buffer.append(b"new\r\n")

    assert buffer.next_line(5) == b"new"


def test_a_line_waits_where_its_end_has_come_and_it_was_not_taken() -> None:
    buffer = buffer_of(b"one\r\ntwo\r")
    assert buffer.has_line
    buffer.next_line(10)
    assert not buffer.has_line
    buffer.append(b"\n")
    assert buffer.has_line
