"""The content of one message while it is received: in memory up to a border, beyond it in a body file.

Promises: never the whole of a large message in memory; `store` gives a content whose file, where it is one, has
been written and synced; `discard` leaves nothing behind, at whatever moment it is called.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from kms.domain.content import INLINE_LIMIT_OCTETS, Content, FileContent, InlineContent
from kms.domain.message import HeaderScanner
from kms.store.bodies import BodyWriter

_R = TypeVar("_R")
_PIECE_OCTETS = 256 * 1024
MakePrefix = Callable[[bytes], bytes]


class BodyFiles:
    """Runs what touches body files in a thread of its own, so that the writes of one file keep their order.

    Args:
        reactor: to come back from the thread.
        pool: one thread.
        open_writer: makes the writer of a new body file, given an entry's number.

    Attributes:
        has_room: says whether more may be written; a message without a limit must not fill the disk.
    """

    def __init__(
        self, reactor: IReactorFromThreads, pool: ThreadPool, open_writer: Callable[[int], BodyWriter]
    ) -> None:
        self._reactor = reactor
        self._pool = pool
        self.open_writer = open_writer
        self.has_room: Callable[[], bool] = lambda: True
        self.log = Logger(namespace="kms.bodies")

    def run(self, call: Callable[..., _R], *args: object) -> Deferred[_R]:
        """Call in the thread."""
        return deferToThreadPool(self._reactor, self._pool, call, *args)


class IncomingContent:
    """What has come of one message so far.

    Attributes:
        number: the entry's number, which names the body file.
        started_at: when DATA began; the message's time of arrival.
        octets: how many have come.
        is_8bit: an octet above 127 was seen.
        has_failed: a write went wrong; the rest is read and thrown away, and the answer is 451.
    """

    __slots__ = (
        "_chunks", "_files", "_held", "_is_in_file", "_is_writing", "_room", "_scanner", "_writer",
        "has_failed", "is_8bit", "number", "octets", "started_at",
    )  # fmt: skip

    def __init__(self, files: BodyFiles, number: int, started_at: datetime) -> None:
        self._files = files
        self._chunks: list[bytes] = []
        self._held = 0
        self._is_in_file = False
        self._is_writing = False
        self._room: Deferred[None] | None = None
        self._writer: BodyWriter | None = None
        self._scanner: HeaderScanner | None = None
        self.number = number
        self.started_at = started_at
        self.octets = 0
        self.is_8bit = False
        self.has_failed = False

    @property
    def is_empty(self) -> bool:
        """Nothing was taken yet."""
        return self._scanner is None

    @property
    def scanner(self) -> HeaderScanner:
        """Knows the header as far as it has come."""
        if self._scanner is None:
            self._scanner = HeaderScanner()
        return self._scanner

    def take(self, data: bytes, make_prefix: MakePrefix) -> Deferred[None] | None:
        """Take the next chunk; the answer, where there is one, is to be awaited before the next.

        One piece is written while the next one gathers, so that neither the disk nor the client waits.

        Args:
            make_prefix: makes the fields that go before the content, from as much of its header as is known;
                asked once, when the content grows beyond the border, or at its end.
        """
        self.scanner.feed(data)
        self.octets += len(data)
        self.is_8bit = self.is_8bit or not data.isascii()
        self._chunks.append(data)
        self._held += len(data)
        if self._held <= (_PIECE_OCTETS if self._is_in_file else INLINE_LIMIT_OCTETS):
            return None
        if not self._is_in_file:
            self._is_in_file = True
            self._chunks.insert(0, make_prefix(self.scanner.header))
        if self._is_writing:
            self._room = Deferred()
            return self._room
        self._write_piece()
        return None

    def _write_piece(self) -> None:
        if not self._files.has_room():
            self.failed(Failure(OSError(errno.ENOSPC, "less than min_free_space is free")))
            return
        chunks, self._chunks, self._held = self._chunks, [], 0
        self._is_writing = True
        self._files.run(self._write, chunks).addErrback(self.failed).addCallback(self._written)

    def _written(self, _: None) -> None:
        self._is_writing = False
        room, self._room = self._room, None
        if room is not None:
            if not self.has_failed:
                self._write_piece()
            room.callback(None)

    def _write(self, chunks: list[bytes]) -> None:
        if self._writer is None:
            self._writer = self._files.open_writer(self.number)
        for chunk in chunks:
            self._writer.write(chunk)

    def failed(self, failure: Failure) -> None:
        """A write went wrong: throw away what there is, and go on reading to the end of data."""
        self._files.log.failure("A body file cannot be written", failure)
        self.has_failed = True
        self.discard()

    async def store(self, make_prefix: MakePrefix) -> Content:
        """Finish: a small content at once, a large one after its file and folder are synced."""
        if not self._is_in_file:
            return InlineContent(make_prefix(self.scanner.header) + b"".join(self._chunks))
        return await self._files.run(self._finish, self._chunks)

    def _finish(self, chunks: list[bytes]) -> FileContent:
        self._write(chunks)
        assert self._writer is not None
        return self._writer.finish()

    def discard(self) -> None:
        """Forget it all; a body file is removed."""
        self._chunks = []
        if self._is_in_file:
            self._files.run(self._abort).addErrback(
                lambda failure: self._files.log.failure("A body file cannot be removed", failure)
            )

    def _abort(self) -> None:
        if self._writer is not None:
            self._writer.abort()
