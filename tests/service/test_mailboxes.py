from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from zope.interface import implementer

from kms.domain.account import Account
from kms.domain.content import CHUNK_OCTETS, InlineContent
from kms.service.clock import ClockOf
from kms.service.mailboxes import Mailboxes, MailboxesStopped, MailboxInUse, MailboxUsage, OpenMailbox
from kms.service.portal import IMailboxAvatar
from kms.store.maildir import MailboxDelivery
from kms.store.maildir_listing import MessageGone
from tests.support.results import result_of

JOE = Account("joe", "example.test")
ANN = Account("ann", "example.test")


@pytest.fixture
def mailboxes(tmp_path: Path) -> Mailboxes:
    mailboxes = Mailboxes(tmp_path, ClockOf(Clock()), None)
    mailboxes.start()
    return mailboxes


def fill(mailboxes: Mailboxes, *contents: bytes) -> None:
    items = [
        MailboxDelivery(mailboxes.folder(JOE), f"{number}.AR1.h", b"", InlineContent(content))
        for number, content in enumerate(contents, 1)
    ]
    assert result_of(mailboxes.deliver(items)) == [None] * len(contents)


def open_joe(mailboxes: Mailboxes) -> OpenMailbox:
    return result_of(mailboxes.open(JOE))


def fetch_all(mailbox: OpenMailbox, number: int) -> bytes:
    reader = result_of(mailbox.fetch(number))
    data = reader.first
    while not reader.is_whole:
        chunk = result_of(reader.read())
        data += chunk
        if not chunk:
            reader.close()
    reader.close()
    return data


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_an_account_without_mail_has_an_empty_mailbox(mailboxes: Mailboxes) -> None:
    assert result_of(mailboxes.usage(JOE)) == MailboxUsage(0, 0)
    assert open_joe(mailboxes).messages == ()


def test_usage_counts_octets_and_messages(mailboxes: Mailboxes) -> None:
    fill(mailboxes, b"a\r\n", b"bcd\r\n")
    assert result_of(mailboxes.usage(JOE)) == MailboxUsage(8, 2)


def test_an_open_mailbox_is_a_mailbox_avatar_and_knows_its_login(mailboxes: Mailboxes) -> None:
    mailbox = open_joe(mailboxes)
    assert IMailboxAvatar.providedBy(mailbox)
    assert mailbox.login == "joe@example.test"


def test_a_mailbox_is_open_once_and_others_are_free(mailboxes: Mailboxes) -> None:
    first = open_joe(mailboxes)
    with pytest.raises(MailboxInUse):
        open_joe(mailboxes)
    result_of(mailboxes.open(ANN))

    first.close()
    second = open_joe(mailboxes)
    first.close()
    with pytest.raises(MailboxInUse):
        open_joe(mailboxes)
    second.close()


def test_a_mailbox_that_cannot_be_listed_is_not_left_locked(mailboxes: Mailboxes) -> None:
    Path(mailboxes.folder(JOE)).parent.mkdir(parents=True)
    Path(mailboxes.folder(JOE)).write_text("no folder")
    for _ in range(2):
        with pytest.raises(NotADirectoryError):
            open_joe(mailboxes)


def test_new_mail_does_not_change_an_open_mailbox(mailboxes: Mailboxes) -> None:
    fill(mailboxes, b"a\r\n")
    mailbox = open_joe(mailboxes)
    fill(mailboxes, b"a\r\n", b"b\r\n")
    assert len(mailbox.messages) == 1
    mailbox.close()
    assert len(open_joe(mailboxes).messages) == 2


def test_messages_are_read_whole_in_any_order(mailboxes: Mailboxes) -> None:
    contents = [b"%d\r\n" % number for number in range(1, 80)]
    fill(mailboxes, *contents)
    mailbox = open_joe(mailboxes)
    for order in (range(1, 80), range(79, 0, -1), (5, 5, 6, 7, 3, 4, 5, 79, 78)):
        for number in order:
            assert fetch_all(mailbox, number) == b"%d\n" % number


