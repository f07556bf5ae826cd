"""A database that does not open: 69 with what to do, and nothing of the mail is touched (promise 11)."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import CHECKOUT, Kms
from tests.e2e.peers.process import is_listening, run, wait_until

ALICE = "alice@example.test"
_PAGE = 8192


def _scribble(database: Path) -> None:
    data, chance = bytearray(database.read_bytes()), random.Random(1)
    for page in range(1, len(data) // _PAGE):
        data[page * _PAGE : page * _PAGE + 200] = chance.randbytes(200)
    database.write_bytes(data)


def _rename(database: Path) -> None:
    database.rename(database.with_name("lost"))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "pages of random octets": _scribble,
    "no database": lambda database: database.write_bytes(os.urandom(100_000)),
    "a header of zeros": lambda database: database.write_bytes(bytes(_PAGE) + database.read_bytes()[_PAGE:]),
    "cut": lambda database: os.truncate(database, 3 * _PAGE),
    "cut within a page": lambda database: os.truncate(database, 5 * _PAGE + 77),
    "empty": lambda database: os.truncate(database, 0),
    "missing": _rename,
}


def contents(folder: Path) -> dict[Path, bytes]:
    """All files that hold mail or what is known of it: no logs, no lock, no leavings of SQLite without content."""
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {
        path: data
        for path, data in found.items()
        if "log" not in path.relative_to(folder).parts
        and path.name not in ("lock", "kms.sqlite3-shm")
        and data
    }


def deliver_and_queue(kms: Kms, clients: Clients) -> None:
    """One message in a mailbox, a large one in the queue for a domain that is not there."""
    assert clients.swaks(kms.smtp, ALICE).status == 0
    wait_until(lambda: len(kms.messages(ALICE)) == 1, what=kms.everything)
    code = "from kms.cli.sendmail import main; main()"
    mail = b"Subject: large\n\n" + b"x" * 70 * 1000 + b"\n"
    sent = run(
        [kms.python, "-c", code, "-C", kms.configuration, "-i", "x@far.test"], stdin=mail, cwd=CHECKOUT
    )
    assert sent.returncode == 0, sent.stderr
    assert kms.queue_length() == 1


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_database_ends_the_start_with_69_and_leaves_every_file_as_it_is(
    start_kms: StartKms, clients: Clients, damage: Callable[[Path], object]
) -> None:
    kms = start_kms({"queue": {"offline": "yes"}})
    deliver_and_queue(kms, clients)
    assert kms.stop() in (0, -15)
    database = kms.data_dir / "kms.sqlite3"
    sound = database.read_bytes()
    damage(database)
    before = contents(kms.data_dir)
    for _ in range(2):  # what the first start did must not help the second
        result = run(kms.command(), cwd=kms.cwd, environment=kms.environment())
        assert result.returncode == 69, (result.stdout + result.stderr).decode()
        (line,) = result.stderr.decode().splitlines()
        assert str(database) in line
        assert "restore" in line
        assert "backup" in line
        assert contents(kms.data_dir) == before
    assert not is_listening(kms.host, kms.smtp)
    with pytest.raises(AssertionError, match=r"user list: 69\n.*restore"):
        kms.ctl("user", "list")
    assert contents(kms.data_dir) == before
    database.write_bytes(sound)
    kms.start()
    assert len(kms.messages(ALICE)) == 1
    assert kms.queue_length() == 1
