"""send(2) and recv(2) that never wait, called without giving the interpreter's lock away.

The interpreter gives its lock away around every system call. While other threads want the lock, that costs more than
such a call itself: they are woken, and mostly find it taken again. See docs/decisions/0010.

Promises: no call waits (MSG_DONTWAIT), and none moves more than `MOST_OCTETS`, so that the lock is held for
microseconds. Neither raises: whoever gets nothing asks in the ordinary way, and learns why.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable

MOST_OCTETS = 64 * 1024
_AT_ONCE = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)  # Python ignores SIGPIPE anyway
_buffer = ctypes.create_string_buffer(MOST_OCTETS)  # for the reactor's thread alone
_address = ctypes.addressof(_buffer)
_copy = ctypes.string_at


def _find(name: str, place: type[ctypes.c_char_p | ctypes.c_void_p]) -> Callable[..., int]:
    function = ctypes.PyDLL(None)[name]
    function.argtypes = (ctypes.c_int, place, ctypes.c_size_t, ctypes.c_int)
    function.restype = ctypes.c_ssize_t
    return function


_send = _find("send", ctypes.c_char_p)
_receive = _find("recv", ctypes.c_void_p)


def send_at_once(descriptor: int, data: bytes) -> int:
    """Send what the socket takes now.

    Args:
        descriptor: of a connected socket.
        data: to be sent; at most the first `MOST_OCTETS` of it are.

    Returns:
        How many octets were taken; 0 where the socket takes none, or is broken.
    """
    return max(_send(descriptor, data, min(len(data), MOST_OCTETS), _AT_ONCE), 0)


def receive_at_once(descriptor: int) -> bytes:
    """Receive what has come, at most `MOST_OCTETS`; empty where nothing has, at the end, and on an error."""
    octets = _receive(descriptor, _address, MOST_OCTETS, _AT_ONCE)
    return _copy(_address, octets) if octets > 0 else b""
