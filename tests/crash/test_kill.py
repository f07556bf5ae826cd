"""Ten kills with -9 in a run of 5,000 accepted messages: nothing answered 250 is lost, nothing is filed twice.

Half of the mail is for five local mailboxes, half goes through a smarthost to a real sink; one in fifty is large
enough to be a file of its own. Each kill waits for its moment: a sender that waits for the answer to its data, a
Maildir with files in tmp, a sink that has just got a message while connections to it are open. Duplicates at the sink
are counted: at most two per connection that was open at a kill.
"""

import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.crash.senders import FOREIGN, LOCAL_BOXES, Senders, Sent
from tests.e2e.peers.kms_server import Kms
from tests.e2e.peers.process import Program, free_port, missing_packages, wait_until

ACCEPTED = 5_000
MOMENTS = ("reception", "local delivery", "remote delivery") * 3 + ("reception",)
_IDENTITY = re.compile(rb"^X-Identity: (\d+)\r?$", re.MULTILINE)


@attrs.frozen
class Kill:
    """What was going on when the signal was sent."""

    moment: str
    accepted: int
    senders_waiting: int
    files_in_tmp: int
    outgoing_connections: int

    def is_during(self) -> bool:
        """Did it fall into its moment?"""
        match self.moment:
            case "reception":
                return self.senders_waiting > 0
            case "local delivery":
                return self.files_in_tmp > 0
            case _:
                return self.outgoing_connections > 0


