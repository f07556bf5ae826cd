from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kms.cli import failure
from kms.cli.main import run
from kms.policy.block import Block, BlockKind
from kms.store.client_ledger import ClientEvent, count_unknown_recipients, put_blocks
from kms.store.schema import from_us, open_database, to_us
from tests.support.queue_entries import count_messages

CLIENT = "192.0.2.1"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose store has one client with one block."""
    for folder in ("etc", "reports"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "etc" / "kms.ini"
    path.write_text("[domains]\nlocal = a.test\n")
    assert run(["--config", str(path), "user", "list"]) == 0
    with closing(open_database(tmp_path / "var" / "kms.sqlite3")) as connection:
        now = now_of(connection)
        block = Block(CLIENT, BlockKind.HARVEST, now, now + timedelta(hours=1), "too many unknown recipients")
        put_blocks(connection, [block])
        count_messages(connection, [(1, CLIENT, to_us(now)), (2, CLIENT, to_us(now))])
        count_unknown_recipients(connection, [ClientEvent(CLIENT, now)])
    return path


def now_of(connection: Any) -> datetime:
    seconds = connection.execute("SELECT unixepoch()").fetchone()[0]
    return from_us(int(seconds) * 1_000_000).astimezone(UTC)


def kmsctl(config: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(["--config", str(config), *arguments]) == 0
    return capsys.readouterr().out


def test_blocks_are_listed_and_lifted_without_a_server(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, line = kmsctl(config, capsys, "blocks", "list").splitlines()
    assert head.split() == ["CLIENT", "KIND", "ACCOUNT", "SINCE", "UNTIL", "WHY"]
    assert line.split()[:2] == [CLIENT, "harvest"]
    assert (
        json.loads(kmsctl(config, capsys, "blocks", "list", "--json"))[0]["why"]
        == "too many unknown recipients"
    )
    assert kmsctl(config, capsys, "blocks", "lift", CLIENT) == "1 lifted\n"
    assert kmsctl(config, capsys, "blocks", "list") == ""


def test_the_counters_of_an_address_are_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = kmsctl(config, capsys, "limits", "show", CLIENT)
    assert "       2  messages within the last hour" in text
    assert "harvest" in text
    shown = json.loads(kmsctl(config, capsys, "--json", "limits", "show", "::ffff:192.0.2.1"))
    assert (shown["client"], shown["messages"], shown["unknown_recipients"]) == (CLIENT, 2, 1)
    assert "harvest" not in kmsctl(config, capsys, "limits", "show", "2001:db8::1")


def test_what_is_no_address_is_refused(config: Path) -> None:
    assert run(["--config", str(config), "blocks", "lift", "home"]) == failure.BAD_DATA
