"""`sendmail -bs`: SMTP on standard input and output, carried to the running server and back octet for octet.

Promises: it ends when the server has closed, and the server's word counts: who got no 250 keeps the mail. Where no
server answers, the greeting is 421 and the status 75. It is the first listener of `[listen] smtp` that is asked, as
any client of this machine would; what may be sent is for relay control to say.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress

from kms.config.network_kinds import endpoint_port
from kms.config.settings import Settings
from kms.domain import reply

_MOST_OCTETS = 65536
_SILENCE_SECONDS = 330.0  # longer than a server lets a client wait
_LAST_SECONDS = 60.0
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def find_server(settings: Settings | None) -> tuple[str, int]:
    """Say where the server listens for SMTP; without its configuration, port 25 of this machine is asked."""
    if settings is not None:
        for place in map(endpoint_port, settings.listen.smtp):
            if place is not None:
                return _LOOPBACK.get(place[0], place[0]), place[1]
    return "127.0.0.1", 25


def speak(place: tuple[str, int], source: int, sink: int) -> int:
    """Carry one dialogue between two descriptors and the server.

    Returns:
        Exit status: 0, or 75 where no server answers, or one of the two does not any more.
    """
    try:
        server = socket.create_connection(place, timeout=_LAST_SECONDS)
    except OSError:
        _write(sink, reply.SHUTTING_DOWN.wire)
        return os.EX_TEMPFAIL
    with server:
        try:
            return _carry(server, source, sink)
        except OSError:
            return os.EX_TEMPFAIL


def _carry(server: socket.socket, source: int, sink: int) -> int:
    waiting, tail = {server.fileno(), source}, b""
    while ready := _wait(waiting, _SILENCE_SECONDS if source in waiting else _LAST_SECONDS):
        if server.fileno() in ready:
            data = _receive(server)
            if not data:
                return os.EX_OK
            _write(sink, data)
        if source in ready:
            data = os.read(source, _MOST_OCTETS)
            if not data:
                waiting.discard(source)
                data = b"" if tail.upper().endswith(b"QUIT\r\n") else b"QUIT\r\n"
            tail = (tail + data)[-6:]
            with suppress(ConnectionError):  # it has closed; what it said last is to be read still
                server.sendall(data)
    return os.EX_TEMPFAIL


def _wait(waiting: set[int], seconds: float) -> list[int]:
    """Give those that can be read; nothing after so many seconds."""
    return select.select(waiting, [], [], seconds)[0]


def _receive(server: socket.socket) -> bytes:
    try:
        return server.recv(_MOST_OCTETS)
    except ConnectionError:
        return b""


def _write(sink: int, data: bytes) -> None:
    while data:
        data = data[os.write(sink, data) :]
