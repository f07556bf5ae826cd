"""A disk that forgets: what may be on it after a power cut, given what was written and synced before.

Of a file: all that was written before a sync; of what came later any part, each write whole, cut or not at all. Of
a folder: all changes of names before its own sync; of the later ones any part, but a rename never loses the file. A
name whose folder is not there is lost.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import attrs

from tests.crash.recording import Call

Choice = Callable[[bytes | None], tuple[bool, bytes | None]]


@attrs.define(eq=False)
class File:
    """A file's octets that are safe, and the changes since; a change of -1 octets is a new length."""

    safe: bytearray = attrs.field(factory=bytearray)
    pending: list[tuple[int, int, bytes | None]] = attrs.field(factory=list)  # end, offset or length, data
    octets: int = 0

    def sync(self, before: int) -> None:
        """Make safe what had ended by then."""
        for end, offset, data in self.pending:
            if end <= before:
                change(self.safe, offset, data)
        self.pending = [item for item in self.pending if item[0] > before]

    def after_cut(self, choose: Choice) -> bytes | bytearray:
        """What is left of it."""
        if not self.pending:
            return self.safe
        left = bytearray(self.safe)
        for _, offset, data in self.pending:
            is_kept, part = choose(data)
            if is_kept:
                change(left, offset, part)
        return left


def change(content: bytearray, offset: int, data: bytes | None) -> None:
    """Write, or with no data set the length."""
    if data is None:
        del content[offset:]
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is not None:
        content[offset : offset + len(data)] = data


@attrs.define(eq=False)
class Naming:
    """A name that was made (`file`, or None for a folder) or removed, and what must be done before it can be."""

    end: int
    path: str
    is_made: bool
    file: File | None = None
    needs: "Naming | None" = None
    is_safe: bool = False


class Disk:
    """Follows a recording; `cut` says what might be left at this moment. `base` is a folder that was there before."""

    def __init__(self, base: str) -> None:
        self._base = base
        self.names: dict[str, File | None] = {}
        self.safe_names: dict[str, File | None] = {}
        self.pending: list[Naming] = []
        self._steps: dict[str, Callable[[Call], None]] = {
            "openat": self._open,
            "write": self._append,
            "pwrite64": lambda call: self._write(call, call.number, call.data),
            "ftruncate": lambda call: self._write(call, call.number, None),
            "rename": self._rename,
            "unlink": self._unlink,
            "unlinkat": self._unlink,
            "mkdir": lambda call: self._name(Naming(call.end, call.path, True)),
            "fsync": self._sync,
            "fdatasync": self._sync,
        }

    def take(self, call: Call) -> None:
        """A call on a file; KeyError for one that is not understood."""
        self._steps[call.name](call)

    def _open(self, call: Call) -> None:
        if "O_CREAT" in call.flags and call.path not in self.names:
            self._name(Naming(call.end, call.path, True, File()))
        if "O_TRUNC" in call.flags:
            self._write(call, 0, None)

    def _append(self, call: Call) -> None:
        file = self.names.get(call.path)
        if file is not None:
            self._write(call, file.octets, call.data)

    def _write(self, call: Call, offset: int, data: bytes | None) -> None:
        file = self.names.get(call.path)
        if file is None:
            return  # removed meanwhile, or not a plain file
        file.pending.append((call.end, offset, data))
        file.octets = offset if data is None else max(file.octets, offset + len(data))

    def _name(self, naming: Naming) -> None:
        self.pending.append(naming)
        if naming.is_made:
            self.names[naming.path] = naming.file
        else:
            self.names.pop(naming.path, None)

    def _rename(self, call: Call) -> None:
        made = Naming(call.end, call.target, True, self.names[call.path])
        self._name(made)
        self._name(Naming(call.end, call.path, False, needs=made))

    def _unlink(self, call: Call) -> None:
        self._name(Naming(call.end, call.path, False))

    def _sync(self, call: Call) -> None:
        file = self.names.get(call.path)
        if file is not None:
            file.sync(call.begin)
            return
        later = []
        for naming in self.pending:
            if naming.end <= call.begin and os.path.dirname(naming.path) == call.path:
                naming.is_safe = True
                _apply(self.safe_names, naming)
            else:
                later.append(naming)
        self.pending = later

    def cut(self, chance: random.Random) -> dict[str, File]:
        """Choose which names are left, and whose files they are."""
        how_many = chance.choice((0.0, 0.0, 0.5, 0.5, 1.0))
        names = dict(self.safe_names)
        done: set[Naming] = set()
        for naming in self.pending:
            may_be = naming.needs is None or naming.needs.is_safe or naming.needs in done
            if may_be and chance.random() < how_many:
                done.add(naming)
                _apply(names, naming)
        folders = {path for path, file in names.items() if file is None}
        return {
            path: file
            for path, file in names.items()
            if file is not None and _is_reachable(os.path.dirname(path), folders, self._base)
        }


def _apply(names: dict[str, File | None], naming: Naming) -> None:
    if naming.is_made:
        names[naming.path] = naming.file
    else:
        names.pop(naming.path, None)


def _is_reachable(folder: str, folders: set[str], base: str) -> bool:
    while folder in folders:
        folder = os.path.dirname(folder)
    return folder == base


def make_choice(chance: random.Random) -> Choice:
    """One way to lose writes: none, all, or some, of which some are cut; says what is kept, and how much of it."""
    kept = chance.choice((0.0, 0.0, 0.5, 0.8, 1.0))

    def choose(data: bytes | None) -> tuple[bool, bytes | None]:
        if chance.random() >= kept:
            return False, None
        if data and chance.random() < 0.2:
            return True, data[: chance.randrange(len(data))]
        return True, data

    return choose


def lay_out(root: Path, target: Path, files: dict[str, bytes | bytearray]) -> None:
    """Write files of `root` below `target`, with holes for zeros at the end."""
    for path, content in files.items():
        place = target / Path(path).relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            file.write(memoryview(content)[: _used(content)])
            file.truncate(len(content))


def _used(content: bytes | bytearray) -> int:
    """Where the zeros at the end begin, roughly."""
    end = len(content)
    while end and content.count(0, max(0, end - 65_536), end) == min(end, 65_536):
        end -= min(end, 65_536)
    return end
