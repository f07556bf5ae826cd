from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kms.domain.content import CHUNK_OCTETS, FileContent, InlineContent
from kms.store import maildir, write_back
from kms.store.maildir import MailboxDelivery, deliver_batch, mailbox_folder, unique_name
from kms.store.maildir_listing import (
    MailboxFiles,
    MaildirIndex,
    MessageGone,
    StoredMessage,
    make_uidl,
)

LATER = datetime(2100, 1, 1, tzinfo=UTC)
NAME = "1700000000.7C2A91F3R1.mx.test"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return mailbox_folder(tmp_path / "mailboxes", "example.test", "joe")


def delivery(
    folder: str, name: str = NAME, data: bytes = b"A: b\r\n\r\ntext\r\n", again: bool = False
) -> MailboxDelivery:
    return MailboxDelivery(folder, name, b"Return-Path: <>\r\n", InlineContent(data), again)


def put(folder: str, place: str, data: bytes) -> None:
    maildir.create_mailbox(folder)
    (Path(folder) / place).write_bytes(data)


def names(folder: str, place: str) -> list[str]:
    return sorted(os.listdir(f"{folder}/{place}"))


def listed(folder: str, index: MaildirIndex | None = None) -> tuple[StoredMessage, ...]:
    return (index or MaildirIndex()).list_messages(folder, LATER)


# Where a mailbox lies


def test_an_ordinary_account_lies_at_domain_and_user(tmp_path: Path) -> None:
    assert (
        mailbox_folder(tmp_path, "example.test", "John_Doe-1.x")
        == f"{tmp_path}/example.test/john_doe-1.x/Maildir"
    )


TRICKS = [
    "", ".", "..", "...", "../x", "../../etc", "/", "//", "/etc/passwd", "a/b", "a/../b", "./a", ".hidden",
    "a\0b", "\0", "a\nb", "a\rb", "a b", "a\\b", "..\\..", "~", "~root", "$HOME", "`id`", "a;b", "a|b", "a&b",
    "a*b", "a?b", "%", "%2e", "%2e%2e", "%2f", "..%2f", "%00", "é", "Ａdmin", "ａ", "\u202e", "\ufeff", "a:b",
    "a,b", "CON", "tmp", "new", "cur", "x" * 300, "é" * 200, "../" * 40, "\udc80", "a+tag", "<a>", '"a"', "maildir",
]  # fmt: skip


def test_no_name_gets_out_of_the_root_and_no_two_share_a_folder(tmp_path: Path) -> None:
    folders = [mailbox_folder(tmp_path, "example.test", trick) for trick in TRICKS]

    assert len(set(folders)) == len(TRICKS)
    for folder in folders:
        parts = Path(folder).relative_to(tmp_path).parts
        assert len(parts) == 3
        assert not parts[1].startswith(".")
        assert set(parts[1]) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-%")
        assert len(parts[1]) <= 255
        assert os.path.normpath(folder) == folder


def test_a_trick_in_the_domain_stays_in_the_root_too(tmp_path: Path) -> None:
    assert mailbox_folder(tmp_path, "../x", "a") == f"{tmp_path}/%2e.%2fx/a/Maildir"


def test_upper_and_lower_case_are_one_mailbox(tmp_path: Path) -> None:
    assert mailbox_folder(tmp_path, "d.test", "JOE") == mailbox_folder(tmp_path, "d.test", "joe")


@pytest.mark.parametrize(
    "name",
    ["1.AR1.h", "1.AR1.h,S=1,W=2", "1.AR1.h,S=1,W=2:2,S", "1.AR1.h:2,", "1.AR1.h,S=9:2,FS", "1.AR1.h,W=3"],
)
def test_the_unique_name_does_not_change_with_flags_and_sizes(name: str) -> None:
    assert unique_name(name) == "1.AR1.h"


def test_a_comma_that_begins_no_size_belongs_to_the_unique_name() -> None:
    assert unique_name("1.a,b.h,S=3:2,S") == "1.a,b.h"


# Delivery