class Sink:
    """smtp-sink: keeps every message as a file, and lives through all the kills."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.dump = folder / "sink"
        self.dump.mkdir(mode=0o777)
        self.dump.chmod(0o777)
        self._program = Program(
            ["smtp-sink", "-u", "postfix", "-d", f"{self.dump}/m.", f"127.0.0.1:{self.port}", "1000"],
            folder / "sink.log",
        )
        self._program.wait_for_port("127.0.0.1", self.port)

    def count(self) -> int:
        return sum(1 for _ in self.dump.iterdir())

    def connections(self) -> int:
        """Established connections to it, from /proc/net/tcp."""
        port = f":{self.port:04X}"
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return sum(1 for line in lines if line.split()[2].endswith(port) and line.split()[3] == "01")

    def identities(self) -> Counter[str]:
        """How often each message is here whole; one that is cut is an error."""
        found: Counter[str] = Counter()
        for path in self.dump.iterdir():
            found[_identity(path.read_bytes())] += 1
        return found

    def stop(self) -> None:
        self._program.stop()


def _identity(message: bytes) -> str:
    match = _IDENTITY.search(message)
    assert match is not None, message[:500]
    return match[1].decode()


@pytest.fixture
def folder() -> Iterator[Path]:
    missing = missing_packages()
    assert not missing, f"apt-get install {' '.join(missing)}"
    path = Path(tempfile.mkdtemp(prefix="kms-crash-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def sink(folder: Path) -> Iterator[Sink]:
    server = Sink(folder)
    yield server
    server.stop()


@pytest.fixture
def kms(folder: Path, sink: Sink) -> Iterator[Kms]:
    overrides = {
        "relay": {"address_group": "Local clients"},
        "delivery": {"mode": "smarthost", "smarthost": f"127.0.0.1:{sink.port}", "tls": "off"},
        "queue": {"retry_interval": "1 s"},
    }
    server = Kms(folder / "kms", overrides)
    server.start()
    for box in LOCAL_BOXES:
        server.add_user(box)
    yield server
    if server.program is not None:
        server.stop()


class KillRun:
    """The run itself: wait for a moment, kill, start again."""

    def __init__(self, kms: Kms, sink: Sink, senders: Senders) -> None:
        self.kms = kms
        self.sink = sink
        self.senders = senders
        self.kills: list[Kill] = []

    def filed(self) -> int:
        """Messages in the local mailboxes."""
        return sum(
            1
            for box in LOCAL_BOXES
            for name in ("new", "cur")
            for _ in (self.kms.maildir(box) / name).glob("*")
        )

    def files_in_tmp(self) -> int:
        """Files that a delivery is just writing."""
        return sum(1 for box in LOCAL_BOXES for _ in (self.kms.maildir(box) / "tmp").glob("*"))

    def wait_for(self, moment: str) -> None:
        """Return in the middle of it."""
        if moment == "reception":
            wait_until(lambda: self.senders.waiting > 0, pause=0.0005)
        elif moment == "local delivery":
            wait_until(lambda: self.files_in_tmp() > 0, pause=0)
        else:
            before = self.sink.count()
            wait_until(lambda: self.sink.count() > before and self.sink.connections() > 0, pause=0)

    def kill_and_restart(self, moment: str) -> None:
        self.wait_for(moment)
        kill = Kill(
            moment,
            len(self.senders.accepted),
            self.senders.waiting,
            self.files_in_tmp(),
            self.sink.connections(),
        )
        self.kms.kill()
        self.kills.append(kill)
        self.kms.start()

    def run(self) -> None:
        """All kills, spread over the run; then wait until everything accepted has arrived."""
        self.senders.start()
        for number, moment in enumerate(MOMENTS, 1):
            self.wait_for_accepted(number * ACCEPTED // (len(MOMENTS) + 1))
            self.kill_and_restart(moment)
        wait_until(self.senders.is_done, seconds=90)
        wait_until(self.has_arrived, seconds=90, pause=0.5, what=self.kms.everything)
        time.sleep(3)

    def wait_for_accepted(self, count: int) -> None:
        """Return once so many messages were answered 250."""
        what = f"{count} messages accepted: {self.senders.refusals[-3:]}"
        wait_until(lambda: len(self.senders.accepted) >= count, seconds=60, pause=0.002, what=what)

    def has_arrived(self) -> bool:
        """Is the queue empty, and could all be there?"""
        foreign = sum(1 for sent in self.senders.accepted.values() if sent.recipient == FOREIGN)
        local = len(self.senders.accepted) - foreign
        return self.filed() >= local and self.sink.count() >= foreign and self.kms.queue_length() == 0


def check_local(kms: Kms, accepted: dict[str, Sent], unknown: dict[str, Sent]) -> Counter[str]:
    """Each local message once, whole, in its own mailbox; gives how often each was seen."""
    seen: Counter[str] = Counter()
    for box in LOCAL_BOXES:
        for message in kms.messages(box):
            identity = _identity(message)
            sent = accepted.get(identity) or unknown[identity]
            assert sent.recipient == box
            assert message.endswith(sent.message().replace(b"\r\n", b"\n")), f"{identity} is not whole"
            seen[identity] += 1
    return seen


@pytest.mark.timeout(600)
def test_ten_kills_lose_nothing_and_file_nothing_twice(kms: Kms, sink: Sink) -> None:
    senders = Senders(kms.smtp, ACCEPTED)
    run = KillRun(kms, sink, senders)
    try:
        run.run()
    finally:
        senders.stop()
    accepted = senders.accepted
    local = check_local(kms, accepted, senders.unknown)
    remote = sink.identities()
    lost = [
        sent
        for sent in accepted.values()
        if (remote if sent.recipient == FOREIGN else local)[sent.identity] == 0
    ]
    twice_locally = [identity for identity, count in local.items() if count > 1]
    duplicates = sum(count - 1 for count in remote.values())
    allowed = 2 * sum(kill.outgoing_connections for kill in run.kills)
    for kill in run.kills:
        print(kill)
    print(
        f"{len(accepted)} answered 250, {len(senders.unknown)} without an answer, {len(lost)} lost, "
        f"{len(twice_locally)} filed twice, {duplicates} duplicates at the sink (at most {allowed} allowed), "
        f"refusals: {senders.refusals[:3]}"
    )
    for moment in set(MOMENTS):
        assert sum(1 for kill in run.kills if kill.moment == moment and kill.is_during()) >= 2, moment
    assert len(accepted) >= ACCEPTED
    assert lost == []
    assert twice_locally == []
    assert duplicates <= allowed
