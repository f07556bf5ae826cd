"""The other clients: each from an address of its own, one message a connection, and the time that takes."""

import itertools
import socket
import threading
import time

import attrs

ADDRESSES = [f"127.0.20.{number}" for number in range(1, 101)]
AT_ONCE = 6
MESSAGE = b"From: <carol@stranger.test>\r\nSubject: on we go\r\n\r\n" + b"A line of text.\r\n" * 60 + b".\r\n"


@attrs.define
class Latencies:
    """Seconds of each transaction, from connect to the answer to the end of data, and what failed."""

    seconds: list[float] = attrs.field(factory=list)
    failures: list[str] = attrs.field(factory=list)

    def __add__(self, other: "Latencies") -> "Latencies":
        return Latencies(self.seconds + other.seconds, self.failures + other.failures)

    def percentile(self, percent: float) -> float:
        """The time that so many of the transactions did not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]

    def __str__(self) -> str:
        figures = ", ".join(f"p{percent} {self.percentile(percent) * 1000:.1f}" for percent in (50, 90, 99))
        count, failed, longest = len(self.seconds), len(self.failures), max(self.seconds) * 1000
        return f"{count} transactions, {failed} failed; ms: {figures}, max {longest:.1f}"


class HonestClients:
    """Threads that send messages until they are stopped; each message comes from the next address."""

    def __init__(self, host: str, port: int, recipient: str) -> None:
        self.latencies = Latencies()
        self._place = (host, port)
        self._recipient = recipient
        self._sources = itertools.cycle(ADDRESSES)
        self._must_stop = threading.Event()
        self._threads = [threading.Thread(target=self._send_all, daemon=True) for _ in range(AT_ONCE)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._must_stop.set()
        for thread in self._threads:
            thread.join(90)

    def _send_all(self) -> None:
        while not self._must_stop.is_set():
            source = next(self._sources)
            began = time.perf_counter()
            try:
                self._send(source)
            except OSError as error:
                self.latencies.failures.append(f"{source}: {error!r}")
            self.latencies.seconds.append(time.perf_counter() - began)
            time.sleep(0.02)  # a mail program pauses too

    def _send(self, source: str) -> None:
        with socket.create_connection(self._place, timeout=60, source_address=(source, 0)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection.makefile("rb") as lines:
                for command, code in (
                    (b"", b"220"),
                    (b"EHLO honest.example\r\n", b"250"),
                    (b"MAIL FROM:<carol@stranger.test>\r\n", b"250"),
                    (f"RCPT TO:<{self._recipient}>\r\n".encode(), b"250"),
                    (b"DATA\r\n", b"354"),
                    (MESSAGE, b"250"),
                ):
                    connection.sendall(command)
                    line = lines.readline()
                    while line[3:4] == b"-":
                        line = lines.readline()
                    if not line.startswith(code):
                        raise ConnectionError(line.decode(errors="replace") or "closed")
