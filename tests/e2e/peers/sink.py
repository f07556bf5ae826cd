"""An SMTP server whose every answer is the test's to choose, and that keeps what it has taken.

A script gives answers by stage: "greeting", "EHLO", "MAIL", "RCPT", "RCPT a@far.test" (before "RCPT"), "DATA", "dot",
"QUIT", "RSET". The answers of a stage are used one a call; where none is left the sink
agrees. An answer is text to send; CLOSE ends the connection instead, ABORT resets it, and HANG does so only at
`let_go`. Only a message whose final dot got 250 is taken.
"""

import contextlib
import itertools
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Mapping, Sequence

import attrs

CLOSE = "(close)"
ABORT = "(abort)"
HANG = "(hang)"
_GOOD = {"greeting": "220 sink.test ESMTP", "DATA": "354 go on", "QUIT": "221 bye"}
_PATH = re.compile(r"<([^>]*)>")


@attrs.frozen
class Taken:
    """One message: envelope and text as they came, dots undone; `at` is the wall clock when its 250 was sent."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    at: float


class ScriptedSink:
    """Serves on a port of its own until `stop`.

    Attributes:
        taken: messages answered 250.
        commands: every stage that was reached, in order.
        hanging: how many connections wait in HANG.
    """

    def __init__(
        self, port: int, script: Mapping[str, Sequence[str]] | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.port = port
        self.taken: list[Taken] = []
        self.commands: list[str] = []
        self.hanging = 0
        self._let_go = threading.Event()
        self._lock = threading.Lock()
        self._script: dict[str, list[str]] = {}
        self.play(script or {})
        sink = self

        class Visit(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    _Conversation(sink, self).run()

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 100

        self._server = Server((host, port), Visit)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def play(self, script: Mapping[str, Sequence[str]]) -> None:
        """Begin another script."""
        with self._lock:
            self._script = {stage: list(answers) for stage, answers in script.items()}

    def answer(self, stage: str, argument: str) -> str:
        """The next answer of this stage."""
        with self._lock:
            self.commands.append(stage)
            for key in (f"{stage} {argument}", stage):
                if self._script.get(key):
                    return self._script[key].pop(0)
        return _GOOD.get(stage, "250 2.0.0 ok")

    def recipients(self) -> list[str]:
        """The recipients of all messages taken."""
        return list(itertools.chain.from_iterable(taken.recipients for taken in self.taken))

    def hang(self) -> None:
        """Keep silent until `let_go`."""
        with self._lock:
            self.hanging += 1
        self._let_go.wait()

    def let_go(self) -> None:
        """Reset all that hang, and whoever would hang from now on."""
        self._let_go.set()

    def stop(self) -> None:
        self._let_go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Conversation:
    """One connection."""

    def __init__(self, sink: ScriptedSink, visit: socketserver.StreamRequestHandler) -> None:
        self._sink = sink
        self._visit = visit
        self._sender = ""
        self._recipients: list[str] = []

    def run(self) -> None:
        if not self._say("greeting", ""):
            return
        while line := self._visit.rfile.readline():
            verb = line[:4].decode("latin-1").upper()
            if not self._obey(verb, line.decode("latin-1")):
                return

    def _obey(self, verb: str, line: str) -> bool:
        path = _PATH.search(line)
        argument = path[1] if path else ""
        answer = self._sink.answer(verb, argument)
        if not self._send(answer):
            return False
        if verb in {"RSET", "EHLO", "HELO"}:
            self._recipients = []
        elif answer[0] == "2" and verb == "MAIL":
            self._sender, self._recipients = argument, []
        elif answer[0] == "2" and verb == "RCPT":
            self._recipients.append(argument)
        elif answer[0] == "3" and verb == "DATA":
            return self._take()
        return verb != "QUIT"

    def _take(self) -> bool:
        lines = []
        while (line := self._visit.rfile.readline()) != b".\r\n":
            if not line:
                return False
            lines.append(line[1:] if line.startswith(b".") else line)
        answer = self._sink.answer("dot", "")
        taken = Taken(self._sender, tuple(self._recipients), b"".join(lines), time.time())
        if answer.startswith("250"):
            self._sink.taken.append(taken)
        self._recipients = []
        return self._send(answer)

    def _say(self, stage: str, argument: str) -> bool:
        return self._send(self._sink.answer(stage, argument))

    def _send(self, answer: str) -> bool:
        if answer == HANG:
            self._sink.hang()
        if answer in {CLOSE, ABORT, HANG}:
            if answer != CLOSE:
                linger = struct.pack("ii", 1, 0)
                self._visit.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        self._visit.wfile.write(answer.encode("latin-1") + b"\r\n")
        return True
