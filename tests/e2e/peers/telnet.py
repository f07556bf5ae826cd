"""A dialogue typed line by line, from a given loopback address: for what no mail program does on purpose."""

import base64
import socket
from types import TracebackType


class Telnet:
    """One connection; `say` sends a line and gives the whole reply to it."""

    def __init__(self, port: int, source: str = "127.0.0.2", host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), timeout=20, source_address=(source, 0))
        self._lines = self._socket.makefile("rb")
        self.greeting = self.reply()

    def __enter__(self) -> "Telnet":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lines.close()
        self._socket.close()

    def reply(self) -> str:
        """The next reply, all its lines."""
        lines: list[str] = []
        while True:
            line = self._lines.readline().decode(errors="replace").rstrip("\r\n")
            lines.append(line)
            if len(line) < 4 or line[3] != "-":
                return "\n".join(lines)

    def say(self, line: str) -> str:
        self._socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def pop3(self, line: str) -> str:
        """One POP3 command with a one-line reply."""
        self._socket.sendall(line.encode("utf-8", "surrogatepass") + b"\r\n")
        return self._lines.readline().decode(errors="replace").rstrip("\r\n")

    def login(self, user: str, password: str) -> str:
        """AUTH PLAIN with an initial response."""
        return self.say("AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode())
