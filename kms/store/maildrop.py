"""The maildrop: messages that sendmail(1) leaves while the server is down, one file each.

A file is an envelope (one line of JSON) and the message in wire form. Promises: it has its final name only when
it is whole and synced; one that cannot be used is set aside under another name, never deleted.
Flow: cli/sendmail.py writes; service/submissions.py takes them up at the start and by and by.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs

FOLDER = "maildrop"
SOCKET = "submit.sock"
FOLDER_MODE = 0o1730  # who is in its group may leave mail, and see or remove nobody else's
MOST_ENVELOPE_OCTETS = 1024 * 1024

_READABLE = 0o644  # by the server, whoever wrote it; others do not get into the folder
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class DropDamaged(ValueError):
    """The file is no message of ours; the text says why."""


@attrs.frozen
class Submission:
    """A message that was handed in.

    Attributes:
        sender: the reverse-path; "" is the null one.
        recipients: as they were written.
        data: the message in wire form.
        uid: of who handed it in.
    """

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    uid: int = -1

    def print_envelope(self) -> bytes:
        """Print all but the message, as one line."""
        facts = {"sender": self.sender, "recipients": list(self.recipients), "octets": len(self.data)}
        return json.dumps(facts).encode("ascii") + b"\n"


def read_envelope(line: bytes) -> tuple[str, tuple[str, ...], int]:
    """Read sender, recipients and the message's size of what `print_envelope` printed; raises DropDamaged."""
    try:
        facts = json.loads(line)
        sender, recipients, octets = facts["sender"], facts["recipients"], facts["octets"]
    except (ValueError, KeyError, TypeError):
        raise DropDamaged("its first line is no envelope") from None
    is_right = isinstance(sender, str) and isinstance(octets, int) and octets >= 0
    if not is_right or not recipients or not all(isinstance(one, str) for one in recipients):
        raise DropDamaged("its envelope is incomplete")
    return sender, tuple(recipients), octets


def prepare(folder: Path) -> Path:
    """Make the maildrop in `submit_dir` where it is missing; raises OSError."""
    folder.mkdir(0o755, parents=True, exist_ok=True)
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(0o755)
    drop = folder / FOLDER
    drop.mkdir(exist_ok=True)
    drop.chmod(FOLDER_MODE)
    return drop


def leave(drop: Path, submission: Submission) -> Path:
    """Write a message into the maildrop; when this returns, it is on stable storage. Raises OSError."""
    name = os.urandom(12).hex()
    temporary, final = drop / f"{name}.tmp", drop / f"{name}.mail"
    descriptor = os.open(temporary, _NEW, _READABLE)
    try:
        os.fchmod(descriptor, _READABLE)
        view = memoryview(submission.print_envelope() + submission.data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
        os.rename(temporary, final)
        _sync(drop, descriptor)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
    return final


def _sync(drop: Path, descriptor: int) -> None:
    """Make a name durable; who may only write into a folder cannot open it, and syncs all instead."""
    try:
        folder = os.open(drop, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        os.sync()
        return
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def waiting(drop: Path) -> Iterator[Path]:
    """List the whole messages; raises OSError."""
    yield from sorted(drop.glob("*.mail"))


def take_up(path: Path, most_octets: int) -> Submission:
    """Read one message.

    Args:
        most_octets: of the message; 0 = any number.

    Raises:
        DropDamaged: it is no plain file, or not what `leave` wrote, or too large.
        OSError: it cannot be read now.
    """
    with open(os.open(path, _READ), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            raise DropDamaged("it is no plain file")
        sender, recipients, octets = read_envelope(file.readline(MOST_ENVELOPE_OCTETS))
        if most_octets and octets > most_octets:
            raise DropDamaged(f"its {octets} octets are more than the limit")
        data = file.read(octets + 1)
    if len(data) != octets:
        raise DropDamaged("its message is cut or too long")
    return Submission(sender, recipients, data, facts.st_uid)


def set_aside(path: Path) -> Path:
    """Give a file that cannot be used another name, under which nobody takes it up."""
    return path.rename(path.with_suffix(".bad"))
