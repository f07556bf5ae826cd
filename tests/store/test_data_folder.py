from __future__ import annotations

import os
from pathlib import Path

import pytest

from kms.store.data_folder import SUBFOLDERS, DataFolder
from kms.store.schema import StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "var"


def test_all_folders_are_made_for_their_owner_only(path: Path) -> None:
    folder = DataFolder(path)
    folder.open()
    folder.close()
    for made in (path, *(path / name for name in SUBFOLDERS)):
        assert made.stat().st_mode & 0o777 == 0o700
    assert (path / "lock").stat().st_mode & 0o777 == 0o600


def test_folders_that_others_could_read_are_closed(path: Path) -> None:
    (path / "spool").mkdir(parents=True)
    (path / "spool").chmod(0o755)
    path.chmod(0o750)
    folder = DataFolder(path)
    folder.open()
    folder.close()
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / "spool").stat().st_mode & 0o777 == 0o700


def test_a_second_server_is_refused_and_told_who_holds_it(path: Path) -> None:
    first = DataFolder(path)
    first.open()
    second = DataFolder(path)
    with pytest.raises(StoreError, match=rf"Another server runs on .*process {os.getpid()}\)"):
        second.open()
    second.close()
    first.close()
    second.open()
    second.close()


def test_the_rest_of_a_killed_server_is_no_hindrance(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "lock").write_text("12345\n")
    folder = DataFolder(path)
    folder.open()
    assert (path / "lock").read_text() == f"{os.getpid()}\n"
    folder.close()
    folder.close()
    assert (path / "lock").read_text() == ""


def test_closing_what_was_never_opened_does_no_harm(path: Path) -> None:
    DataFolder(path).close()


def test_a_file_in_the_place_of_a_folder_is_told(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "spool").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        DataFolder(path).open()


def test_a_link_in_the_place_of_the_lock_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.mkdir(parents=True)
    (tmp_path / "victim").write_text("precious")
    (path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError, match="cannot be used"):
        DataFolder(path).open()
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_folder_in_the_place_of_the_lock_is_told(path: Path) -> None:
    (path / "lock").mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be used"):
        DataFolder(path).open()


def test_a_file_system_without_locks_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(StoreError, match="No locks available"):
        DataFolder(path).open()


def test_a_full_disk_does_not_hinder_a_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    folder = DataFolder(path)
    folder.open()
    folder.close()
