"""The attackers, one class each; they run together in a process of their own, until they are told that it is enough.

Each has `run()`, which returns when it has done all it wants and only holds what it has, and `seen`, what it got.
Each comes from loopback addresses of its own.
"""

import asyncio
import base64
import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

import attrs

from kms.config.features import has_effect
from tests.e2e.peers.kms_server import Kms

FLOOD, HARVEST, DEAF = "127.0.10.1", "127.0.11.1", "127.0.12.1"
SLOW = [f"127.0.13.{number}" for number in range(1, 201)]
GUESSERS = [f"127.0.14.{number}" for number in range(1, 101)]
PROXY = "127.0.15.1"
"""Where the guessers come from when the PROXY protocol is there: then they have addresses of the Internet."""

PATIENCE_SECONDS = 60.0
GUESSES = 8


@attrs.frozen
class Target:
    """What is attacked, and how hard; plain values, for another process."""

    host: str
    smtp: int
    pop3: int
    user: str
    has_proxy: bool
    attackers: list[str]
    connections: int
    slow_clients: int
    names: int
    guessers: int

    @classmethod
    def of(cls, kms: Kms, user: str, attackers: list[str], share: float) -> "Target":
        """The whole attack for a share of 1."""
        return cls(
            host=kms.host,
            smtp=kms.smtp,
            pop3=kms.pop3,
            user=user,
            has_proxy=has_proxy(),
            attackers=attackers,
            connections=int(5000 * share),
            slow_clients=int(2000 * share),
            names=int(10_000 * share),
            guessers=int(len(GUESSERS) * share),
        )


def has_proxy() -> bool:
    """The guessers can have addresses of the Internet; own ones are never blocked for failed logins."""
    return has_effect("listen", "proxy_protocol_from")


class Attacker(Protocol):
    """What all have."""

    seen: Counter[str]

    async def run(self) -> None: ...


