"""Removes what crashes have left in the tmp folders of mailboxes (Maildir++: what is older than 36 hours).

Promises: only plain files directly in a tmp folder go, and only where neither content nor name, owner or
links of the file have changed for 36 hours; no symbolic link is followed, below the root not even one that
somebody puts there meanwhile. What cannot be read or removed is passed over, and told.
Flow: service/mailbox_janitor.py runs the steps in the mailbox thread.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import attrs

OLDEST = timedelta(hours=36)

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILES_AT_ONCE = 128
_MOST_PROBLEMS = 20


@attrs.define
class TmpSweep:
    """What became of a round through all mailboxes.

    Attributes:
        removed: how many files are gone.
        problems: what could not be read or removed, the first few.
    """

    removed: int = 0
    problems: list[str] = attrs.field(factory=list)

    def note(self, place: str, error: OSError) -> None:
        """Keep what went wrong; what is not there is nothing wrong."""
        if not isinstance(error, FileNotFoundError) and len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"{place}: {error.strerror}")


def sweep_tmp(root: Path, now: datetime) -> Generator[None, None, TmpSweep]:
    """Go through all mailboxes in short steps, between which others may use the thread.

    Args:
        root: the folder of all mailboxes, `<domain>/<user>/Maildir` below it.
        now: files that changed less than `OLDEST` before stay.

    Returns:
        A generator whose value tells what was done.
    """
    sweep = TmpSweep()
    before = (now - OLDEST).timestamp()
    with _opened(sweep, str(root), None, is_root=True) as top:
        for domain in _folders(sweep, str(root), top):
            place = f"{root}/{domain}"
            with _opened(sweep, place, top) as domain_folder:
                for user in _folders(sweep, place, domain_folder):
                    yield
                    yield from _sweep_user(sweep, f"{place}/{user}", domain_folder, before)
    return sweep


def _sweep_user(
    sweep: TmpSweep, place: str, parent: int | None, before: float
) -> Generator[None, None, None]:
    """Sweep a user's Maildir and the subfolders in it."""
    with _opened(sweep, place, parent) as user, _opened(sweep, f"{place}/Maildir", user) as maildir:
        yield from _sweep_folder(sweep, f"{place}/Maildir/tmp", maildir, before)
        for name in _folders(sweep, f"{place}/Maildir", maildir):
            if name.startswith("."):
                subplace = f"{place}/Maildir/{name}"
                with _opened(sweep, subplace, maildir) as subfolder:
                    yield from _sweep_folder(sweep, f"{subplace}/tmp", subfolder, before)


def _sweep_folder(
    sweep: TmpSweep, place: str, parent: int | None, before: float
) -> Generator[None, None, None]:
    with _opened(sweep, place, parent) as tmp:
        for count, name in enumerate(_names(sweep, place, tmp), 1):
            try:
                sweep.removed += _remove_old(name, tmp, before)
            except OSError as error:
                sweep.note(f"{place}/{name}", error)
            if count % _FILES_AT_ONCE == 0:
                yield


def _remove_old(name: str, folder: int | None, before: float) -> bool:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode) or max(status.st_mtime, status.st_ctime) >= before:
        return False
    os.unlink(name, dir_fd=folder)
    return True


@contextlib.contextmanager
def _opened(sweep: TmpSweep, place: str, parent: int | None, is_root: bool = False) -> Iterator[int | None]:
    """Open a folder, below the root by its last name in its open parent; None where that cannot be."""
    descriptor = None
    try:
        if is_root:
            descriptor = os.open(place, _FOLDER)
        elif parent is not None:
            descriptor = os.open(os.path.basename(place), _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        sweep.note(place, error)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _names(sweep: TmpSweep, place: str, folder: int | None) -> list[str]:
    try:
        return [] if folder is None else os.listdir(folder)
    except OSError as error:
        sweep.note(place, error)
        return []


def _folders(sweep: TmpSweep, place: str, folder: int | None) -> list[str]:
    """Name the folders in a folder; links to folders are none."""
    found = []
    for name in _names(sweep, place, folder):
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                found.append(name)
    return sorted(found)
