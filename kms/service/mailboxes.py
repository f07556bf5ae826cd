"""The mailboxes of this server, and the one thread that touches their files.

Promises: no file is read or written on the reactor. At most one POP3 session has a mailbox (an exclusive lock
in memory; other programs may have it open at the same time). A long piece of work is cut into short ones, so
that opening a mailbox of 10,000 messages keeps nobody waiting.

Flow: local_delivery brings batches; recipient checks ask for usage; portal.py opens a mailbox for a proved
login and pop3_listener.py reads from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from kms.domain.account import Account
from kms.domain.content import CHUNK_OCTETS
from kms.service.clock import Clock
from kms.service.portal import IMailboxAvatar
from kms.store.maildir import MailboxDelivery, deliver_batch, mailbox_folder
from kms.store.maildir_janitor import TmpSweep, sweep_tmp
from kms.store.maildir_listing import MailboxFiles, MaildirIndex, MessageGone, Messages
from kms.store.own_file_system import OwnFileSystem, find_own_file_system

_R = TypeVar("_R")

_AHEAD_OCTETS = 64 * 1024
_AHEAD_MESSAGES = 32
_DELETED_AT_ONCE = 128


class MailboxInUse(Exception):
    """Another session has the mailbox ([IN-USE], RFC 2449 8.1.1)."""


class MailboxesStopped(Exception):
    """The server is going down."""


@attrs.frozen
class MailboxUsage:
    """How full a mailbox is.

    Attributes:
        octets: of all messages, lines counted with CRLF.
        messages: how many there are.
    """

    octets: int
    messages: int


class Mailboxes:
    """Opens, measures and fills mailboxes.

    Args:
        root: the folder of all mailboxes, absolute.
        clock: tells how far a folder's times can be trusted.
        reactor: takes results out of the thread; None runs all at once in the caller's thread, for tests.
    """

    def __init__(self, root: Path, clock: Clock, reactor: IReactorFromThreads | None) -> None:
        self._root = root
        self._clock = clock
        self._reactor = reactor
        self._pool: ThreadPool | None = None
        self._index = MaildirIndex()
        self._locked: set[str] = set()
        self._file_system: OwnFileSystem | None = None

    def start(self) -> None:
        """Start the thread; only after the fork."""
        if self._reactor is not None:
            self._pool = ThreadPool(1, 1, "mailboxes")
            self._pool.start()
            self._file_system = find_own_file_system(self._root)

    def stop(self) -> None:
        """End the thread, after what it was given already."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
        if self._file_system is not None:
            self._file_system.close()
            self._file_system = None

    def folder(self, account: Account) -> str:
        """Name the account's Maildir."""
        return mailbox_folder(self._root, account.domain, account.name)

    def deliver(self, items: Sequence[MailboxDelivery]) -> Deferred[list[OSError | None]]:
        """Deliver a batch; see `deliver_batch`."""
        return self.run(lambda: deliver_batch(items, self._file_system))

    def usage(self, account: Account) -> Deferred[MailboxUsage]:
        """Measure a mailbox; fails with OSError where it cannot be read now."""
        return Deferred.fromCoroutine(self._usage(account))

    async def _usage(self, account: Account) -> MailboxUsage:
        messages = await self._list(self.folder(account))
        return MailboxUsage(sum(message.octets for message in messages), len(messages))

    def open(self, account: Account) -> Deferred[OpenMailbox]:
        """Lock a mailbox and list it; the lock is held until `OpenMailbox.close`.

        Fails with MailboxInUse, or with OSError where the mailbox cannot be read now.
        """
        return Deferred.fromCoroutine(self._open(account))

    async def _open(self, account: Account) -> OpenMailbox:
        folder = self.folder(account)
        if folder in self._locked:
            raise MailboxInUse(account.login)
        self._locked.add(folder)
        try:
            messages = await self._list(folder)
        except BaseException:
            self._locked.discard(folder)
            raise
        return OpenMailbox(self, account.login, folder, messages)

    def unlock(self, folder: str) -> None:
        """Give a mailbox's lock back; `OpenMailbox.close` does."""
        self._locked.discard(folder)

    async def _list(self, folder: str) -> Messages:
        return await self._run_steps(self._index.steps(folder, self._clock.now()))

    def sweep_tmp(self) -> Deferred[TmpSweep]:
        """Remove what crashes have left in tmp folders; see `maildir_janitor`."""
        return Deferred.fromCoroutine(self._run_steps(sweep_tmp(self._root, self._clock.now())))

    async def _run_steps(self, steps: Generator[None, None, _R]) -> _R:
        """Run a long operation step by step, so that others get their turn between."""
        try:
            while True:
                done = await self.run(lambda: _step(steps))
                if done is not None:
                    return done[0]
        finally:
            steps.close()

    def run(self, operation: Callable[[], _R]) -> Deferred[_R]:
        """Run an operation on mailbox files in the thread; they run one after the other, in this order.

        Fails with MailboxesStopped before `start` and after `stop`, and with what the operation raises.
        """
        if self._reactor is None:
            return execute(operation)
        if self._pool is None:
            return fail(MailboxesStopped())
        return deferToThreadPool(self._reactor, self._pool, operation)


