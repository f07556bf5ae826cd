from __future__ import annotations

import errno
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kms.domain.content import INLINE_LIMIT_OCTETS, FileContent, InlineContent
from kms.service.incoming import _PIECE_OCTETS, BodyFiles, IncomingContent
from kms.store.bodies import BodyWriter, body_path
from tests.support.log_events import logged
from tests.support.results import result_of
from tests.support.smtp_parts import InlinePool, InlineReactor

AT = datetime(2026, 11, 24, tzinfo=UTC)
HEADER = b"Subject: hello\r\nReceived: x\r\n"
LINE = b"x" * 998 + b"\r\n"


class Rig:
    """One incoming message, its files, and the prefixes that were made."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.pool = InlinePool()
        pool: Any = self.pool
        reactor: Any = InlineReactor()
        self.files = BodyFiles(reactor, pool, lambda number: BodyWriter(spool, number))
        self.content = IncomingContent(self.files, 1234, AT)
        self.headers: list[bytes] = []

    def make_prefix(self, header: bytes) -> bytes:
        self.headers.append(header)
        return b"Trace: 1\r\n"

    def take(self, data: bytes) -> Any:
        return self.content.take(data, self.make_prefix)

    def store(self) -> Any:
        return result_of(self.content.store(self.make_prefix))

    def found(self) -> list[Path]:
        return [path for path in self.spool.rglob("*") if path.is_file()]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_small_content_stays_in_memory(rig: Rig) -> None:
    assert rig.content.is_empty
    assert rig.take(HEADER) is None
    assert not rig.content.is_empty
    assert rig.take(b"\r\nbody\r\n") is None
    assert rig.store() == InlineContent(b"Trace: 1\r\n" + HEADER + b"\r\nbody\r\n")
    assert rig.headers == [HEADER]
    assert rig.pool.calls == 0


def test_up_to_the_border_it_is_small(rig: Rig) -> None:
    assert rig.take(b"x" * INLINE_LIMIT_OCTETS) is None
    assert isinstance(rig.store(), InlineContent)


def test_a_large_content_goes_to_its_body_file_behind_its_prefix(rig: Rig) -> None:
    parts = [HEADER + b"\r\n", *[LINE * 20] * 30, b"the end\r\n"]
    for part in parts:
        written = rig.take(part)
        assert written is None or result_of(written) is None
    stored = rig.store()
    whole = b"Trace: 1\r\n" + b"".join(parts)
    assert isinstance(stored, FileContent)
    assert stored.path == str(body_path(rig.spool, 1234))
    assert stored.octets == len(whole)
    assert Path(stored.path).read_bytes() == whole
    assert rig.headers == [HEADER]


def test_never_the_whole_of_a_large_content_is_in_memory(rig: Rig) -> None:
    for _ in range(100):
        rig.take(LINE * 30)
        assert sum(map(len, rig.content._chunks)) <= _PIECE_OCTETS
    assert rig.pool.calls == pytest.approx(100 * 30_000 / _PIECE_OCTETS, abs=2)


def test_one_piece_is_written_while_the_next_gathers_and_then_the_client_waits(rig: Rig) -> None:
    rig.pool.is_held = True
    assert rig.take(LINE * 100) is None
    assert rig.take(LINE * 100) is None
    waiting = rig.take(LINE * 200)
    assert not waiting.called
    rig.pool.is_held = False
    rig.pool.release()
    assert result_of(waiting) is None
    assert Path(rig.store().path).read_bytes() == b"Trace: 1\r\n" + LINE * 400


def test_whoever_waits_for_room_learns_that_a_write_failed(rig: Rig) -> None:
    rig.pool.is_held = True
    rig.take(LINE * 100)
    waiting = rig.take(LINE * 300)
    rig.pool.is_held = False
    rig.pool.failures.append(OSError(errno.ENOSPC, "No space left on device"))
    with logged("kms.bodies"):
        rig.pool.release()
    assert result_of(waiting) is None
    assert rig.content.has_failed
    assert rig.found() == []


def test_the_prefix_of_a_large_content_is_made_of_as_much_header_as_is_known(rig: Rig) -> None:
    rig.take(HEADER)
    rig.take(b"X: " + b"x" * INLINE_LIMIT_OCTETS)
    [header] = rig.headers
    assert header.startswith(HEADER)
    assert rig.content.scanner.received_count == 1


@pytest.mark.parametrize(
    ("parts", "is_8bit"),
    [([b"a", b"b"], False), ([b"a", b"\xff"], True), ([b"\x80", b"a"], True), ([b"\x7f\0"], False)],
)
def test_octets_above_127_are_noticed(rig: Rig, parts: list[bytes], is_8bit: bool) -> None:
    for part in parts:
        rig.take(part)
    assert rig.content.is_8bit is is_8bit


def test_what_is_discarded_leaves_no_file(rig: Rig) -> None:
    rig.take(LINE * 100)
    assert len(rig.found()) == 1
    rig.content.discard()
    rig.content.discard()
    assert rig.found() == []


def test_a_small_content_is_discarded_without_the_disk(rig: Rig) -> None:
    rig.take(b"small")
    rig.content.discard()
    assert rig.pool.calls == 0


def test_what_is_discarded_while_a_write_is_under_way_leaves_no_file(rig: Rig) -> None:
    rig.pool.is_held = True
    rig.take(LINE * 100)
    rig.content.discard()
    rig.pool.release()
    assert rig.found() == []


def test_what_is_discarded_while_it_is_finished_leaves_no_file(rig: Rig) -> None:
    rig.take(LINE * 100)
    rig.store()
    rig.content.discard()
    assert rig.found() == []


def test_a_write_that_fails_is_told_and_leaves_no_file(rig: Rig) -> None:
    rig.take(LINE * 100)
    rig.pool.failures.append(OSError(errno.ENOSPC, "No space left on device"))
    with logged("kms.bodies") as told:
        assert rig.take(LINE * 300) is None
    assert rig.content.has_failed
    assert rig.found() == []
    assert len(told) == 1
    assert "cannot be written" in told[0]


def test_a_body_file_that_cannot_be_made_leaves_nothing_to_remove(rig: Rig) -> None:
    body_path(rig.spool, 1234).parent.write_bytes(b"in the way")
    with logged("kms.bodies") as told:
        rig.take(LINE * 100)
    assert rig.content.has_failed
    assert len(told) == 1


def test_a_file_that_cannot_be_removed_is_told(rig: Rig) -> None:
    rig.take(LINE * 100)
    rig.pool.failures.append(RuntimeError("no thread"))
    with logged("kms.bodies") as told:
        rig.content.discard()
    assert len(told) == 1
    assert "cannot be removed" in told[0]
