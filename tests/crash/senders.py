"""Senders that never give up: each attempt is a message of its own, with an identity that is never sent twice.

So a message seen twice was doubled by the server and not by its sender; and what was answered 250 is known exactly.
"""

import hashlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator

import attrs

LOCAL_BOXES = tuple(f"box{i}@example.test" for i in range(5))
FOREIGN = "sink@far.test"


@attrs.frozen
class Sent:
    """One attempt: who it is for, and how large its body is."""

    identity: str
    recipient: str
    body_octets: int

    def body(self) -> bytes:
        """Lines made of the identity alone, so that a cut or mixed copy shows."""
        digest = hashlib.sha256(self.identity.encode()).hexdigest().encode()
        lines = (b".%d %s\r\n" % (number, digest) for number in itertools.count())
        text = bytearray()
        while len(text) < self.body_octets:
            text += next(lines)
        return bytes(text)

    def message(self) -> bytes:
        return (
            f"From: <load@sender.test>\r\nTo: <{self.recipient}>\r\nSubject: {self.identity}\r\n"
            f"X-Identity: {self.identity}\r\n\r\n"
        ).encode() + self.body()


class Senders:
    """`count` threads that send until `wanted` messages are accepted.

    `accepted` holds what was answered 250; `waiting` is how many send their data or wait for the answer to it;
    `unknown` holds the attempts whose answer never came.
    """

    def __init__(self, port: int, wanted: int, count: int = 6) -> None:
        self.accepted: dict[str, Sent] = {}
        self.waiting = 0
        self.unknown: dict[str, Sent] = {}
        self.refusals: list[str] = []
        self._port = port
        self._wanted = wanted
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._must_stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def is_done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        self._must_stop.set()
        for thread in self._threads:
            thread.join(30)

    def _next(self) -> Sent:
        number = next(self._numbers)
        recipient = FOREIGN if number % 2 else LOCAL_BOXES[number // 2 % len(LOCAL_BOXES)]
        return Sent(f"{number:06d}", recipient, 200_000 if number % 50 in {0, 1} else 2_000)

    def _run(self) -> None:
        while not self._must_stop.is_set() and len(self.accepted) < self._wanted:
            try:
                self._session()
            except OSError:
                time.sleep(0.05)

    def _session(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=20) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection.makefile("rb") as lines:
                _expect(lines, b"220")
                connection.sendall(b"EHLO load.sender.test\r\n")
                _expect(lines, b"250")
                for _ in range(20):
                    if self._must_stop.is_set() or len(self.accepted) >= self._wanted:
                        return
                    self._transaction(connection, lines)

    def _transaction(self, connection: socket.socket, lines: Iterator[bytes]) -> None:
        sent = self._next()
        for command in ("MAIL FROM:<load@sender.test>", f"RCPT TO:<{sent.recipient}>", "DATA"):
            connection.sendall(command.encode() + b"\r\n")
            _expect(lines, b"354" if command == "DATA" else b"250")
        with self._lock:
            self.waiting += 1
        try:
            connection.sendall(sent.message().replace(b"\r\n.", b"\r\n..") + b".\r\n")
            _expect(lines, b"250")
            self.accepted[sent.identity] = sent
        except _Refused as refusal:
            self.refusals.append(str(refusal))
            raise
        except OSError:
            self.unknown[sent.identity] = sent
            raise
        finally:
            with self._lock:
                self.waiting -= 1


class _Refused(ConnectionError):
    """Another reply than the one hoped for."""


def _expect(lines: Iterator[bytes], code: bytes) -> None:
    while True:
        line = next(lines, b"")
        if not line.endswith(b"\n"):
            raise ConnectionError("cut")
        if line[3:4] != b"-":
            break
    if not line.startswith(code):
        raise _Refused(line.decode(errors="replace"))
