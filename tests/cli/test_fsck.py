"""`kmsctl queue fsck` where no server runs, and what it says of one that does."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from kms.cli import failure
from kms.cli.session import Session
from tests.cli.test_main import Kmsctl, add_joe, kmsctl

__all__ = ["kmsctl"]

ROWS = "1 rows of the table content belong to no message"


def damage(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "var" / "kms.sqlite3")) as connection, connection:
        connection.execute("INSERT INTO content VALUES (5, x'41')")


def test_a_whole_store_is_told_to_be_whole(kmsctl: Kmsctl) -> None:
    add_joe(kmsctl)
    answer = kmsctl("queue", "fsck")
    assert (answer.status, answer.out) == (0, "nothing is wrong\n")


def test_a_fault_is_told_and_then_repaired(kmsctl: Kmsctl, tmp_path: Path) -> None:
    add_joe(kmsctl)
    damage(tmp_path)
    found = kmsctl("queue", "fsck")
    assert found.status == failure.BAD_DATA
    assert found.out == f"{ROWS}\n"
    repaired = kmsctl("queue", "fsck", "--repair")
    assert repaired.status == 0
    assert repaired.out.startswith(f"{ROWS}\nrepaired: rows of content were moved to ")
    assert repaired.out.endswith("nothing is wrong any more\n")
    assert kmsctl("queue", "fsck", "--json").json == {"is_offline": True, "faults": []}


class RunningServer:
    def check_queue(self) -> dict[str, Any]:
        return {"is_offline": False, "faults": []}


@contextmanager
def running(_: Session) -> Iterator[RunningServer]:
    yield RunningServer()


def test_a_running_server_is_asked_and_never_repaired(
    kmsctl: Kmsctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "administration", running)
    answer = kmsctl("queue", "fsck")
    assert answer.status == 0
    assert "the server is running" in answer.out
    refused = kmsctl("queue", "fsck", "--repair")
    assert refused.status == failure.TRY_AGAIN
    assert "stop it, then repair" in refused.err
