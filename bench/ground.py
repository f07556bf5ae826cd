"""Where the spools and mailboxes of all compared servers stand: one file system, and a journaled one if possible.

An ext4 without a journal avoids inodes that were deleted lately, so that making files gets slower and slower after
deletes and every figure drifts. Where the benchmark may (root, losetup), it makes an ext4 with a journal in a loop
image.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

IMAGE_OCTETS = 8 * 1024**3


@attrs.frozen
class Ground:
    """A folder for all servers, and a sentence on what it is."""

    folder: Path
    description: str


def _run(*words: str | Path) -> str:
    return subprocess.run(
        [str(word) for word in words], check=True, capture_output=True, text=True
    ).stdout.strip()


@contextmanager
def ground(given: Path | None) -> Iterator[Ground]:
    """The given folder; else a fresh journaled ext4 in a loop image, or where that cannot be, a temporary folder."""
    base = Path(tempfile.mkdtemp(prefix="kms-bench-", dir=given))
    base.chmod(0o755)
    try:
        if given is not None:
            yield Ground(base, f"the given folder {given} ({file_system(base)})")
            return
        with _image(base) as mounted:
            yield mounted
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextmanager
def _image(base: Path) -> Iterator[Ground]:
    image, mount = base / "image", base / "mount"
    mount.mkdir()
    device = ""
    try:
        with image.open("wb") as file:
            file.truncate(IMAGE_OCTETS)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        device = _attach(image)
        _run("mount", device, mount)
    except (OSError, subprocess.CalledProcessError) as error:
        if device:
            _run("losetup", "-d", device)
        image.unlink(missing_ok=True)
        why = getattr(error, "stderr", None) or str(error)
        yield Ground(base, f"{base} ({file_system(base)}); no loop image: {why.strip()}")
        return
    try:
        mount.chmod(0o755)
        yield Ground(mount, "ext4 with a journal in a loop image of 8 GiB")
    finally:
        _run("umount", "--lazy", mount)
        _run("losetup", "-d", device)


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
