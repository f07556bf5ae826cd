"""Contents know their size in wire form."""

from __future__ import annotations

from kms.domain.content import FileContent, InlineContent


def test_a_content_in_memory_is_as_large_as_its_data() -> None:
    assert InlineContent(b"A: b\r\n\r\nx\r\n").octets == 11


def test_a_content_in_a_file_is_as_large_as_it_was_written() -> None:
    assert FileContent("/spool/x", 70_000).octets == 70_000
