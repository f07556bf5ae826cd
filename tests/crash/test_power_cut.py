"""A power cut at 1,200 moments of a recording: every message that was answered 250 is there, and whole.

The recording holds small and large bodies, mailboxes and another server, reports, and a checkpoint of the write-ahead
log while mail comes. At each moment the disk forgets some of what was not synced; the store is then opened as a fresh
start does. The same recording shows which syncs came before each 250, and before a recipient was marked done.
"""

import functools
import random
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest

from kms.domain.content import InlineContent
from kms.store.bodies import read_chunks, sweep
from kms.store.queue_leases import release_leases
from kms.store.queue_store import QueueStore
from kms.store.schema import open_database
from tests.crash.disk import Choice, Disk, File, lay_out, make_choice
from tests.crash.faulty_kms import BOX, FAR, IDENTITY, FaultyKms, Letter
from tests.crash.recording import Call, is_complete, read_recording, strace_command
from tests.e2e.peers.process import wait_until

PREFIXES = 1_200
REFUSED = "nobody@far.test"
DATABASE = {"kms.sqlite3", "kms.sqlite3-wal", "kms.sqlite3-journal"}
_QUEUED = re.compile(rb"^250 .*queued as ([0-9A-F]+)", re.MULTILINE)
_SENTENCE = re.compile(r"queued as ([0-9A-F]+)")


def letters() -> Iterator[Letter]:
    """Enough of medium size to fill the write-ahead log, and some of every other kind."""
    for number in range(240):
        octets = 900_000 if number % 30 < 2 else 2_000 if number % 4 == 3 else 55_000
        recipient = REFUSED if number % 24 == 7 else (BOX, FAR)[number % 2]
        yield Letter(f"letter-{number}", recipient, octets)


@attrs.define(eq=False, slots=False)
class Recording:
    """What was recorded: calls, the letters by queue id, and when the sink had them."""

    root: Path
    calls: list[Call]
    sent: dict[str, Letter]
    at_sink: dict[str, int]

    @functools.cached_property
    def answers(self) -> list[tuple[int, str]]:
        """When each 250 was sent, and the queue id in it."""
        return [
            (call.begin, queue_id.decode())
            for call in self.calls
            if call.name.startswith("send") and call.data
            for queue_id in _QUEUED.findall(call.data)
        ]


@pytest.fixture(scope="module")
def recording() -> Iterator[Recording]:
    folder = Path(tempfile.mkdtemp(prefix="kms-power-"))
    kms = FaultyKms(folder / "kms")
    prefix = folder / "trace"
    kms.launch = [*strace_command(prefix), *kms.launch]
    kms.sink.play({f"RCPT {REFUSED}": ["550 5.1.1 nobody"] * 100})
    sent: dict[str, Letter] = {}
    waiting = list(letters())

    def send() -> None:
        while waiting:
            letter = waiting.pop()
            code, text = kms.send(letter)
            assert code == 250, text
            match = _SENTENCE.search(text)
            assert match is not None
            sent[match[1]] = letter

    try:
        kms.begin()
        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
        kms.wait_until_idle()
        kms.stop()
        wait_until(lambda: is_complete(prefix), seconds=60)
        at_sink = {name_in(taken.data): int(taken.at * 1e9) for taken in kms.sink.taken}
        yield Recording(kms.data_dir, read_recording(prefix, kms.folder), sent, at_sink)
    finally:
        kms.end()
        shutil.rmtree(folder, ignore_errors=True)


def acknowledged_by(recording: Recording, moment: int) -> set[str]:
    """The letters that were answered 250 before this moment."""
    return {recording.sent[queue_id].identity for at, queue_id in recording.answers if at <= moment}


def name_in(message: bytes) -> str:
    match = IDENTITY.search(message)
    return match[1].decode() if match else ""


class Recovery:
    """Opens what a cut has left, and says which letters are in it."""

    def __init__(self, recording: Recording, ground: Path) -> None:
        self._recording = recording
        self._letters = {letter.identity: letter for letter in recording.sent.values()}
        self._ground = ground
        self._seen: dict[int, tuple[File, str]] = {}

    def recovered(self, disk: Disk, chance: random.Random, now: int) -> set[str]:
        """The letters that are in the queue, a mailbox or a report after the cut, and those that the sink has."""
        root = self._recording.root
        left = disk.cut(chance)
        choose = make_choice(chance)
        stored: dict[str, bytes | bytearray] = {}
        found = {name for name, at in self._recording.at_sink.items() if at <= now}
        for path, file in left.items():
            if not path.startswith(f"{root}/"):
                continue
            place = Path(path).relative_to(root)
            if place.parts[0] == "spool" or place.name in DATABASE:
                stored[path] = file.after_cut(choose)
            elif place.parts[0] == "mailboxes" and place.parts[-2] in {"new", "cur"}:
                found.add(self._in_mailbox(file, choose))
        target = self._ground / "left"
        shutil.rmtree(target, ignore_errors=True)
        (target / "spool").mkdir(parents=True)
        lay_out(root, target, stored)
        return found | self._in_queue(target)

    def _in_mailbox(self, file: File, choose: Choice) -> str:
        known = self._seen.get(id(file))
        if known is not None and not file.pending:
            return known[1]
        content = bytes(file.after_cut(choose))
        name = self._told_in(content)
        if not file.pending:
            self._seen[id(file)] = (file, name)
        return name

    def _told_in(self, content: bytes) -> str:
        """The letter that this is, whole, or that this report is about."""
        letter = self._letters.get(name_in(content))
        if letter is None:
            return ""
        is_report = b"multipart/report" in content and content.rstrip().endswith(b"--")
        return letter.identity if is_report or letter.is_whole_in(content) else ""

    def _in_queue(self, folder: Path) -> set[str]:
        """Start afresh on it: open, free, sweep, claim all; a content is read as a delivery reads it."""
        now = datetime.now(UTC) + timedelta(days=1)
        with closing(open_database(folder / "kms.sqlite3")) as connection:
            release_leases(connection)
            sweep(connection, folder / "spool", now)
            claimed, damaged = QueueStore(folder / "spool").claim(connection, now, 10_000, "me", now)
            assert not damaged, damaged
        contents = (
            item.content.data
            if isinstance(item.content, InlineContent)
            else b"".join(read_chunks(item.content))
            for item in claimed
        )
        return {self._told_in(content) for content in contents}