class Wire:
    """One connection from a given address, lines in and out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    @classmethod
    async def open(cls, host: str, port: int, source: str, receive_octets: int = 0) -> "Wire":
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_octets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_octets)
        connection.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(connection, (host, port))
        return cls(*await asyncio.open_connection(sock=connection))

    async def hear(self) -> str:
        """The next reply's last line; "" when the server has closed."""
        while True:
            async with asyncio.timeout(PATIENCE_SECONDS):
                line = (await self._reader.readline()).decode("ascii", "replace").rstrip()
            if line[3:4] != "-" or line.startswith("-ERR"):
                return line

    async def say(self, line: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return await self.hear()

    def close(self) -> None:
        self.writer.transport.abort()


def code_of(reply: str) -> str:
    """ "250"; "+OK" and "-ERR [AUTH]" for POP3; "closed" for no reply."""
    if reply.startswith(("+OK", "-ERR")):
        return " ".join(word for word in reply.split()[:2] if word[0] in "+-[")
    return reply[:3] or "closed"


class ConnectionFlood:
    """Thousands of connections from one address, held open."""

    def __init__(self, target: Target) -> None:
        self.seen: Counter[str] = Counter()
        self._target = target
        self._held: list[Wire] = []

    async def run(self) -> None:
        turns = asyncio.Semaphore(100)
        await asyncio.gather(*(self._connect(turns) for _ in range(self._target.connections)))

    async def _connect(self, turns: asyncio.Semaphore) -> None:
        async with turns:
            try:
                wire = await Wire.open(self._target.host, self._target.smtp, FLOOD)
                self.seen[code_of(await wire.hear())] += 1
            except (OSError, TimeoutError):
                self.seen["closed"] += 1
            else:
                self._held.append(wire)


class SlowClients:
    """Clients from many addresses that send one byte a minute."""

    def __init__(self, target: Target) -> None:
        self.seen: Counter[str] = Counter()
        self._target = target
        self._held: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        for number in range(self._target.slow_clients):
            try:
                wire = await Wire.open(self._target.host, self._target.smtp, SLOW[number % len(SLOW)])
                self.seen[code_of(await wire.hear())] += 1
            except (OSError, TimeoutError):
                self.seen["closed"] += 1
            else:
                self._held.append(asyncio.create_task(self._drip(wire)))

    async def _drip(self, wire: Wire) -> None:
        for octet in b"EHLO slow.example\r\n" * 10:
            wire.writer.write(bytes([octet]))
            await asyncio.sleep(60)


class DeafClients:
    """Clients that ask and ask and never read an answer, on both services."""

    COUNT = 10

    def __init__(self, target: Target) -> None:
        self.seen: Counter[str] = Counter()
        self._target = target
        self._held: list[Wire] = []

    async def run(self) -> None:
        requests = [(self._target.smtp, b"NOOP\r\n"), (self._target.pop3, b"CAPA\r\n")] * (self.COUNT // 2)
        await asyncio.gather(*(self._ask(port, request) for port, request in requests))

    async def _ask(self, port: int, request: bytes) -> None:
        wire = await Wire.open(self._target.host, port, DEAF, receive_octets=4096)
        self._held.append(wire)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(20_000):
                wire.writer.write(request * 1000)
                async with asyncio.timeout(2):  # then the server has stopped reading
                    await wire.writer.drain()
                self.seen["requests"] += 1000


class Harvest:
    """One client that asks for thousands of names, one of which might exist, and comes back when it is cut."""

    def __init__(self, target: Target) -> None:
        self.seen: Counter[str] = Counter()
        self._target = target

    async def run(self) -> None:
        names = iter([f"name{number}" for number in range(self._target.names)])
        refusals = 0
        while refusals < 20:
            try:
                wire = await Wire.open(self._target.host, self._target.smtp, HARVEST)
                greeting = await wire.hear()
                if greeting.startswith("220"):
                    if await self._ask(wire, names):
                        return
                else:
                    refusals += 1
                    self.seen[f"greeting {code_of(greeting)}"] += 1
                wire.close()
            except (OSError, TimeoutError):
                refusals += 1
                self.seen["closed"] += 1

    async def _ask(self, wire: Wire, names: Iterator[str]) -> bool:
        """One session; True when there are no more names."""
        await wire.say("EHLO harvest.example")
        while True:
            await wire.say("MAIL FROM:<>")
            for _ in range(100):
                name = next(names, None)
                if name is None:
                    return True
                code = code_of(await wire.say(f"RCPT TO:<{name}@example.test>"))
                self.seen[code] += 1
                if code in ("421", "closed"):
                    return False
            await wire.say("RSET")


class PasswordGuessers:
    """A hundred clients that guess one account's password, half of them over SMTP, half over POP3, at once."""

    def __init__(self, target: Target) -> None:
        self.seen: Counter[str] = Counter()
        self._target = target

    async def run(self) -> None:
        await asyncio.gather(*(self._guess(number) for number in range(self._target.guessers)))

    async def _guess(self, number: int) -> None:
        try:
            wire = await self._open(number, self._target.pop3 if number % 2 else self._target.smtp)
            await wire.hear()
            if not number % 2:
                await wire.say("EHLO guesser.example")
            for guess in range(GUESSES):
                code = code_of(await self._log_in(wire, number, f"guess {guess}"))
                self.seen[code] += 1
                if code in ("421", "closed"):
                    break
            wire.close()
        except (OSError, TimeoutError):
            self.seen["closed"] += 1

    async def _open(self, number: int, port: int) -> Wire:
        if not self._target.has_proxy:
            return await Wire.open(self._target.host, port, GUESSERS[number])
        wire = await Wire.open(self._target.host, port, PROXY)
        wire.writer.write(f"PROXY TCP4 198.18.0.{number + 1} 198.19.0.1 40000 {port}\r\n".encode())
        return wire

    async def _log_in(self, wire: Wire, number: int, password: str) -> str:
        if number % 2:
            await wire.say(f"USER {self._target.user}")
            return await wire.say(f"PASS {password}")
        words = base64.b64encode(f"\0{self._target.user}\0{password}".encode()).decode()
        return await wire.say(f"AUTH PLAIN {words}")


KINDS = (ConnectionFlood, SlowClients, DeafClients, Harvest, PasswordGuessers)
