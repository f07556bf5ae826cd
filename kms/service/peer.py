"""Whose process is at the other end of a Unix socket, as the kernel tells it (SO_PEERCRED)."""

from __future__ import annotations

import pwd
import socket
import struct

_CREDENTIALS = struct.Struct("3i")


def peer_uid(connected: socket.socket) -> int:
    """Give the uid of the process that connected; raises OSError."""
    data = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(data)[1])


def user_name(uid: int) -> str:
    """Give the name of a user; its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def peer_of(connected: socket.socket) -> str:
    """Give number and name for the operations log; raises OSError."""
    uid = peer_uid(connected)
    return f"uid {uid}, {user_name(uid)}"
