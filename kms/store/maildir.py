"""Mailboxes on disk: where they lie, and how mail gets into them (Maildir++).

A mailbox is `<root>/<domain>/<user>/Maildir` with the folders tmp, new and cur, that Dovecot, mutt and others
can open at the same time. Reading them stands in maildir_listing.py.

Promises: two accounts never share a folder, and no name gets out of the root. What `deliver_batch` reports as
delivered is on disk, file and folder; one that fails leaves nothing behind and does not harm the others. A
message delivered again under its name replaces itself, also where a reader has moved it to cur meanwhile.

Flow: local_delivery gathers deliveries; the mailbox thread (service/mailboxes.py) calls `deliver_batch`;
then the recipients are marked done. Lines inside end in LF; sizes in the file's name tell both forms.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from kms.domain.content import CHUNK_OCTETS, Content, FileContent, InlineContent
from kms.domain.newlines import crlf_to_lf
from kms.store.fault import Step, reach
from kms.store.own_file_system import OwnFileSystem
from kms.store.write_back import start_write_back

FOLDERS = ("tmp", "new", "cur")
_MAX_COMPONENT = 200
_MOST_OPEN_FILES = 48  # of a batch, where each is synced by itself
_NOT_IN_COMPONENT = re.compile(rb"[^a-z0-9._-]|^\.")
_NOT_IN_NAME = str.maketrans(dict.fromkeys("/:,\0", "_"))
_EXTENSIONS = re.compile(r"(?:,[A-Z]=[^,]*)+\Z")


@functools.lru_cache(maxsize=4096)
def mailbox_folder(root: Path, domain: str, user: str) -> str:
    """Name the Maildir of an account.

    Args:
        root: the folder of all mailboxes.
        domain: of the account; any text.
        user: the account's name; any text. Case does not matter.

    Returns:
        A path below `root`, whatever the texts hold: what is not of `a-z 0-9 . _ -`, or leads as a dot, is
        written as % and its two hexadecimal digits.
    """
    return str(root / _component(domain) / _component(user) / "Maildir")


def _component(text: str) -> str:
    raw = text.lower().encode("utf-8", "surrogatepass")
    encoded = _NOT_IN_COMPONENT.sub(lambda found: b"%%%02x" % found[0][0], raw).decode("ascii") or "%"
    if len(encoded) > _MAX_COMPONENT:
        return f"{encoded[:100]}%%{hashlib.sha256(raw).hexdigest()}"
    return encoded


def unique_name(file_name: str) -> str:
    """Cut flags and sizes off a file's name: what stays never changes while the message lives."""
    return _EXTENSIONS.sub("", file_name.partition(":")[0])


@attrs.define  # not frozen: measured, one for each message; nobody changes one
class MailboxDelivery:
    """One message for one mailbox.

    Attributes:
        folder: the Maildir, as `mailbox_folder` names it; made when it is missing.
        name: the unique name, the same at every attempt: `<seconds>.<queue id>R<recipient id>.<host>`.
        header: lines to put before the content, in wire form; whole lines.
        content: the message in wire form.
        may_exist: an earlier attempt may have delivered it: look before writing.
    """

    folder: str
    name: str
    header: bytes
    content: Content
    may_exist: bool = False


def deliver_batch(
    items: Sequence[MailboxDelivery], file_system: OwnFileSystem | None = None
) -> list[OSError | None]:
    """Put messages into mailboxes, durably.

    All are written before the first is synced, so that the disk serves them together; each folder is synced
    once. An item fails alone.

    Args:
        file_system: syncs all files at once, and all folders at once, where it can be used.

    Returns:
        For each item, in order: None when it is in the mailbox and on disk, else what went wrong.
    """
    results: list[OSError | None] = []
    most = _MOST_OPEN_FILES if file_system is None else max(len(items), 1)
    for start in range(0, len(items), most):
        drafts = [_Draft(item) for item in items[start : start + most]]
        try:
            _deliver(drafts, file_system)
        finally:
            for draft in drafts:
                _close(draft)
        reach(Step.MAILBOX_STORED)
        results.extend(draft.error for draft in drafts)
    return results


@attrs.define(eq=False)
class _Draft:
    """How far one delivery has come."""

    item: MailboxDelivery
    descriptor: int = -1
    octets: int = 0
    newlines: int = 0
    changed: tuple[str, ...] = ()
    is_over: bool = False
    error: OSError | None = None

    @property
    def tmp_path(self) -> str:
        return f"{self.item.folder}/tmp/{_file_name(self.item)}"

    @property
    def new_path(self) -> str:
        sizes = f",S={self.octets},W={self.octets + self.newlines}"
        return f"{self.item.folder}/new/{_file_name(self.item)}{sizes}"


def _file_name(item: MailboxDelivery) -> str:
    return item.name.translate(_NOT_IN_NAME)


def _deliver(drafts: list[_Draft], file_system: OwnFileSystem | None) -> None:
    _settle_repeated(drafts)
    if file_system is None:
        _take_steps(drafts, _write, _start_write_back, _sync, _rename)
        _sync_folders(drafts)
        return
    sync_all = functools.partial(_sync_all, drafts, file_system)
    _take_steps(drafts, _write_and_close)
    if sync_all():
        _take_steps(drafts, _rename)
        sync_all()