def test_a_delivered_message_lies_in_new_with_lf_and_both_sizes_in_its_name(folder: str) -> None:
    assert deliver_batch([delivery(folder)]) == [None]

    stored = b"Return-Path: <>\nA: b\n\ntext\n"
    assert names(folder, "new") == [f"{NAME},S={len(stored)},W={len(stored) + 4}"]
    assert (Path(folder) / "new" / names(folder, "new")[0]).read_bytes() == stored
    assert names(folder, "tmp") == []


def test_folders_and_files_are_for_the_owner_only(folder: str) -> None:
    os.umask(os.umask(0o077))
    deliver_batch([delivery(folder)])

    path = Path(folder)
    for place in (path.parent.parent, path.parent, path, path / "tmp", path / "new", path / "cur"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / "new" / names(folder, "new")[0]).stat().st_mode) == 0o600


def test_a_batch_delivers_to_many_mailboxes(tmp_path: Path) -> None:
    folders = [mailbox_folder(tmp_path, "example.test", f"user{number}") for number in range(3)]
    items = [delivery(folder, f"{number}.AR1.h") for folder in folders for number in range(100)]

    assert deliver_batch(items) == [None] * 300
    assert [len(names(folder, "new")) for folder in folders] == [100, 100, 100]


@pytest.mark.parametrize("offset", range(-2, 3))
def test_a_large_content_is_converted_across_the_borders_of_chunks(
    folder: str, tmp_path: Path, offset: int
) -> None:
    data = b"x" * (CHUNK_OCTETS + offset) + b"\r\n" + b"y" * (2 * CHUNK_OCTETS) + b"\r\n"
    body = tmp_path / "body"
    body.write_bytes(data)

    assert deliver_batch([MailboxDelivery(folder, NAME, b"H: 1\r\n", FileContent(str(body), len(data)))]) == [
        None
    ]
    (name,) = names(folder, "new")
    assert (Path(folder) / "new" / name).read_bytes() == b"H: 1\n" + data.replace(b"\r\n", b"\n")
    assert name.endswith(f",W={len(data) + 6}")


def test_a_content_without_last_line_end_gets_one(folder: str, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"text\r")

    deliver_batch([MailboxDelivery(folder, NAME, b"", FileContent(str(body), 5))])
    (name,) = names(folder, "new")
    assert (Path(folder) / "new" / name).read_bytes() == b"text\r\n"


def test_a_missing_body_file_fails_its_item_alone(folder: str) -> None:
    gone = MailboxDelivery(folder, "1.AR1.h", b"", FileContent("/nonexistent/body", 5))
    results = deliver_batch([gone, delivery(folder)])

    assert isinstance(results[0], FileNotFoundError)
    assert results[1] is None
    assert names(folder, "tmp") == []
    assert len(names(folder, "new")) == 1


