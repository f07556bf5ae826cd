"""When tmp folders are cleaned."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from kms.domain.account import Account
from kms.service.clock import ClockOf
from kms.service.mailbox_janitor import MailboxJanitor
from kms.service.mailboxes import Mailboxes
from tests.service.test_mailboxes import Inbox

HOUR = 3600.0


@attrs.define
class Rig:
    reactor: Clock
    mailboxes: Mailboxes
    janitor: MailboxJanitor
    tmp: Path

    def leave(self, name: str) -> Path:
        """What a crash leaves, now by the fake clock."""
        path = self.tmp / name
        path.write_bytes(b"x")
        return path


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    reactor = Clock()
    mailboxes = Mailboxes(tmp_path / "mailboxes", ClockOf(reactor), None)
    tmp = Path(mailboxes.folder(Account("joe", "a.test"))) / "tmp"
    tmp.mkdir(parents=True)
    reactor.advance(tmp.stat().st_mtime)
    return Rig(reactor, mailboxes, MailboxJanitor(mailboxes, ClockOf(reactor)), tmp)


def test_it_cleans_at_the_start(rig: Rig) -> None:
    file = rig.leave("1")
    rig.reactor.advance(37 * HOUR)
    with capturedLogs() as events:
        rig.janitor.start()
    assert not file.exists()
    assert [event["count"] for event in events] == [1]


def test_and_once_a_day(rig: Rig) -> None:
    file = rig.leave("1")
    rig.janitor.start()
    rig.reactor.advance(24 * HOUR)
    assert file.exists()
    rig.reactor.advance(23 * HOUR)
    assert file.exists()
    rig.reactor.advance(1 * HOUR)
    assert not file.exists()


def test_and_not_after_it_was_stopped(rig: Rig) -> None:
    rig.janitor.stop()
    rig.janitor.start()
    assert rig.reactor.getDelayedCalls() == []


def test_stopping_cancels_the_next_round(rig: Rig) -> None:
    rig.janitor.start()
    assert len(rig.reactor.getDelayedCalls()) == 1
    rig.janitor.stop()
    assert rig.reactor.getDelayedCalls() == []


def test_what_cannot_be_cleaned_is_an_error_for_the_operator(rig: Rig) -> None:
    rig.tmp.rmdir()
    rig.tmp.write_text("no folder")
    with capturedLogs() as events:
        rig.janitor.start()
    (event,) = events
    assert event["log_level"] is LogLevel.error
    assert event["problem"] == f"{rig.tmp}: Not a directory"


def test_a_defect_is_logged_and_the_next_day_tries_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, capturedLogs() as events:
        patched.setattr("kms.service.mailboxes.sweep_tmp", lambda root, now: defect())
        rig.janitor.start()
    assert any("log_failure" in event for event in events)
    file = rig.leave("1")
    rig.reactor.advance(timedelta(days=2).total_seconds())
    assert not file.exists()


def defect() -> Iterator[None]:
    """Steps of which the first fails."""
    yield from ()
    raise RuntimeError("a defect")


def test_a_round_is_done_in_the_mailbox_thread_and_ends_with_it(tmp_path: Path) -> None:
    inbox = Inbox()
    reactor = Clock()
    mailboxes = Mailboxes(tmp_path, ClockOf(reactor), inbox)
    for name in ("ann", "bob"):
        (Path(mailboxes.folder(Account(name, "a.test"))) / "tmp").mkdir(parents=True)
    mailboxes.start()
    janitor = MailboxJanitor(mailboxes, ClockOf(reactor))
    with capturedLogs() as events:
        janitor.start()
        janitor.stop()
        mailboxes.stop()
        inbox.take()
    assert events == []
    assert inbox.calls.empty()
    assert reactor.getDelayedCalls() == []
