from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from kms.service.clock import ClockOf
from kms.service.line_log import LineLog, escape
from tests.support.log_events import logged


class Logs:
    """A log with its clock."""

    def __init__(self, path: str) -> None:
        self.reactor = Clock()
        self.stamped: list[int] = []
        self.log = LineLog(path, ClockOf(self.reactor), self.stamp)

    def stamp(self, second: int) -> str:
        self.stamped.append(second)
        return f"{second} "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "mail.log"


@pytest.fixture
def logs(path: Path) -> Logs:
    logs = Logs(str(path))
    logs.log.open()
    return logs


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain text, <a@b.example>; 100 %", "plain text, <a@b.example>; 100 %"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("bell\a and \x1b[31m", "bell\\x07 and \\x1b[31m"),
        ("k\u00e4se", "k\\xe4se"),
        ("\u2028", "\\u2028"),
        ("\udc80", "\\udc80"),
        ("", ""),
    ],
)
def test_text_from_outside_cannot_forge_a_line(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_the_folder_is_made_and_only_the_owner_may_read_the_log(logs: Logs, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0


def test_lines_are_gathered_and_written_together(logs: Logs, path: Path) -> None:
    logs.log.write("one")
    logs.log.write("two")
    assert path.read_bytes() == b""
    logs.reactor.advance(0.05)
    assert path.read_bytes() == b"0 one\n0 two\n"
    logs.log.write("three")
    logs.reactor.advance(0.05)
    assert path.read_bytes().endswith(b"0 three\n")


def test_an_instant_is_printed_once_for_all_lines_of_its_second(logs: Logs) -> None:
    for seconds in (0, 0.4, 0.4, 0.4):
        logs.reactor.advance(seconds)
        logs.log.write("line")
    assert logs.stamped == [0, 1]


def test_a_thousand_lines_do_not_wait(logs: Logs, path: Path) -> None:
    for number in range(1000):
        logs.log.write(str(number))
    assert path.read_bytes().count(b"\n") == 1000
    assert not logs.reactor.getDelayedCalls()


def test_what_is_not_ascii_is_escaped_at_last(logs: Logs, path: Path) -> None:
    logs.log.write("k\u00e4se")
    logs.log.flush()
    assert path.read_bytes() == b"0 k\\xe4se\n"


def test_after_a_rotation_lines_go_to_the_new_file(logs: Logs, path: Path) -> None:
    logs.log.write("before")
    path.rename(path.with_suffix(".1"))
    logs.log.write("at the border")
    logs.log.open()
    logs.log.write("after")
    logs.log.close()
    assert path.with_suffix(".1").read_bytes() == b"0 before\n0 at the border\n"
    assert path.read_bytes() == b"0 after\n"


def test_where_the_new_file_cannot_be_opened_the_old_one_stays_in_use(logs: Logs, path: Path) -> None:
    path.rename(path.with_suffix(".1"))
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        logs.log.open()
    logs.log.write("not lost")
    logs.log.close()
    assert path.with_suffix(".1").read_bytes() == b"0 not lost\n"


def test_a_full_disk_loses_lines_and_is_told_once(logs: Logs) -> None:
    logs = Logs("/dev/full")
    with logged("kms.log") as told:
        logs.log.open()
        for _ in range(3):
            logs.log.write("lost")
            logs.log.flush()
        logs.log.close()
    assert told == ["/dev/full cannot be written: [Errno 28] No space left on device"]


def test_a_log_that_is_not_open_loses_lines_and_stops_nothing(path: Path) -> None:
    logs = Logs(str(path))
    logs.log.write("lost")
    logs.log.close()
    logs.log.close()
    assert not path.exists()


def test_nothing_is_written_where_nothing_was_said(logs: Logs, path: Path) -> None:
    logs.log.flush()
    logs.log.close()
    assert path.read_bytes() == b""


def test_a_log_can_go_to_the_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    logs = Logs("stdout")
    logs.log.open()
    logs.log.write("heard")
    logs.log.close()
    print("still open", flush=True)
    assert capfd.readouterr().out == "0 heard\nstill open\n"


def test_a_log_can_go_to_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, journals = socket.socketpair()

    class Journal(socket.socket):
        def connect(self, address: object) -> None:
            assert address == "/run/systemd/journal/stdout"

    monkeypatch.setattr("kms.service.line_log.socket.socket", lambda *kind: Journal(fileno=ours.detach()))
    logs = Logs("journal")
    logs.log.open()
    logs.log.write("heard")
    logs.log.close()
    with journals:
        assert journals.makefile("rb").read() == b"kms\n\n6\n0\n0\n0\n0\n0 heard\n"


def test_the_file_is_not_handed_to_child_processes(logs: Logs, path: Path) -> None:
    names = {name: os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
    descriptors = [int(name) for name, target in names.items() if target == str(path)]
    assert descriptors
    assert not any(os.get_inheritable(descriptor) for descriptor in descriptors)
    logs.log.close()