def test_a_large_message_is_read_in_chunks_and_its_file_closed(mailboxes: Mailboxes) -> None:
    large = (b"x" * 98 + b"\r\n") * (3 * CHUNK_OCTETS // 100)
    fill(mailboxes, b"small\r\n", large, b"small\r\n", large)
    mailbox = open_joe(mailboxes)
    before = open_descriptors()
    reader = result_of(mailbox.fetch(2))
    assert len(reader.first) == CHUNK_OCTETS
    reader.close()
    for number in (1, 2, 3, 4):
        assert len(fetch_all(mailbox, number)) == len(
            (b"small\r\n", large)[number % 2 == 0].replace(b"\r", b"")
        )
    assert open_descriptors() == before


def test_messages_read_ahead_are_let_go_at_the_close(mailboxes: Mailboxes) -> None:
    fill(mailboxes, b"1\r\n", b"2\r\n", b"3\r\n")
    mailbox = open_joe(mailboxes)
    fetch_all(mailbox, 1)
    fetch_all(mailbox, 2)
    assert mailbox._ahead
    mailbox.close()
    assert mailbox._ahead is None


def test_a_file_that_grew_beyond_a_chunk_is_not_read_ahead(mailboxes: Mailboxes) -> None:
    fill(mailboxes, b"1\r\n", b"2\r\n", b"3\r\n")
    mailbox = open_joe(mailboxes)
    before = open_descriptors()
    folder = Path(mailboxes.folder(JOE))
    (folder / mailbox.messages[2].place).write_bytes(b"x" * 2 * CHUNK_OCTETS)
    fetch_all(mailbox, 1)
    fetch_all(mailbox, 2)
    assert mailbox._ahead is None
    assert open_descriptors() == before


def test_a_message_that_another_program_removed_is_gone(mailboxes: Mailboxes) -> None:
    fill(mailboxes, b"1\r\n", b"2\r\n", b"3\r\n")
    mailbox = open_joe(mailboxes)
    os.unlink(f"{mailboxes.folder(JOE)}/{mailbox.messages[2].place}")
    fetch_all(mailbox, 1)
    fetch_all(mailbox, 2)
    with pytest.raises(MessageGone):
        result_of(mailbox.fetch(3))


def test_deleted_messages_are_gone_and_the_others_keep_their_uidl(mailboxes: Mailboxes) -> None:
    fill(mailboxes, b"1\r\n", b"2\r\n", b"3\r\n")
    mailbox = open_joe(mailboxes)
    kept = mailbox.messages[1]
    assert result_of(mailbox.delete((1, 3))) is True
    mailbox.close()
    assert open_joe(mailboxes).messages == (kept,)


def test_a_message_that_cannot_be_removed_is_told(mailboxes: Mailboxes) -> None:
    fill(mailboxes, b"1\r\n", b"2\r\n")
    mailbox = open_joe(mailboxes)
    path = f"{mailboxes.folder(JOE)}/{mailbox.messages[0].place}"
    os.unlink(path)
    os.mkdir(path)
    assert result_of(mailbox.delete((1, 2))) is False
    assert len(result_of(mailboxes.run(lambda: os.listdir(f"{mailboxes.folder(JOE)}/new")))) == 1


@implementer(IReactorFromThreads)
class Inbox:
    """Takes results out of the thread, when it is asked to."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], object]] = queue.Queue()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        self.calls.put(lambda: callable(*args, **kwargs))

    def take(self) -> None:
        self.calls.get(timeout=20)()


def test_files_are_touched_in_one_thread_that_is_not_the_reactors(tmp_path: Path) -> None:
    inbox = Inbox()
    mailboxes = Mailboxes(tmp_path, ClockOf(Clock()), inbox)
    mailboxes.start()
    first, second = mailboxes.run(threading.get_ident), mailboxes.run(threading.get_ident)
    inbox.take()
    inbox.take()
    assert result_of(first) == result_of(second) != threading.get_ident()
    mailboxes.stop()
    mailboxes.stop()


def test_stopping_waits_for_what_was_given_already(tmp_path: Path) -> None:
    inbox = Inbox()
    mailboxes = Mailboxes(tmp_path, ClockOf(Clock()), inbox)
    mailboxes.start()
    deliveries = [MailboxDelivery(mailboxes.folder(JOE), "1.AR1.h", b"", InlineContent(b"a\r\n"))]
    delivered = mailboxes.deliver(deliveries)
    mailboxes.stop()
    inbox.take()
    assert result_of(delivered) == [None]


def test_a_stopped_mailbox_thread_takes_nothing_more(tmp_path: Path) -> None:
    mailboxes = Mailboxes(tmp_path, ClockOf(Clock()), Inbox())
    with pytest.raises(MailboxesStopped):
        result_of(mailboxes.usage(JOE))
    with pytest.raises(MailboxesStopped):
        open_joe(mailboxes)


def test_a_long_deletion_lets_others_in_between(tmp_path: Path) -> None:
    inbox = Inbox()
    mailboxes = Mailboxes(tmp_path, ClockOf(Clock()), inbox)
    new = Path(mailboxes.folder(JOE)) / "new"
    new.mkdir(parents=True)
    for number in range(300):
        (new / f"{number}.a.h,S=2,W=3").write_bytes(b"x\n")
    mailboxes.start()
    done: list[str] = []
    opened: list[OpenMailbox] = []
    mailboxes.open(JOE).addCallback(opened.append)
    while not opened:
        inbox.take()
    opened[0].delete(range(1, 301)).addCallback(lambda complete: done.append(f"deleted {complete}"))
    mailboxes.run(lambda: "other").addCallback(done.append)
    while len(done) < 2:
        inbox.take()
    assert done == ["other", "deleted True"]
    assert list(new.iterdir()) == []
    mailboxes.stop()


def test_a_long_listing_lets_others_in_between(tmp_path: Path) -> None:
    inbox = Inbox()
    mailboxes = Mailboxes(tmp_path, ClockOf(Clock()), inbox)
    new = Path(mailboxes.folder(JOE)) / "new"
    new.mkdir(parents=True)
    for number in range(300):
        (new / f"{number}.a.h").write_bytes(b"x\n")
    mailboxes.start()
    opened = mailboxes.open(JOE)
    other = mailboxes.run(lambda: "other")
    done: list[str] = []
    opened.addCallback(lambda mailbox: done.append(f"{len(mailbox.messages)} messages"))
    other.addCallback(done.append)
    while len(done) < 2:
        inbox.take()
    assert done == ["other", "300 messages"]
    mailboxes.stop()