def _step(steps: Generator[None, None, _R]) -> tuple[_R] | None:
    """Go one step; the value stands in a tuple when it was the last."""
    try:
        next(steps)
    except StopIteration as stop:
        return (stop.value,)
    return None


@implementer(IMailboxAvatar)
class OpenMailbox:
    """A mailbox that one session has locked: a snapshot of its messages, numbered from 1.

    Args:
        mailboxes: runs what touches files.
        login: whose mailbox it is.
        folder: the Maildir.
        messages: as they were when it was opened; new mail does not change them.
    """

    __slots__ = ("_ahead", "_expected", "_files", "_folder", "_is_open", "_mailboxes", "login", "messages")

    def __init__(self, mailboxes: Mailboxes, login: str, folder: str, messages: Messages) -> None:
        self._mailboxes = mailboxes
        self.login = login
        self._folder = folder
        self.messages = messages
        self._files = MailboxFiles(folder)
        self._ahead: dict[int, bytes] | None = None
        self._expected = 0
        self._is_open = True

    def fetch(self, number: int) -> Deferred[MessageReader]:
        """Open a message and read its first chunk.

        Small messages that follow are read along when a client fetches one after the other.

        Args:
            number: 1 … len(messages).

        Returns:
            A reader, to be closed by the caller; fails with MessageGone or OSError.
        """
        is_in_order = number == self._expected
        self._expected = number + 1
        data = self._ahead.pop(number, None) if self._ahead else None
        if data is not None:
            return succeed(MessageReader(self._mailboxes, data))
        return self._mailboxes.run(lambda: self._fetch(number, is_in_order))

    def _fetch(self, number: int, is_in_order: bool) -> MessageReader:
        """Do what `fetch` says; in the thread."""
        reader = self._read_first(number)
        self._ahead = self._read_ahead(number + 1) if is_in_order and reader.is_whole else None
        return reader

    def _read_first(self, number: int) -> MessageReader:
        descriptor = self._files.open(self.messages[number - 1])
        try:
            data = os.read(descriptor, CHUNK_OCTETS)
            is_whole = len(data) == os.fstat(descriptor).st_size
        except BaseException:
            os.close(descriptor)
            raise
        if is_whole:
            os.close(descriptor)
        return MessageReader(self._mailboxes, data, -1 if is_whole else descriptor)

    def _read_ahead(self, first: int) -> dict[int, bytes] | None:
        ahead = {}
        octets = 0
        for number in range(first, min(first + _AHEAD_MESSAGES, len(self.messages) + 1)):
            octets += self.messages[number - 1].octets
            if octets > _AHEAD_OCTETS:
                break
            try:
                reader = self._read_first(number)
            except (MessageGone, OSError):
                break
            if not reader.is_whole:
                os.close(reader.descriptor)
                break
            ahead[number] = reader.first
        return ahead or None

    def delete(self, numbers: Sequence[int]) -> Deferred[bool]:
        """Remove messages, for QUIT; in short pieces, between which others may use the thread.

        Returns:
            True when none of them is left.
        """
        return Deferred.fromCoroutine(self._delete_in_pieces(numbers))

    async def _delete_in_pieces(self, numbers: Sequence[int]) -> bool:
        is_complete = True
        for start in range(0, len(numbers), _DELETED_AT_ONCE):
            piece = numbers[start : start + _DELETED_AT_ONCE]
            is_complete &= await self._mailboxes.run(partial(self._delete, piece))
        return is_complete

    def _delete(self, numbers: Sequence[int]) -> bool:
        failures = 0
        for number in numbers:
            try:
                self._files.remove(self.messages[number - 1])
            except OSError:
                failures += 1
        return not failures

    def close(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            self._ahead = None
            self._mailboxes.unlock(self._folder)


class MessageReader:
    """Reads one message's file: its first chunk is here, the others are read in the mailbox thread.

    Attributes:
        first: the first chunk, lines as they are stored (LF).
        descriptor: of the open file; -1 when nothing is to be read from it.
    """

    __slots__ = ("_mailboxes", "descriptor", "first")

    def __init__(self, mailboxes: Mailboxes, first: bytes, descriptor: int = -1) -> None:
        self._mailboxes = mailboxes
        self.first = first
        self.descriptor = descriptor

    @property
    def is_whole(self) -> bool:
        """Whether `first` is all of it."""
        return self.descriptor < 0

    def read(self) -> Deferred[bytes]:
        """Read the next chunk; empty at the end; fails with OSError."""
        descriptor = self.descriptor
        return self._mailboxes.run(lambda: os.read(descriptor, CHUNK_OCTETS))

    def close(self) -> None:
        """Close the file, after a read that is running."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            self._mailboxes.run(lambda: os.close(descriptor)).addErrback(lambda _: None)