def _take_steps(drafts: list[_Draft], *steps: Callable[[_Draft], None]) -> None:
    for step in steps:
        for draft in drafts:
            if not draft.is_over:
                _attempt(step, draft)


def _sync_all(drafts: list[_Draft], file_system: OwnFileSystem) -> bool:
    """Sync files and folders together; False where that failed, and with it every draft."""
    try:
        reach(Step.TMP_SYNC if not drafts[0].changed else Step.NEW_SYNC)
        file_system.sync()
    except OSError as error:
        for draft in drafts:
            if not draft.error:
                _fail(draft, error)
        return False
    return True


def _attempt(step: Callable[[_Draft], None], draft: _Draft) -> None:
    try:
        step(draft)
    except OSError as error:
        _fail(draft, error)


def _fail(draft: _Draft, error: OSError) -> None:
    draft.error = error
    draft.is_over = True
    _close(draft)
    with contextlib.suppress(OSError):
        os.unlink(draft.tmp_path)


def _settle_repeated(drafts: list[_Draft]) -> None:
    """End those that an earlier attempt has delivered; their folders are synced again."""
    present: dict[str, frozenset[str]] = {}
    for draft in drafts:
        folder = draft.item.folder
        if not draft.item.may_exist:
            continue
        try:
            if folder not in present:
                present[folder] = _names_present(folder)
        except OSError as error:
            draft.error = error
            draft.is_over = True
            continue
        if _file_name(draft.item) in present[folder]:
            draft.is_over = True
            draft.changed = (f"{folder}/new", f"{folder}/cur")


def _names_present(folder: str) -> frozenset[str]:
    names: set[str] = set()
    with contextlib.suppress(FileNotFoundError):
        for place in ("new", "cur", "new"):  # a file may be on its way from one to the other
            names.update(map(unique_name, os.listdir(f"{folder}/{place}")))
    return frozenset(names)


# The steps of one delivery


def _write(draft: _Draft) -> None:
    reach(Step.TMP_OPEN)
    draft.descriptor = _open_tmp(draft)
    ends_line = True
    for data in filter(None, _stored_form(draft.item)):
        reach(Step.TMP_WRITE)
        _write_all(draft.descriptor, data)
        draft.octets += len(data)
        draft.newlines += data.count(b"\n")
        ends_line = data.endswith(b"\n")
    if not ends_line:
        _write_all(draft.descriptor, b"\n")
        draft.octets += 1
        draft.newlines += 1


def _write_and_close(draft: _Draft) -> None:
    _write(draft)
    _close(draft)


def _start_write_back(draft: _Draft) -> None:
    start_write_back(draft.descriptor)


def _sync(draft: _Draft) -> None:
    reach(Step.TMP_SYNC)
    os.fsync(draft.descriptor)
    _close(draft)


def _rename(draft: _Draft) -> None:
    reach(Step.RENAME)
    os.rename(draft.tmp_path, draft.new_path)
    draft.changed = (f"{draft.item.folder}/new",)


def _sync_folders(drafts: list[_Draft]) -> None:
    failed: dict[str, OSError] = {}
    for folder in dict.fromkeys(folder for draft in drafts for folder in draft.changed):
        try:
            reach(Step.NEW_SYNC)
            _sync_folder(folder)
        except OSError as error:
            failed[folder] = error
    for draft in drafts:
        draft.error = next((failed[folder] for folder in draft.changed if folder in failed), draft.error)


# Their parts


def _open_tmp(draft: _Draft) -> int:
    try:
        return _create(draft.tmp_path)
    except FileNotFoundError:
        create_mailbox(draft.item.folder)
    except FileExistsError:  # what a crash has left
        os.unlink(draft.tmp_path)
    return _create(draft.tmp_path)


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def create_mailbox(folder: str) -> None:
    """Make a Maildir and what is missing above it, for the owner only, on disk when this returns."""
    for name in reversed(FOLDERS):  # tmp last: it is what a delivery looks for
        _create_folder(f"{folder}/{name}")


def _create_folder(path: str) -> None:
    parent = os.path.dirname(path)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        _create_folder(parent)
        os.mkdir(path, 0o700)
    _sync_folder(parent)


def _stored_form(item: MailboxDelivery) -> Iterator[bytes]:
    """Give header and content with LF for CRLF; a content in a file in chunks."""
    match item.content:
        case InlineContent(data):
            yield crlf_to_lf(item.header + data)
        case FileContent(path):
            yield crlf_to_lf(item.header)
            yield from _convert_file(path)


def _convert_file(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        held = b""
        while chunk := file.read(CHUNK_OCTETS):
            data = held + chunk
            held = b"\r" if data.endswith(b"\r") else b""
            yield crlf_to_lf(data[: len(data) - len(held)])
        if held:
            yield held


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _close(draft: _Draft) -> None:
    if draft.descriptor >= 0:
        os.close(draft.descriptor)
        draft.descriptor = -1
