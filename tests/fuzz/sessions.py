"""`python -m tests.fuzz.sessions [--seed S] [--count N]`: seeded sessions of nonsense against a real server process.

After every batch the server takes a message; in the end there is no traceback in its logs, its descriptors are those
of the start, and its memory has grown by no more than 64 MiB. Ends with 1 where that is not so, and names the
session: `--first K --count 1` plays session K alone.
"""

import argparse
import asyncio
import logging
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import attrs

from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.telnet import Telnet
from tests.fuzz.mutations import POP3, SMTP, Session, Sessions
from tests.fuzz.promises import check_pop3_replies, check_smtp_replies
from tests.fuzz.server_health import MIB, find_traceback, open_descriptors, resident_octets

BATCH = 250
AT_ONCE = 60
USER = "anna@example.test"
QUIET_SECONDS = 0.05
PATIENCE_SECONDS = 30.0
MOST_GROWTH_OCTETS = 64 * MIB
_BEFORE_TLS = (b"220 2.0.0 Ready to start TLS\r\n", b"+OK Begin TLS\r\n")


def make_server(folder: Path) -> Kms:
    """A server whose own mail finds no way out; the clients on loopback are exempt from the limits by default."""
    kms = Kms(
        folder,
        {
            "dns": {"nameservers": "127.0.0.1:9", "timeout": "1 s"},
            "delivery": {"mode": "smarthost", "smarthost": "127.0.0.1:9", "tls": "off"},
            "relay": {"address_group": ""},
            "limits": {"session_timeout": "1 minute", "command_timeout": "30 s"},
        },
    )
    kms.start(open_files=4096)
    kms.add_user(USER)
    return kms


