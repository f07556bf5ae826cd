"""Syncing a whole file system: where it is done, and what a batch of deliveries makes of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from kms.domain.content import InlineContent
from kms.store.maildir import MailboxDelivery, deliver_batch
from kms.store.own_file_system import OwnFileSystem, find_own_file_system


class WatchedFileSystem:
    """Notes what stood in tmp and new at each sync; `faults` are raised, one a sync."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[tuple[int, int]] = []
        self.faults: list[OSError | None] = []

    def sync(self) -> None:
        self.seen.append(tuple(len(os.listdir(self.folder / name)) for name in ("tmp", "new")))  # type: ignore[arg-type]
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault


@pytest.fixture
def watched(tmp_path: Path) -> Any:
    return WatchedFileSystem(tmp_path / "Maildir")


def deliver(watched: Any, count: int = 3) -> list[OSError | None]:
    items = [
        MailboxDelivery(str(watched.folder), f"{number}.AR1.h", b"H: 1\r\n", InlineContent(b"\r\nhello\r\n"))
        for number in range(count)
    ]
    return deliver_batch(items, watched)


def test_files_are_synced_before_they_are_renamed_and_folders_after(watched: Any) -> None:
    assert deliver(watched) == [None] * 3
    assert watched.seen == [(3, 0), (0, 3)]
    assert (watched.folder / "new" / "0.AR1.h,S=12,W=15").read_bytes() == b"H: 1\n\nhello\n"


def test_no_file_stays_open_while_the_others_are_written(
    watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors = []
    write = os.write

    def note(descriptor: int, data: memoryview) -> int:
        descriptors.append(descriptor)
        return write(descriptor, data)

    monkeypatch.setattr("kms.store.maildir.os.write", note)
    assert deliver(watched, 20) == [None] * 20
    assert len(set(descriptors)) == 1  # the system gives the lowest free number


def test_where_the_files_cannot_be_synced_nothing_is_delivered(watched: Any) -> None:
    watched.faults = [OSError(errno.EIO, "I/O error")]
    assert all(isinstance(result, OSError) for result in deliver(watched))
    assert os.listdir(watched.folder / "tmp") == []
    assert os.listdir(watched.folder / "new") == []


def test_where_the_folders_cannot_be_synced_a_later_attempt_finds_its_files(watched: Any) -> None:
    watched.faults = [None, OSError(errno.EIO, "I/O error")]
    assert all(isinstance(result, OSError) for result in deliver(watched, 1))
    item = MailboxDelivery(
        str(watched.folder), "0.AR1.h", b"H: 1\r\n", InlineContent(b"\r\nhello\r\n"), may_exist=True
    )
    assert deliver_batch([item], watched) == [None]
    assert len(os.listdir(watched.folder / "new")) == 1


def test_one_file_that_cannot_be_written_harms_no_other(
    watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(watched, 1)
    (watched.folder / "tmp" / "1.AR1.h").mkdir()
    results = deliver(watched, 3)
    assert isinstance(results[1], OSError)
    assert results[2] is None


def test_an_error_of_the_system_is_raised(tmp_path: Path) -> None:
    fine = OwnFileSystem(tmp_path, lambda descriptor: 0)
    fine.sync()
    fine.close()
    broken = OwnFileSystem(tmp_path, lambda descriptor: -1)
    with pytest.raises(OSError):
        broken.sync()
    broken.close()


def test_it_is_used_only_where_the_mailboxes_or_the_data_folder_are_a_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "mailboxes"
    root.mkdir()
    assert find_own_file_system(root) is None
    for mount in (root, tmp_path):
        monkeypatch.setattr(os.path, "ismount", lambda folder, mount=mount: folder == mount)
        found = find_own_file_system(root)
        assert found is not None
        found.sync()
        found.close()


@pytest.mark.parametrize("release", ["5.7.9", "4.19.0-amd64", "strange"])
def test_it_is_not_used_where_the_kernel_would_not_report_errors(
    release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = os.uname()
    old = os.uname_result((names.sysname, names.nodename, release, names.version, names.machine))
    monkeypatch.setattr(os, "uname", lambda: old)
    monkeypatch.setattr(os.path, "ismount", lambda folder: True)
    assert find_own_file_system(tmp_path) is None
