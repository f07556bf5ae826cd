"""Where the spools and mailboxes of the compared servers stand: a journaled file system for each, if possible.

An ext4 without a journal avoids inodes that were deleted lately, so that making files gets slower and slower after
deletes and every figure drifts. Where the benchmark may (root, losetup), each server gets an ext4 with a journal in a
loop image of its own; so no server's syncs wait for what another has written.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

IMAGE_OCTETS = 4 * 1024**3


def _run(*words: str | Path) -> str:
    return subprocess.run(
        [str(word) for word in words], check=True, capture_output=True, text=True
    ).stdout.strip()


class Ground:
    """A folder for everything, and places for the servers in it.

    Attributes:
        folder: for what is no server's.
        description: a sentence on what the places are.
    """

    def __init__(self, base: Path, given: Path | None, cleaning: ExitStack) -> None:
        self.folder = base
        self.description = f"the given folder {given} ({file_system(base)})" if given else ""
        self._may_mount = given is None
        self._cleaning = cleaning

    def own(self, name: str) -> Path:
        """A place for one server: a file system of its own, or where that cannot be made, a folder."""
        place = self.folder / name
        place.mkdir()
        if not self._may_mount:
            return place
        try:
            self._cleaning.enter_context(_mounted_image(self.folder / f"{name}.image", place))
        except (OSError, subprocess.CalledProcessError) as error:
            self._may_mount = False
            why = getattr(error, "stderr", None) or str(error)
            self.description = f"{place} ({file_system(place)}); no loop image: {why.strip()}"
        else:
            self.description = "for each server an ext4 with a journal in a loop image of its own, 4 GiB"
        return place


@contextmanager
def ground(given: Path | None) -> Iterator[Ground]:
    """Places in the given folder; else in a temporary one, with loop images where they can be made."""
    base = Path(tempfile.mkdtemp(prefix="kms-bench-", dir=given))
    base.chmod(0o755)
    try:
        with ExitStack() as cleaning:
            yield Ground(base, given, cleaning)
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextmanager
def _mounted_image(image: Path, place: Path) -> Iterator[None]:
    with image.open("wb") as file:
        file.truncate(IMAGE_OCTETS)
    with ExitStack() as cleaning:
        cleaning.callback(image.unlink)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        device = _attach(image)
        cleaning.callback(_run, "losetup", "-d", device)
        _run("mount", device, place)
        cleaning.callback(_run, "umount", "--lazy", place)
        place.chmod(0o755)
        yield


def _attach(image: Path) -> str:
    try:
        return _run("losetup", "-f", "--show", "--direct-io=on", image)
    except subprocess.CalledProcessError:
        return _run("losetup", "-f", "--show", image)


def file_system(folder: Path) -> str:
    """The kind of file system a folder is on."""
    result = subprocess.run(
        ["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False
    )
    return result.stdout.strip() or "unknown file system"


def machine() -> str:
    """One line on this machine."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown processor",
    )
    kernel = os.uname()
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return f"{os.cpu_count()} x {model}, {gigabytes:.0f} GiB, {kernel.sysname} {kernel.release}"