class Ear(asyncio.Protocol):
    """Keeps all that is heard, also when the connection is reset in the middle of what we send."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.is_cut = False
        self._news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_cut = True
        self._news.set()

    async def listen(self) -> None:
        """Return when the server has said something and then nothing more, or has closed."""
        while not self.is_cut:
            try:
                async with asyncio.timeout(QUIET_SECONDS if self.heard else PATIENCE_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                return
            self._news.clear()


@attrs.define
class Player:
    """Plays sessions and checks what the server says to them."""

    kms: Kms
    replies: Counter[str] = attrs.field(factory=Counter)
    faults: list[str] = attrs.field(factory=list)
    _tls: ssl.SSLContext = attrs.field(factory=lambda: ssl._create_unverified_context())

    async def play_all(self, sessions: Iterable[tuple[int, Session]]) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def take_turn(number: int, session: Session) -> None:
            async with turns:
                await self.play(number, session)

        await asyncio.gather(*(take_turn(number, session) for number, session in sessions))

    async def play(self, number: int, session: Session) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                said, is_cut = await self._talk(session)
        except TimeoutError:
            self.faults.append(f"session {number}: not over after {PATIENCE_SECONDS} s")
            return
        try:
            self._check(session, said, is_cut)
        except AssertionError as error:
            self.faults.append(f"session {number} ({session.service}): {error}")

    async def _talk(self, session: Session) -> tuple[bytes, bool]:
        """Send all pieces; give what was said until it is quiet, and whether the server cut the connection."""
        transport, ear = await asyncio.get_running_loop().create_connection(
            Ear, self.kms.host, self._port_of(session), ssl=self._tls if session.is_tls else None
        )
        for piece in session.pieces:
            if ear.is_cut:
                break
            transport.write(piece)
            await asyncio.sleep(0)
        if not session.is_rude:
            await ear.listen()
        transport.abort()
        return bytes(ear.heard), ear.is_cut

    def _port_of(self, session: Session) -> int:
        if session.service == SMTP:
            return self.kms.submissions if session.is_tls else self.kms.smtp
        return self.kms.pop3s if session.is_tls else self.kms.pop3

    def _check(self, session: Session, said: bytes, is_cut: bool) -> None:
        """Whole lines; what comes after STARTTLS is no text, and a reply of many lines may have been cut by us."""
        for last in _BEFORE_TLS:
            said = said.partition(last)[0] + (last if last in said else b"")
        said = said[: said.rfind(b"\r\n") + 2]
        assert said or session.is_rude or is_cut, "not a word"
        if session.service == POP3:
            check_pop3_replies(said)
            return
        lines = said.splitlines(keepends=True)
        while lines and lines[-1][3:4] == b"-":
            lines.pop()
        check_smtp_replies(b"".join(lines))
        self.replies.update(line[:3].decode() for line in lines)


def takes_mail(kms: Kms) -> bool:
    """One message over SMTP, one login over POP3."""
    with Telnet(kms.smtp) as smtp:
        smtp.say("EHLO client.example")
        smtp.say("MAIL FROM:<>")
        smtp.say(f"RCPT TO:<{USER}>")
        smtp.say("DATA")
        is_taken = smtp.say("Subject: still here\r\n\r\n.").startswith("250")
    with Telnet(kms.pop3) as pop3:
        return is_taken and pop3.greeting.startswith("+OK") and pop3.pop3("CAPA").startswith("+OK")


def empty_mailbox(kms: Kms) -> None:
    """So that listing it does not become the subject."""
    for name in ("new", "cur"):
        for path in (kms.maildir(USER) / name).glob("*"):
            path.unlink(missing_ok=True)


@attrs.define
class Run:
    """All batches of one run, and what it has to show."""

    kms: Kms
    sessions: Sessions
    player: Player = attrs.field(init=False)
    descriptors: int = 0
    octets: int = 0

    def __attrs_post_init__(self) -> None:
        self.player = Player(self.kms)

    def play(self, first: int, count: int) -> list[str]:
        """Play them; gives what was broken."""
        for start in range(first, first + count, BATCH):
            numbers = range(start, min(start + BATCH, first + count))
            asyncio.run(self.player.play_all((number, self.sessions.make(number)) for number in numbers))
            assert self.kms.program is not None
            if not self.kms.program.is_running() or not takes_mail(self.kms):
                return [*self.player.faults, f"it does not answer after session {numbers[-1]}"]
            empty_mailbox(self.kms)
            if not self.octets:  # the first batch warms it up
                self.settle()
                self.descriptors, self.octets = open_descriptors(self.kms.pid), resident_octets(self.kms.pid)
        return [*self.player.faults, *self.find_growth()]

    def settle(self, descriptors: int | None = None) -> None:
        """Wait until the sessions' descriptors are closed."""
        seen: list[int] = []

        def is_settled() -> bool:
            seen.append(open_descriptors(self.kms.pid))
            return (
                seen[-1] <= descriptors
                if descriptors is not None
                else len(set(seen[-10:])) == 1 < len(seen) - 8
            )

        wait_until(is_settled, seconds=60, pause=0.2, what=lambda: f"descriptors: {seen[-1]}")

    def find_growth(self) -> list[str]:
        faults = []
        try:
            self.settle(self.descriptors)
        except AssertionError as error:
            faults.append(f"{error}; there were {self.descriptors} at the start")
        growth = resident_octets(self.kms.pid) - self.octets
        if growth > MOST_GROWTH_OCTETS:
            faults.append(f"its memory grew by {growth / MIB:.0f} MiB")
        if traceback := find_traceback(self.kms):
            faults.append(f"a traceback in its log:\n{traceback}")
        print(
            f"descriptors {self.descriptors} -> {open_descriptors(self.kms.pid)},"
            f" memory {self.octets / MIB:.0f} MiB {growth / MIB:+.1f} MiB"
        )
        return faults


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.sessions", description=__doc__)
    parser.add_argument("--seed", default="kms", help="any word")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kms-sessions-"))
    kms = make_server(folder / "kms")
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # that a peer is gone is the rule here
    began = time.monotonic()
    try:
        run = Run(kms, Sessions(asked.seed, USER, PASSWORD))
        faults = run.play(asked.first, asked.count)
    finally:
        kms.stop()
    print(
        f"seed {asked.seed}: {asked.count} sessions in {time.monotonic() - began:.0f} s; replies by code:",
        end=" ",
    )
    print(", ".join(f"{code} {count}" for code, count in sorted(run.player.replies.items())))
    for fault in faults[:20]:
        print(f"FAULT: {fault}")
    print(f"{len(faults)} faults; logs in {folder}" if faults else "no faults")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
