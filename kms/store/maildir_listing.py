"""What lies in a mailbox: messages, their sizes as sent, and their files (Maildir++).

Promises: only plain files are listed and opened (no link, pipe or folder). A message keeps its place in the
order, its UIDL and its size whatever other programs do with flags and folders. A file that was moved
meanwhile is found again by its unique name.

Flow: the mailbox thread (service/mailboxes.py) lists a mailbox when a POP3 session opens it, and for quotas;
then opens and removes single messages (`MailboxFiles`). `MaildirIndex` remembers listings by the folders'
times.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Generator, Iterator
from datetime import datetime

import attrs

from kms.domain.content import CHUNK_OCTETS
from kms.store.maildir import unique_name

_PLACES = ("new", "cur")
_OWN = re.compile(r"\d+\.[0-9A-Z]+R\d+\..*,S=\d+,W=(\d+)(?::|\Z)")
_FOREIGN = re.compile(r".*?,S=(\d+).*?,W=(\d+)(?:[:,]|\Z)")
_UIDL = re.compile(r"[!-~]{1,70}")
_SECONDS = re.compile(r"\d{1,18}")
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_SCANS_AT_ONCE = 128
_SETTLED_SECONDS = 1.0  # a folder's time does not move for two changes within one tick of the kernel
_MOST_REMEMBERED = 200_000
_LISTING_TRIES = 3


class MessageGone(Exception):
    """Another program has removed the message."""


@attrs.frozen
class StoredMessage:
    """One message of a mailbox.

    Attributes:
        name: its unique name; never changes.
        place: `new/…` or `cur/…`: its file when it was listed.
        octets: what RETR sends before dot-stuffing, the end-of-message line not counted.
        uidl: its unique id, 1 to 70 printable octets (RFC 1939 7).
    """

    name: str
    place: str
    octets: int
    uidl: str


Messages = tuple[StoredMessage, ...]
_Stamp = tuple[int, ...]


@attrs.frozen
class _Listing:
    stamp: _Stamp
    messages: Messages


class MaildirIndex:
    """Lists mailboxes, and remembers what it has listed; for one thread."""

    def __init__(self) -> None:
        self._listings: OrderedDict[str, _Listing] = OrderedDict()
        self._remembered = 0

    def list_messages(self, folder: str, now: datetime) -> Messages:
        """List a mailbox; see `steps`."""
        steps = self.steps(folder, now)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return tuple(stop.value)

    def steps(self, folder: str, now: datetime) -> Generator[None, None, Messages]:
        """List a mailbox in short steps, between which others may use the thread.

        Args:
            folder: the Maildir; one that is missing is empty.
            now: tells whether the folders' times can be trusted already.

        Returns:
            A generator whose value are the messages, oldest first.

        Raises:
            OSError: the mailbox cannot be read now.
        """
        known: dict[str, int] = {}
        for _ in range(_LISTING_TRIES):
            stamp = _read_stamp(folder)
            listing = self._listings.get(folder)
            if listing is not None and listing.stamp == stamp:
                self._listings.move_to_end(folder)
                return listing.messages
            if listing is not None:
                known.update((message.name, message.octets) for message in listing.messages)
            messages = yield from _survey(folder, known)
            if _read_stamp(folder) == stamp:
                self._remember(folder, stamp, messages, now)
                return messages
            known.update((message.name, message.octets) for message in messages)
        return messages

    def _remember(self, folder: str, stamp: _Stamp, messages: Messages, now: datetime) -> None:
        is_settled = max(stamp, default=0) < (now.timestamp() - _SETTLED_SECONDS) * 1e9
        self._drop(self._listings.pop(folder, None))
        self._listings[folder] = _Listing(stamp if is_settled else (), messages)
        self._remembered += len(messages)
        while self._remembered > _MOST_REMEMBERED and len(self._listings) > 1:
            self._drop(self._listings.popitem(last=False)[1])

    def _drop(self, listing: _Listing | None) -> None:
        if listing is not None:
            self._remembered -= len(listing.messages)


def _read_stamp(folder: str) -> _Stamp:
    """Read the times of change of new and cur; 0 for one that is missing."""
    stamp = []
    for place in _PLACES:
        try:
            stamp.append(os.stat(f"{folder}/{place}").st_mtime_ns)
        except FileNotFoundError:
            stamp.append(0)
    return tuple(stamp)


def _survey(folder: str, known: dict[str, int]) -> Generator[None, None, Messages]:
    messages = []
    scans = 0
    for name, place in _find_files(folder).items():
        own = _OWN.match(place, 4)
        octets = int(own[1]) if own else known.get(name)
        if octets is None:
            octets = _measure(folder, place)
            scans += 1
            if scans % _SCANS_AT_ONCE == 0:
                yield
        if octets is not None:
            messages.append(StoredMessage(name, place, octets, make_uidl(name)))
    messages.sort(key=_age)
    return tuple(messages)


def _find_files(folder: str) -> dict[str, str]:
    """Find the plain files, by unique name; one that moves meanwhile from new to cur is seen once."""
    found: dict[str, str] = {}
    for place in _PLACES:
        with contextlib.suppress(FileNotFoundError), os.scandir(f"{folder}/{place}") as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                    found[unique_name(entry.name)] = f"{place}/{entry.name}"
    return found


def _age(message: StoredMessage) -> tuple[int, str]:
    seconds = _SECONDS.match(message.name)
    return (int(seconds[0]) if seconds else 0, message.name)


def make_uidl(name: str) -> str:
    """Make the unique id of a message: its unique name where POP3 can show it, else a digest of it."""
    if _UIDL.fullmatch(name):
        return name
    return hashlib.sha256(os.fsencode(name)).hexdigest()


def _measure(folder: str, place: str) -> int | None:
    """Find the size as sent of a file whose name does not tell it surely; None where it cannot be read."""
    try:
        descriptor = _open_plain(f"{folder}/{place}")
    except (OSError, MessageGone) as error:
        if isinstance(error, OSError) and error.errno in _OUT_OF_RESOURCES:
            raise
        return None
    try:
        return _measure_open(descriptor, place)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _measure_open(descriptor: int, place: str) -> int:
    size = os.fstat(descriptor).st_size
    told = _FOREIGN.match(place)
    if told and int(told[1]) == size and size:
        return int(told[2]) + (0 if os.pread(descriptor, 1, size - 1) == b"\n" else 2)
    octets = 0
    last = b"\n"
    while data := os.read(descriptor, CHUNK_OCTETS):
        octets += len(data) + data.count(b"\n") - data.count(b"\r\n")
        octets -= last == b"\r" and data.startswith(b"\n")
        last = data[-1:]
    return octets + (0 if last == b"\n" else 2)


def _open_plain(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MessageGone
    return descriptor


class MailboxFiles:
    """The files of one mailbox, found wherever other programs have moved them since they were listed."""

    __slots__ = ("_folder", "_places", "_stamp")

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._places: dict[str, str] = {}
        self._stamp: _Stamp | None = None

    def open(self, message: StoredMessage) -> int:
        """Open a message's file for reading.

        Returns:
            Its descriptor, of a plain file.

        Raises:
            MessageGone: it was removed.
            OSError: it cannot be read now.
        """
        for place in self._candidates(message):
            with contextlib.suppress(FileNotFoundError):
                return _open_plain(f"{self._folder}/{place}")
        raise MessageGone

    def remove(self, message: StoredMessage) -> None:
        """Remove a message's file; one that is gone already is as good.

        Raises:
            OSError: it is still there.
        """
        for place in self._candidates(message):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._folder}/{place}")
                return

    def _candidates(self, message: StoredMessage) -> Iterator[str]:
        yield message.place
        if message.name in self._places:
            yield self._places[message.name]
        for _ in range(_LISTING_TRIES):  # it may move again while we look
            stamp = _read_stamp(self._folder)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._places = _find_files(self._folder)
            if message.name not in self._places:
                return
            yield self._places[message.name]