def test_a_mailbox_that_cannot_be_made_fails_its_items_alone(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    results = deliver_batch([delivery(f"{tmp_path}/file/Maildir"), delivery(folder)])

    assert isinstance(results[0], NotADirectoryError)
    assert results[1] is None


def test_a_full_disk_fails_one_item_and_leaves_nothing_of_it(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = maildir._write_all

    def write(descriptor: int, data: bytes) -> None:
        if b"huge" in data:
            real(descriptor, data[:3])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor, data)

    monkeypatch.setattr(maildir, "_write_all", write)
    results = deliver_batch([delivery(folder, "1.AR1.h", b"huge\r\n"), delivery(folder, "2.AR1.h")])

    assert isinstance(results[0], OSError)
    assert results[0].errno == errno.ENOSPC
    assert results[1] is None
    assert names(folder, "tmp") == []
    assert len(names(folder, "new")) == 1


def test_a_sync_that_fails_is_no_delivery(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir.create_mailbox(folder)

    def fail(draft: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(maildir, "_sync", fail)
    results = deliver_batch([delivery(folder)])

    assert isinstance(results[0], OSError)
    assert names(folder, "tmp") == names(folder, "new") == []


def test_a_folder_that_cannot_be_synced_is_no_delivery(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir.create_mailbox(folder)

    def fail(path: str) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(maildir, "_sync_folder", fail)
    (result,) = deliver_batch([delivery(folder)])
    assert isinstance(result, OSError)


def test_without_sync_file_range_all_goes_on(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_back, "_sync_file_range", None)
    assert deliver_batch([delivery(folder)]) == [None]


def test_what_a_crash_left_in_tmp_is_replaced(folder: str) -> None:
    put(folder, f"tmp/{NAME}", b"half")
    assert deliver_batch([delivery(folder, again=True)]) == [None]
    assert names(folder, "tmp") == []
    assert len(names(folder, "new")) == 1


def test_a_repeated_delivery_replaces_itself(folder: str) -> None:
    deliver_batch([delivery(folder)])
    assert deliver_batch([delivery(folder, again=True)]) == [None]
    assert len(names(folder, "new")) == 1


def test_a_repeated_delivery_is_found_where_a_reader_has_moved_it_to_cur(folder: str) -> None:
    deliver_batch([delivery(folder)])
    (name,) = names(folder, "new")
    os.rename(f"{folder}/new/{name}", f"{folder}/cur/{name}:2,S")

    assert deliver_batch([delivery(folder, again=True)]) == [None]
    assert names(folder, "new") == []
    assert names(folder, "cur") == [f"{name}:2,S"]


def test_a_repeated_delivery_to_a_mailbox_that_is_gone_makes_it_again(folder: str) -> None:
    assert deliver_batch([delivery(folder, again=True)]) == [None]
    assert len(names(folder, "new")) == 1


def test_a_repeated_delivery_that_cannot_look_is_put_off(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (result,) = deliver_batch([delivery(f"{tmp_path}/file", again=True)])
    assert isinstance(result, NotADirectoryError)


def test_a_name_cannot_lead_out_of_the_folder(folder: str) -> None:
    assert deliver_batch([delivery(folder, "1.AR1.../../x:y")]) == [None]
    assert names(folder, "new")[0].startswith("1.AR1..._.._x_y,S=")


# Listing


def test_a_missing_mailbox_is_empty(folder: str) -> None:
    assert listed(folder) == ()


def test_messages_come_oldest_first_wherever_they_lie(folder: str) -> None:
    put(folder, "cur/200.B.h:2,S", b"x\n")
    put(folder, "new/1000.A.h", b"x\n")
    put(folder, "new/30.C.h", b"x\n")
    put(folder, "new/nonumber", b"x\n")
    assert [message.name for message in listed(folder)] == ["nonumber", "30.C.h", "200.B.h", "1000.A.h"]


def test_only_plain_files_are_listed(folder: str, tmp_path: Path) -> None:
    maildir.create_mailbox(folder)
    (tmp_path / "secret").write_text("secret")
    os.symlink(tmp_path / "secret", f"{folder}/new/1.link")
    os.symlink(tmp_path / "secret", f"{folder}/new/1.AR1.h,S=6,W=6")
    os.mkfifo(f"{folder}/new/2.fifo")
    os.mkdir(f"{folder}/cur/3.folder")
    put(folder, "new/.hidden", b"x\n")
    put(folder, "new/4.file", b"x\n")
    assert [message.name for message in listed(folder)] == ["4.file"]


@pytest.mark.parametrize(
    ("data", "octets"),
    [
        (b"", 0),
        (b"a\n", 3),
        (b"a\r\n", 3),
        (b"a", 3),
        (b"a\r", 4),
        (b"a\n\nb", 8),
        (b"x" * (CHUNK_OCTETS - 1) + b"\r\n", CHUNK_OCTETS + 1),
        (b"x" * (CHUNK_OCTETS - 1) + b"\n\n", CHUNK_OCTETS + 3),
    ],
)
def test_a_size_that_the_name_does_not_tell_is_measured_as_sent(
    folder: str, data: bytes, octets: int
) -> None:
    put(folder, "new/1.a.h", data)
    assert listed(folder)[0].octets == octets


@pytest.mark.parametrize(
    ("name", "data", "octets"),
    [
        ("1.AR1.h,S=2,W=30", b"a\n", 30),
        ("1.other.h,S=2,W=30", b"a\n", 30),
        ("1.other.h,S=2,W=30:2,S", b"ab", 32),
        ("1.other.h,S=9,W=30", b"a\n", 3),
    ],
)
def test_sizes_in_names_are_believed_where_they_can_be(
    folder: str, name: str, data: bytes, octets: int
) -> None:
    put(folder, f"cur/{name}", data)
    assert listed(folder)[0].octets == octets


def test_a_listing_is_remembered_while_the_folders_do_not_change(folder: str) -> None:
    put(folder, "new/1.a.h", b"x\n")
    index = MaildirIndex()
    first = listed(folder, index)
    assert listed(folder, index) is first

    put(folder, "new/2.a.h", b"x\n")
    os.utime(f"{folder}/new", (5_000_000, 5_000_000))
    assert len(listed(folder, index)) == 2


def test_a_folder_that_has_just_changed_is_looked_at_again(folder: str) -> None:
    put(folder, "new/1.a.h", b"x\n")
    index = MaildirIndex()
    now = datetime.fromtimestamp(os.stat(f"{folder}/new").st_mtime, UTC) + timedelta(milliseconds=1)
    first = index.list_messages(folder, now)
    second = index.list_messages(folder, now)
    assert first == second
    assert first is not second


def test_sizes_once_measured_are_not_measured_again(folder: str) -> None:
    put(folder, "new/1.a.h", b"x\n")
    index = MaildirIndex()
    listed(folder, index)
    (Path(folder) / "new/1.a.h").write_bytes(b"changed against all rules\n")
    put(folder, "new/2.a.h", b"x\n")
    os.utime(f"{folder}/new", (5_000_000, 5_000_000))
    assert [message.octets for message in listed(folder, index)] == [3, 3]


def test_the_memory_for_listings_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kms.store.maildir_listing._MOST_REMEMBERED", 2)
    index = MaildirIndex()
    folders = [f"{tmp_path}/{number}" for number in range(3)]
    for folder in folders:
        put(folder, "new/1.a.h", b"x\n")
    first, *_ = [listed(folder, index) for folder in folders]
    assert listed(folders[2], index) is listed(folders[2], index)
    assert listed(folders[0], index) is not first


def test_a_long_listing_is_cut_into_steps(folder: str) -> None:
    maildir.create_mailbox(folder)
    for number in range(300):
        (Path(folder) / f"new/{number}.a.h").write_bytes(b"x\n")
    assert len(list(MaildirIndex().steps(folder, LATER))) == 2


def test_a_folder_that_changes_during_the_listing_is_listed_again(folder: str) -> None:
    maildir.create_mailbox(folder)
    for number in range(128):
        (Path(folder) / f"new/{number}.a.h").write_bytes(b"x\n")
    steps = MaildirIndex().steps(folder, LATER)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            messages = stop.value
            break
        count += 1
        put(folder, f"new/{1000 + count}.b.h", b"x\n")
        os.utime(f"{folder}/new", (count, count))
    assert len(messages) == 129


def test_a_message_that_is_moved_while_it_is_listed_counts_once(folder: str) -> None:
    put(folder, "new/1.a.h,S=2,W=3", b"x\n")
    put(folder, "cur/1.a.h,S=2,W=3:2,S", b"x\n")
    (message,) = listed(folder)
    assert message.place == "cur/1.a.h,S=2,W=3:2,S"


def test_what_is_no_mailbox_is_an_error_and_not_empty(tmp_path: Path) -> None:
    (tmp_path / "Maildir").write_text("")
    with pytest.raises(NotADirectoryError):
        listed(str(tmp_path / "Maildir"))


def test_the_uidl_is_the_unique_name_where_pop3_can_show_it() -> None:
    assert make_uidl(NAME) == NAME
    assert make_uidl("x" * 70) == "x" * 70


@pytest.mark.parametrize("name", ["x" * 71, "a b", "é", "a\x7f", "\udc80"])
def test_the_uidl_of_any_other_name_is_a_digest_of_it(name: str) -> None:
    uidl = make_uidl(name)
    assert len(uidl) == 64
    assert uidl == make_uidl(name)


def test_the_uidl_survives_flags_and_folders(folder: str) -> None:
    deliver_batch([delivery(folder)])
    (before,) = listed(folder)
    os.rename(f"{folder}/{before.place}", f"{folder}/cur/{before.place[4:]}:2,FS")
    (after,) = listed(folder)
    assert (after.uidl, after.octets) == (before.uidl, before.octets)


# Reading and removing


def test_a_message_that_moved_since_is_opened_and_removed(folder: str) -> None:
    for name in ("1.a.h", "2.a.h"):
        put(folder, f"new/{name}", b"text\n")
    messages = listed(folder)
    for message in messages:
        os.rename(f"{folder}/{message.place}", f"{folder}/cur/{message.name}:2,S")
    files = MailboxFiles(folder)

    for message in messages:
        descriptor = files.open(message)
        assert os.read(descriptor, 100) == b"text\n"
        os.close(descriptor)
    for message in messages:
        files.remove(message)
    assert names(folder, "cur") == []


def test_a_message_that_moves_twice_is_still_found(folder: str) -> None:
    put(folder, "new/1.a.h", b"text\n")
    (message,) = listed(folder)
    files = MailboxFiles(folder)
    os.rename(f"{folder}/new/1.a.h", f"{folder}/cur/1.a.h:2,")
    os.close(files.open(message))
    os.rename(f"{folder}/cur/1.a.h:2,", f"{folder}/cur/1.a.h:2,S")
    os.utime(f"{folder}/cur", (1, 1))
    os.close(files.open(message))


def test_a_removed_message_is_gone_and_removing_it_again_is_as_good(folder: str) -> None:
    put(folder, "new/1.a.h", b"text\n")
    (message,) = listed(folder)
    os.unlink(f"{folder}/new/1.a.h")
    files = MailboxFiles(folder)
    with pytest.raises(MessageGone):
        files.open(message)
    with pytest.raises(MessageGone):
        files.open(message)
    files.remove(message)


def test_a_file_that_became_a_link_or_a_pipe_is_not_opened(folder: str, tmp_path: Path) -> None:
    put(folder, "new/1.a.h", b"text\n")
    put(folder, "new/2.a.h", b"text\n")
    first, second = listed(folder)
    (tmp_path / "secret").write_text("secret")
    for message in (first, second):
        os.unlink(f"{folder}/{message.place}")
    os.symlink(tmp_path / "secret", f"{folder}/{first.place}")
    os.mkfifo(f"{folder}/{second.place}")
    files = MailboxFiles(folder)
    with pytest.raises(OSError, match="symbolic"):
        files.open(first)
    with pytest.raises(MessageGone):
        files.open(second)


def test_a_file_that_cannot_be_removed_is_an_error(folder: str) -> None:
    put(folder, "new/1.a.h", b"text\n")
    (message,) = listed(folder)
    os.unlink(f"{folder}/new/1.a.h")
    os.mkdir(f"{folder}/new/1.a.h")
    with pytest.raises(OSError):
        MailboxFiles(folder).remove(message)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
def test_a_shortage_of_descriptors_hides_no_message(
    folder: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    put(folder, "new/1.a.h", b"text\n")

    def fail(path: str) -> int:
        raise OSError(number, "short")

    monkeypatch.setattr("kms.store.maildir_listing._open_plain", fail)
    with pytest.raises(OSError):
        listed(folder)


def test_a_message_that_cannot_be_read_is_not_listed(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, "new/1.a.h", b"text\n")

    def fail(descriptor: int, place: str) -> int:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr("kms.store.maildir_listing._measure_open", fail)
    assert listed(folder) == ()


def test_a_message_that_vanishes_before_it_is_measured_is_not_listed(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "new/1.a.h", b"text\n")

    def gone(path: str) -> int:
        raise MessageGone

    monkeypatch.setattr("kms.store.maildir_listing._open_plain", gone)
    assert listed(folder) == ()
