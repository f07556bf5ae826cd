from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.task import Clock

from kms.service.clock import ClockOf
from kms.service.free_space import FreeSpace


def test_the_file_system_says_how_much_room_there_is(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    octets = FreeSpace(tmp_path, ClockOf(Clock())).octets()
    assert 0 < octets <= found.f_blocks * found.f_frsize


def test_a_file_system_that_does_not_answer_has_no_room(tmp_path: Path) -> None:
    assert FreeSpace(tmp_path / "missing", ClockOf(Clock())).octets() == 0


def test_it_is_asked_at_most_once_a_second(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    reactor = Clock()
    space = FreeSpace(folder, ClockOf(reactor))
    assert space.octets() == 0
    folder.mkdir()
    reactor.advance(0.9)
    assert space.octets() == 0
    reactor.advance(0.1)
    assert space.octets() > 0
    folder.rmdir()
    assert space.octets() > 0
    reactor.advance(1)
    assert space.octets() == 0
