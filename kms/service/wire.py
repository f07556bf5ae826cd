"""Writing to a client's connection, and closing it: straight on the socket where that is possible.

`transport.write` only buffers, and `loseConnection` only marks: octets and end leave in the reactor's next turn, at
the price of two changes of the epoll set each. Where nothing waits before them and the connection is in clear text,
the socket takes them at once; the rest goes the ordinary way. tests/service/test_wire.py holds both ways to the same
octets.

Promises: never past TLS. What wraps a transport, as TLS from the first octet does, passes unknown attributes
on to what it wraps; so only a TCP connection itself is ever written to directly.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.tcp import Connection

from kms.service.short_call import send_at_once
from kms.store.fault import Step, reach

_DONE = ConnectionDone()


def _is_free(transport: Any) -> bool:
    """Say whether it is a plain TCP connection on which nothing waits."""
    return isinstance(transport, Connection) and not (
        transport.TLS
        or transport.dataBuffer
        or transport._tempDataBuffer
        or transport.disconnecting
        or not transport.connected
    )


def send_now(transport: Any, data: bytes) -> None:
    """Send `data` behind everything that was written before."""
    if not _is_free(transport):
        transport.write(data)
        return
    sent = send_at_once(transport.fileno(), data)
    if sent < len(data):  # it takes no more, or is lost: an ordinary write lets the reactor find out which
        transport.write(data[sent:])
    reach(Step.REPLY_SENT)


def close_now(transport: Any) -> None:
    """Close behind everything that was written before; the protocol's connectionLost may be called within."""
    if _is_free(transport):
        transport.reactor._disconnectSelectable(transport, _DONE, False)
    else:
        transport.loseConnection()
