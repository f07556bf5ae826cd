"""What a server process asked of the kernel, as strace saw it: writes with their data, syncs, names, and replies.

A call's effect can be there from its begin; that of a sync is sure at its end, for what had ended before its begin.
"""

import re
from pathlib import Path

import attrs

TRACED = (
    "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,copy_file_range,sendfile,"
    "fsync,fdatasync,syncfs,sync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,"
    "mkdirat,rmdir,sendto,sendmsg"
)
_LINE = re.compile(rb"^(\d+)\.(\d+) (\w+)\((.*)\) += (-?\d+)(.*)$", re.DOTALL)
_DURATION = re.compile(rb"<(\d+)\.(\d+)>$")
_FIRST = re.compile(rb"^(?:AT_FDCWD|\d+)<([^>]*)>")
_STRING = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_LAST_NUMBER = re.compile(rb"(\d+)$")


@attrs.frozen
class Call:
    """One call that succeeded; instants in nanoseconds since 1970.

    Attributes:
        path: of the descriptor, or the first path that was named.
        target: the second path of a rename.
        data: what was written or sent.
        number: the last argument: the offset, or the new length.
        flags: how a file was opened.
    """

    begin: int
    end: int
    name: str
    path: str
    target: str = ""
    data: bytes = b""
    number: int = 0
    flags: str = ""


def strace_command(prefix: Path) -> list[str]:
    """What goes before the server's command; one file for each thread, so that no line is broken."""
    options = (
        "-D",
        "-f",
        "-ff",
        "-y",
        "-xx",
        "-s",
        "2000000",
        "--absolute-timestamps=format:unix,precision:ns",
    )
    return ["strace", *options, "--syscall-times=ns", "-o", str(prefix), "-e", f"trace={TRACED}"]


def is_complete(prefix: Path) -> bool:
    """Have all threads been seen to end?"""
    files = list(prefix.parent.glob(f"{prefix.name}.*"))
    return bool(files) and all(b"+++" in file.read_bytes()[-200:] for file in files)


def read_recording(prefix: Path, root: Path) -> list[Call]:
    """Read all calls on files below `root`, and all that was sent to sockets, in the order of their begin."""
    calls = []
    for file in prefix.parent.glob(f"{prefix.name}.*"):
        with file.open("rb") as lines:
            calls += [call for line in lines if (call := _read(line.rstrip(b"\n"), str(root)))]
    return sorted(calls, key=lambda call: call.begin)


def _read(line: bytes, root: str) -> Call | None:
    found = _LINE.match(line)
    duration = _DURATION.search(line)
    if found is None or duration is None or int(found[5]) < 0:
        return None
    name, arguments = found[3].decode(), found[4]
    begin = int(found[1]) * 10**9 + int(found[2])
    end = begin + int(duration[1]) * 10**9 + int(duration[2])
    first = _FIRST.match(arguments)
    descriptor = _text(first[1]) if first else ""
    if not descriptor.startswith((root, "socket:", "TCP", "TCPv6")) and root not in _all_text(
        arguments, name
    ):
        return None
    strings = [_octets(text) for text, _ in _STRING.findall(arguments)]
    assert b'"...' not in arguments, f"cut short by strace: {name} {descriptor}"
    last = _LAST_NUMBER.search(arguments)
    number = int(last[1]) if last else 0
    if name in {"openat", "open"}:
        return Call(
            begin, end, name, _absolute(descriptor, strings[0]), flags=arguments.rsplit(b'"')[-1].decode()
        )
    if name.startswith(("rename", "unlink", "mkdir", "rmdir", "link", "symlink")):
        paths = [_absolute(descriptor, text) for text in strings]
        return Call(begin, end, name, paths[0], target=paths[-1])
    data = b"".join(strings)[: int(found[5])] if name not in {"fsync", "fdatasync"} else b""
    return Call(begin, end, name, descriptor, data=data, number=number)


def _all_text(arguments: bytes, name: str) -> str:
    if name.startswith(("write", "pwrite", "send")):
        return ""
    return " ".join(_octets(text).decode("latin-1") for text, _ in _STRING.findall(arguments))


def _octets(text: bytes) -> bytes:
    return bytes.fromhex(text.replace(b"\\x", b"").decode())


def _text(text: bytes) -> str:
    return _octets(text).decode("latin-1") if text.startswith(b"\\x") else text.decode("latin-1")


def _absolute(folder: str, path: bytes) -> str:
    text = path.decode("latin-1")
    return text if text.startswith("/") else f"{folder}/{text}"
