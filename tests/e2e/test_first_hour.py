"""`make run` in a fresh copy, and then, word for word, what it prints."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.e2e.peers.kms_server import CHECKOUT
from tests.e2e.peers.process import Program, is_listening, run, wait_until
from tests.e2e.test_starting import NOT_COPIED


@pytest.fixture(scope="module")
def copy(ground: Path) -> Iterator[tuple[Path, Program]]:
    """A copy of the source in which `make run` serves."""
    folder = ground / "clone"
    shutil.copytree(CHECKOUT, folder, ignore=NOT_COPIED)
    assert not is_listening("127.0.0.1", 2525), "another server uses the ports of the shipped etc/kms.ini"
    program = Program(["make", "run", f"PYTHON={sys.executable}"], ground / "make-run", cwd=folder)
    try:
        program.wait_for_port("127.0.0.1", 2525, seconds=300)
        program.wait_for_port("127.0.0.1", 2110)
        yield folder, program
    finally:
        server = run(["pgrep", "-P", str(program.pid)]).stdout.split()
        for pid in server:
            run(["kill", pid.decode()])
        wait_until(lambda: not program.is_running() or not server, seconds=20)
        program.stop()


@pytest.mark.timeout(600)
def test_what_make_run_prints_works_word_for_word(copy: tuple[Path, Program]) -> None:
    folder, program = copy
    printed = re.findall(r"^ +(\.venv/bin/\S.*)$", program.output(), re.MULTILINE)
    assert len(printed) == 6, program.output()

    def type_in(line: str) -> CompletedProcess[bytes]:
        return run(line.split(), cwd=folder)

    to_local, refused, read, taken, windows, status = printed
    assert b"S: 250 2.0.0" in type_in(to_local).stdout
    assert b"S: 550 5.7.1" in type_in(refused).stdout
    wait_until(lambda: b"Hello from kms." in type_in(read).stdout, what="the message can be read")
    result = type_in(taken)
    assert b"S: 250 2.0.0" in result.stdout, result.stdout + result.stderr
    assert b"127.0.0.1" in type_in(windows).stdout
    assert type_in(status).returncode == 0


def test_a_second_start_makes_no_second_account(copy: tuple[Path, Program]) -> None:
    folder, _ = copy
    before = (folder / "var/demo-password").read_text()
    assert run([folder / "etc/demo/start"]).returncode == 0
    assert (folder / "var/demo-password").read_text() == before
