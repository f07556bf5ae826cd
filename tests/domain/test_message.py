"""Headers: where they end, what stands in them, and how little of them is kept."""

from __future__ import annotations

import pytest

from kms.domain.message import (
    MAX_HEADER_OCTETS,
    HeaderScanner,
    count_received,
    find_fields,
    has_field,
    split_header,
)

MESSAGE = b"Received: from a\r\n\tby b\r\nSubject: x\r\n\r\nReceived: not a field\r\n\r\nend\r\n"
HEADER = b"Received: from a\r\n\tby b\r\nSubject: x\r\n"


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (MESSAGE, HEADER),
        (b"\r\nbody\r\n", b""),
        (b"\r\n\r\nbody\r\n", b""),
        (b"", b""),
        (b"A: b\r\n", b"A: b\r\n"),
        (b"A: b", b"A: b"),
        (b"A: b\r\n\r\n", b"A: b\r\n"),
        (b"A: b\n\nno end\r\n\r\nbody", b"A: b\n\nno end\r\n"),
    ],
)
def test_the_header_ends_before_the_first_empty_line(data: bytes, header: bytes) -> None:
    found, rest = split_header(data)
    assert found == header
    assert found + rest == data
    assert rest == b"" or rest.startswith(b"\r\n")


@pytest.mark.parametrize(
    ("header", "count"),
    [
        (b"", 0),
        (HEADER, 1),
        (b"RECEIVED: x\r\nreceived : x\r\nReceived\t:x\r\n", 3),
        (b"X-Received: x\r\nReceived-SPF: x\r\nSubject: a\r\n Received: x\r\n", 0),
        (b"Received: x\r\n" * 150, 150),
    ],
)
def test_received_fields_are_counted(header: bytes, count: int) -> None:
    assert count_received(header) == count


class TestFields:
    HEADER = (
        b"Date: Mon, 1 Jan 2026\r\nX-Long: one\r\n\ttwo \r\n  three \r\nSUBJECT : \r\nx-long:\r\n\r\nx"
        b"Delivered-To: a@x.test\r\n"
    )

    def test_are_found_without_regard_to_case(self) -> None:
        assert has_field(self.HEADER, b"date")
        assert has_field(self.HEADER, b"Subject")
        assert not has_field(self.HEADER, b"ate")
        assert not has_field(self.HEADER, b"Message-ID")
        assert not has_field(self.HEADER, b"Dat.")

    def test_do_not_hide_in_folded_lines(self) -> None:
        assert not has_field(b"Subject: a\r\n Date: b\r\n", b"date")

    def test_have_values_unfolded_and_in_order(self) -> None:
        assert find_fields(self.HEADER, b"X-Long") == [b"one\ttwo   three", b""]
        assert find_fields(self.HEADER, b"date") == [b"Mon, 1 Jan 2026"]
        assert find_fields(self.HEADER, b"none") == []

    def test_may_stand_at_the_end_without_a_line_end(self) -> None:
        assert find_fields(b"A: b", b"a") == [b"b"]

    def test_keep_octets_above_127(self) -> None:
        assert find_fields("Subject: ü\r\n".encode(), b"subject") == ["ü".encode()]


class TestHeaderScanner:
    @pytest.mark.parametrize("data", [MESSAGE, b"\r\nA: b\r\n\r\n", b"A: b\r\n\r\n", b"A: b\r\n\r\n\r\n\r\n"])
    def test_finds_the_header_however_the_content_is_split(self, data: bytes) -> None:
        for first in range(len(data) + 1):
            for second in range(first, len(data) + 1):
                scanner = HeaderScanner()
                for chunk in (data[:first], data[first:second], data[second:]):
                    scanner.feed(chunk)
                assert scanner.is_complete
                assert not scanner.is_cut
                assert scanner.header == split_header(data)[0]
                assert scanner.received_count == count_received(scanner.header)

    def test_a_content_without_an_empty_line_is_all_header(self) -> None:
        scanner = HeaderScanner()
        scanner.feed(b"Received: a\r\n")
        scanner.feed(b"Received: b\r\n")
        assert not scanner.is_complete
        assert scanner.header == b"Received: a\r\nReceived: b\r\n"
        assert scanner.received_count == 2

    def test_whole_lines_within_the_limit_are_kept_of_a_longer_header(self) -> None:
        scanner = HeaderScanner()
        line = b"Received: " + b"x" * 88 + b"\r\n"
        for _ in range(MAX_HEADER_OCTETS // 100 + 100):
            scanner.feed(line)
        assert scanner.is_complete
        assert scanner.is_cut
        assert scanner.header == line * (MAX_HEADER_OCTETS // 100)

    def test_one_huge_chunk_is_no_trouble(self) -> None:
        scanner = HeaderScanner()
        scanner.feed(b"A: b\r\n" * MAX_HEADER_OCTETS)
        assert scanner.is_cut
        assert len(scanner.header) <= MAX_HEADER_OCTETS
        assert scanner.header.endswith(b"A: b\r\n")

    def test_a_line_longer_than_the_limit_is_not_kept(self) -> None:
        scanner = HeaderScanner()
        scanner.feed(b"Subject: " + b"x" * (MAX_HEADER_OCTETS + 1))
        assert scanner.is_cut
        assert scanner.header == b""

    @pytest.mark.parametrize("over", [-1, 0, 1, 2, 3])
    def test_an_end_near_the_limit_is_seen(self, over: int) -> None:
        header = b"A: b\r\n" + b"C: " + b"x" * (MAX_HEADER_OCTETS + over - 11) + b"\r\n"
        assert len(header) == MAX_HEADER_OCTETS + over
        scanner = HeaderScanner()
        scanner.feed(header + b"\r\nbody")
        assert scanner.is_complete
        assert scanner.is_cut is (over > 0)
        assert scanner.header == (b"A: b\r\n" if over > 0 else header)
