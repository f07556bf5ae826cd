"""What goes from tmp folders, and what never does."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kms.store.maildir_janitor import TmpSweep, sweep_tmp

LATER = datetime(2200, 1, 1, tzinfo=UTC)
"""When all that tests make is old."""


def make(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def changed(path: Path) -> datetime:
    """When the links of a file changed, never rounded up."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=os.lstat(path).st_ctime_ns // 1000)


def sweep(root: Path, now: datetime) -> TmpSweep:
    steps = sweep_tmp(root, now)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result = stop.value
            assert isinstance(result, TmpSweep)
            return result


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    return tmp_path / "mailboxes" / "a.test" / "joe" / "Maildir"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "mailboxes"


def test_a_file_stays_for_36_hours_and_then_goes(root: Path, maildir: Path) -> None:
    file = make(maildir / "tmp" / "1.AR1.h")
    assert sweep(root, changed(file) + timedelta(hours=36)) == TmpSweep(0)
    assert file.exists()
    assert sweep(root, changed(file) + timedelta(hours=36, seconds=1)) == TmpSweep(1)
    assert not file.exists()


def test_an_old_time_of_its_content_alone_is_no_reason(root: Path, maildir: Path) -> None:
    file = make(maildir / "tmp" / "imported")
    os.utime(file, (0, 0))
    assert sweep(root, changed(file) + timedelta(hours=1)).removed == 0
    assert file.exists()


def test_a_future_time_of_its_content_keeps_it(root: Path, maildir: Path) -> None:
    file = make(maildir / "tmp" / "being-written")
    os.utime(file, (0, LATER.timestamp()))
    assert sweep(root, LATER).removed == 0


def test_mail_is_never_touched_and_subfolders_are_cleaned_too(root: Path, maildir: Path) -> None:
    kept = [
        make(maildir / "new" / "1"),
        make(maildir / "cur" / "2:2,S"),
        make(maildir / ".Sent" / "cur" / "3:2,S"),
        make(maildir / "tmp" / "folder" / "4"),
        make(maildir / "other" / "tmp" / "5"),
        make(maildir.parent / "tmp" / "6"),
        make(root / "tmp" / "7"),
    ]
    gone = [make(maildir / "tmp" / "a"), make(maildir / ".Sent" / "tmp" / "b")]
    assert sweep(root, LATER) == TmpSweep(2)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone)


def test_no_link_is_followed_on_any_level_below_the_root(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    kept = [
        make(elsewhere / "user" / "Maildir" / "tmp" / "1"),
        make(elsewhere / "Maildir" / "tmp" / "2"),
        make(elsewhere / "tmp" / "3"),
        make(elsewhere / "4"),
    ]
    user = root / "a.test" / "joe"
    for link in (
        root / "linked.test",
        root / "a.test" / "linked",
        user / "Maildir",
        root / "a.test" / "ann" / "Maildir" / "tmp",
        root / "a.test" / "bob" / "Maildir" / ".Linked",
    ):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(elsewhere)
    link = root / "a.test" / "cid" / "Maildir" / "tmp" / "link"
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere / "4")
    assert sweep(root, LATER).removed == 0
    assert all(path.exists() for path in kept)
    assert link.is_symlink()


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    file = make(tmp_path / "disk" / "a.test" / "joe" / "Maildir" / "tmp" / "1")
    root.symlink_to(tmp_path / "disk")
    assert sweep(root, LATER).removed == 1
    assert not file.exists()


def test_what_is_no_plain_file_stays(root: Path, maildir: Path) -> None:
    (maildir / "tmp").mkdir(parents=True)
    os.mkfifo(maildir / "tmp" / "pipe")
    assert sweep(root, LATER) == TmpSweep(0)


def test_without_mailboxes_there_is_nothing_to_do(root: Path) -> None:
    assert sweep(root, LATER) == TmpSweep(0)
    (root / "a.test" / "joe").mkdir(parents=True)
    (root / "file").write_text("x")
    assert sweep(root, LATER) == TmpSweep(0)


def test_what_cannot_be_opened_is_told_and_the_others_are_cleaned(root: Path, maildir: Path) -> None:
    make(root / "a.test" / "ann" / "Maildir")
    file = make(maildir / "tmp" / "1")
    result = sweep(root, LATER)
    assert result == TmpSweep(1, [f"{root}/a.test/ann/Maildir: Not a directory"])
    assert not file.exists()


def test_what_cannot_be_removed_or_listed_is_told(
    root: Path, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        make(maildir / "tmp" / str(number))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse)
        result = sweep(root, LATER)
    assert result.removed == 0
    assert len(result.problems) == 20
    assert result.problems[0].endswith(": Permission denied")
    monkeypatch.setattr(os, "listdir", refuse)
    assert sweep(root, LATER).problems == [f"{root}: Permission denied"]


def test_the_steps_are_short_and_nothing_stays_open_when_they_end_early(root: Path, maildir: Path) -> None:
    for number in range(300):
        make(maildir / "tmp" / str(number))
    make(root / "b.test" / "ann" / "Maildir" / "tmp" / "1")
    before = len(os.listdir("/proc/self/fd"))
    assert sum(1 for _ in sweep_tmp(root, LATER)) == 4
    steps = sweep_tmp(root, LATER)
    next(steps)
    steps.close()
    assert len(os.listdir("/proc/self/fd")) == before