@pytest.mark.timeout(600)
def test_whatever_a_power_cut_forgets_no_acknowledged_message_is_lost(recording: Recording) -> None:
    chance = random.Random(1)
    disk = Disk(str(recording.root.parent))
    answers = recording.answers
    assert {queue_id for _, queue_id in answers} == set(recording.sent)
    on_files = [call for call in recording.calls if not call.name.startswith("send")]
    wal = [call for call in on_files if call.path.endswith("-wal") and call.name == "pwrite64"]
    database = [call for call in on_files if call.path.endswith("kms.sqlite3") and call.name == "pwrite64"]
    assert any(call.begin < answers[-1][0] for call in database[20:]), "a checkpoint while mail came"
    moments = sorted(chance.sample(range(len(on_files)), min(PREFIXES, len(on_files))))
    ground = Path(tempfile.mkdtemp(prefix="kms-cut-", dir="/dev/shm"))
    recovery = Recovery(recording, ground)
    checked, done, started = 0, 0, time.monotonic()
    try:
        for number, call in enumerate(on_files):
            if done < len(moments) and moments[done] == number:
                done += 1
                acknowledged = acknowledged_by(recording, call.begin)
                if "kms.sqlite3" in {Path(path).name for path in disk.safe_names} or acknowledged:
                    found = recovery.recovered(disk, chance, call.begin)
                    lost = acknowledged - found
                    assert not lost, f"lost at call {number} of {len(on_files)}: {sorted(lost)}"
                checked += len(acknowledged)
            disk.take(call)
    finally:
        shutil.rmtree(ground, ignore_errors=True)
    print(
        f"\n{done} power cuts in a recording of {len(on_files)} calls ({len(wal)} writes to the log, {len(database)} "
        f"to the database), {len(answers)} messages answered 250; {checked} times one was looked for, 0 lost; "
        f"{time.monotonic() - started:.0f} s"
    )
    assert done >= 1_000


def test_before_each_250_all_that_holds_the_text_was_synced(recording: Recording) -> None:
    calls = recording.calls
    syncs = [call for call in calls if call.name in {"fsync", "fdatasync"}]
    for at, queue_id in recording.answers:
        letter = recording.sent[queue_id]
        name = f"X-Identity: {letter.identity}\r\n".encode()
        if letter.octets < 100_000:
            writes = [c for c in calls if c.end <= at and c.path.endswith("-wal") and name in c.data]
            folders = []
        else:
            writes = [
                c for c in calls if c.end <= at and c.name == "write" and c.path.endswith(f"/{queue_id}")
            ]
            opened = next(c for c in calls if "O_CREAT" in c.flags and c.path.endswith(f"/{queue_id}"))
            folders = [(str(Path(opened.path).parent), opened.end)]
        assert writes, f"{queue_id} was written before its 250"
        for path, since in [(writes[0].path, writes[0 if letter.octets < 100_000 else -1].end), *folders]:
            assert any(c.path == path and since <= c.begin and c.end <= at for c in syncs), (
                f"{path} of {queue_id}"
            )


def test_before_a_recipient_is_done_its_file_and_folder_were_synced(recording: Recording) -> None:
    syncs = [call for call in recording.calls if call.name in {"fsync", "fdatasync"}]
    writes = [c for c in recording.calls if c.name == "write" and c.path.endswith("mail.log")]
    log = [(c.begin, line) for c in writes for line in c.data.split(b"\n") if b"status=sent" in line]
    renames = [c for c in recording.calls if c.name == "rename" and "/Maildir/new/" in c.target]
    local = [letter for letter in recording.sent.values() if letter.recipient == BOX]
    assert len(renames) >= len(local) > 50
    for rename in renames:
        match = re.search(r"\.([0-9A-F]+)R", rename.target)
        assert match is not None
        told = [at for at, line in log if match[1].encode() in line]
        assert told, rename.target
        assert any(c.path == rename.path and c.end <= rename.begin for c in syncs), "the file before its name"
        folder = str(Path(rename.target).parent)
        assert any(c.path == folder and rename.end <= c.begin and c.end <= told[0] for c in syncs), (
            "its folder"
        )
