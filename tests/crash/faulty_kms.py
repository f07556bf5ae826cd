"""kms with faults, a scripted sink as its smarthost, and messages that are told apart by name."""

import contextlib
import re
import smtplib
from collections.abc import Mapping
from pathlib import Path

import attrs

from kms.store.fault import EXIT_STATUS
from tests.e2e.peers.kms_server import Kms
from tests.e2e.peers.process import free_port, wait_until
from tests.e2e.peers.sink import ScriptedSink

BOX, SENDER, FAR = "box@example.test", "sender@example.test", "far@far.test"
SIZES = {"small": 2_000, "large": 900_000}
IDENTITY = re.compile(rb"^X-Identity: ([\w-]+)\r?$", re.MULTILINE)


@attrs.frozen
class Letter:
    """One message; its lines tell whose they are, so that a cut or mixed copy shows."""

    identity: str
    recipient: str
    octets: int

    def text(self) -> bytes:
        line = f"{self.identity} {'x' * 60}\r\n".encode()
        head = f"From: <{SENDER}>\r\nSubject: {self.identity}\r\nX-Identity: {self.identity}\r\n\r\n"
        return head.encode() + line * (self.octets // len(line))

    def is_whole_in(self, copy: bytes) -> bool:
        return copy.replace(b"\r\n", b"\n").endswith(self.text().replace(b"\r\n", b"\n"))


class FaultyKms(Kms):
    """A server whose next start has `faults` in its environment, and its sink."""

    def __init__(self, folder: Path, more: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.faults: dict[str, str] = {}
        self.sink = ScriptedSink(free_port())
        super().__init__(folder)
        self.configure(
            {
                "relay": {"address_group": "Local clients"},
                "delivery": {"mode": "smarthost", "smarthost": f"127.0.0.1:{self.sink.port}", "tls": "off"},
                "queue": {"retry_interval": "1 s"},
                "auth": {"mechanisms": "PLAIN"},
            }
        )
        self.configure(more or {})

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self.faults}

    def start(self, *, open_files: int = 0) -> None:
        """Start it; returns when the store was looked through too, which comes after the ports."""
        before = self.log("operations").count("kms serves")
        super().start(open_files=open_files)
        self.wait_for_log("operations", "kms serves", before + 1)

    def begin(self) -> None:
        """Start for the first time, without faults, and make the accounts."""
        self.start()
        self.add_user(BOX)
        self.add_user(SENDER)

    def start_with(self, **faults: str) -> None:
        """Start with these variables; the start after it is free of them again."""
        self.faults = faults
        try:
            self.start()
        finally:
            self.faults = {}

    def send(self, letter: Letter) -> tuple[int, str]:
        """Send it; the answer to its final dot, (0, "") where the server went away before."""
        code, text = 0, ""
        with contextlib.suppress(smtplib.SMTPServerDisconnected, ConnectionError):
            session = smtplib.SMTP("127.0.0.1", self.smtp, local_hostname="client.test", timeout=20)
            with session:
                session.ehlo()
                session.mail(SENDER)
                session.rcpt(letter.recipient)
                code, answer = session.data(letter.text())
                text = answer.decode()
        return code, text

    def wait_for_the_crash(self) -> None:
        """Return when it has left by itself, at the step."""
        assert self.program is not None
        program = self.program
        wait_until(lambda: not program.is_running(), what=self.everything)
        self.program = None
        assert program.process.returncode == EXIT_STATUS, self.everything()

    def copies(self, letter: Letter) -> int:
        """How often it has arrived, wherever it was to go; one that is not whole is an error."""
        if letter.recipient == FAR:
            found = [taken.data for taken in list(self.sink.taken)]
        else:
            found = self.messages(letter.recipient)
        name = letter.identity.encode()
        ours = [copy for copy in found if (match := IDENTITY.search(copy)) and match[1] == name]
        assert all(letter.is_whole_in(copy) for copy in ours), f"{letter.identity} is not whole"
        return len(ours)

    def reports(self, letter: Letter) -> int:
        """How many reports about it its sender has got."""
        return sum(
            b"multipart/report" in message and letter.identity.encode() in message
            for message in self.messages(SENDER)
        )

    def rests(self) -> list[str]:
        """Files that should not be there once the queue is empty."""
        spool = [str(path) for path in (self.data_dir / "spool").rglob("*") if path.is_file()]
        return spool + [str(path) for path in self.mailboxes().glob("*/*/Maildir/tmp/*")]

    def wait_until_idle(self) -> None:
        """Return when the queue is empty."""
        wait_until(lambda: self.queue_length() == 0, seconds=20, what=self.everything)

    def end(self) -> None:
        if self.program is not None:
            self.stop()
        self.sink.stop()
