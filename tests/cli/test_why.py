"""`kmsctl why` on the store, and `kmsctl explain` as it is printed."""

from __future__ import annotations

import base64
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kms.cli import failure
from kms.cli.online import OnlineServer
from kms.cli.session import Session
from kms.domain.decision import Record, Stage, format_decision_id
from kms.domain.message_life import LifeEvent
from kms.store import decisions, message_life
from kms.store.schema import open_database
from tests.cli.test_main import Kmsctl, add_joe, kmsctl

__all__ = ["kmsctl"]

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NUMBER = 1_795_521_600_000_000


@pytest.fixture
def store(kmsctl: Kmsctl, tmp_path: Path) -> Path:
    add_joe(kmsctl)
    return tmp_path / "var" / "kms.sqlite3"


def test_a_decision_is_told_in_plain_words(kmsctl: Kmsctl, store: Path) -> None:
    facts: dict[str, str | int | None] = {
        "helo": "x.test",
        "from": "",
        "to": "b@far.test",
        "in_relay_group": "no",
    }
    record = Record(7, NOW, "192.0.2.1", Stage.RCPT, "nobody knows the client", "550 5.7.1 No", facts)
    with closing(open_database(store)) as connection:
        decisions.add(connection, [record])
    assert kmsctl("why", record.decision_id).out.splitlines() == [
        f"{record.decision_id}: 2026-11-24T12:00:00+00:00, RCPT",
        "  client: 192.0.2.1, helo x.test, from <>, to b@far.test",
        "  answer: 550 5.7.1 No",
        "  rule: nobody knows the client",
        "  in relay group: no",
    ]
    assert kmsctl("--json", "why", record.decision_id).json["decision"]["rule"] == "nobody knows the client"


def test_a_message_is_told_from_its_acceptance_to_its_end(kmsctl: Kmsctl, store: Path) -> None:
    accepted = (
        '{"client":"192.0.2.1","helo":"x.test","login":null,"protocol":"ESMTP","from":"a@b.test",'
        '"decisions":[{"stage":"RCPT","about":"joe@a.test","rule":"he exists"}]}'
    )
    tried = (
        '{"outcomes":[{"to":"joe@a.test","status":"deferred","where":"local","reply":"451 4.3.0 Later"}],'
        '"next_try":"2026-11-24T12:30:00+00:00","reports":["ABC"]}'
    )
    later = NOW.replace(minute=1)
    with closing(open_database(store)) as connection:
        message_life.add(connection, [(NUMBER, NOW, LifeEvent.ACCEPTED, accepted)])
        message_life.add(connection, [(NUMBER, later, LifeEvent.ATTEMPTED, tried)])
        message_life.add(connection, [(NUMBER + 1, later, LifeEvent.ACCEPTED, '{"report_about":"ABC"}')])
    assert kmsctl("why", f"{NUMBER:X}").out.splitlines() == [
        f"{NUMBER:X}:",
        "2026-11-24T12:00:00+00:00 accepted from 192.0.2.1, helo x.test, protocol ESMTP, from a@b.test",
        "  RCPT joe@a.test: he exists",
        "2026-11-24T12:01:00+00:00 tried",
        "  joe@a.test: deferred, local: 451 4.3.0 Later",
        "  next try 2026-11-24T12:30:00+00:00",
        "  the sender was sent the report ABC",
        "it has left the queue",
    ]
    assert "a report about ABC" in kmsctl("why", f"{NUMBER + 1:X}").out


def test_what_nobody_remembers_is_not_found(kmsctl: Kmsctl, store: Path) -> None:
    assert kmsctl("why", format_decision_id(5)).status == failure.NO_SUCH_USER


class FakeServer:
    """Keeps what it was asked."""

    def __init__(self, steps: list[dict[str, Any]]) -> None:
        self.steps = steps
        self.asked: dict[str, Any] = {}

    def explain(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        self.asked = body
        return self.steps


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    observed = [{"rule": "too many", "reply": "450 4.7.1 Slow down"}]
    step = {"command": "RCPT TO:<b@far.test>", "replies": ["550 5.7.1 No"], "stage": "RCPT", "rule": "a rule"}
    server = FakeServer([{**step, "facts": {"in_relay_group": "no"}, "observed": observed}])
    monkeypatch.setattr(Session, "server", lambda _: server)
    return server


def test_an_explanation_is_printed_like_a_dialogue(kmsctl: Kmsctl, server: FakeServer) -> None:
    answer = kmsctl("explain", "--client", "192.0.2.1", "--to", "b@far.test")
    assert answer.out.splitlines() == [
        "C: RCPT TO:<b@far.test>",
        "S: 550 5.7.1 No",
        "   observed only: too many; would have been 450 4.7.1 Slow down",
        "   rule: a rule",
        "   in relay group: no",
    ]


def test_every_option_is_passed_on(kmsctl: Kmsctl, server: FakeServer, tmp_path: Path) -> None:
    message = tmp_path / "message"
    message.write_bytes(b"Subject: x\n\ny\n")
    options = "--client 192.0.2.1 --service submission --helo h.test --tls --auth ok --login joe --size 9"
    answer = kmsctl(
        "explain", *options.split(), "--from", "a@b.test", "--to", "c@d.test", "--to", "e@f.test",
        "--message", str(message), "--config", str(message), "--at", "2999-12-31T00:00:00",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    ahead = server.asked.pop("ahead_seconds")
    assert ahead > 1e9
    assert base64.b64decode(server.asked.pop("message")) == b"Subject: x\r\n\r\ny\r\n"
    assert server.asked == {
        "client": "192.0.2.1",
        "service": "submission",
        "helo": "h.test",
        "tls": True,
        "auth": "ok",
        "login": "joe",
        "sender": "a@b.test",
        "recipients": ["c@d.test", "e@f.test"],
        "size": 9,
        "candidate": str(message),
    }


def test_a_time_that_is_past_is_refused(kmsctl: Kmsctl, server: FakeServer) -> None:
    answer = kmsctl("explain", "--client", "192.0.2.1", "--to", "a@b.test", "--at", "2001-01-01T00:00:00")
    assert answer.status == failure.BAD_DATA


def test_the_server_is_asked_by_its_api(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(OnlineServer, "_call", lambda _, *words: asked.append(words))
    server = OnlineServer(Path("/none"))
    server.tell_why("7F3K2Q")
    server.explain({"client": "192.0.2.1"})
    assert asked == [("GET", "why/7F3K2Q"), ("POST", "explain", {"client": "192.0.2.1"})]
