"""Writing to a client's connection: straight to the socket where that is possible.

`transport.write` only buffers: the octets leave in the reactor's next turn, at the price of two changes of the
epoll set. Where nothing waits before them and the connection is in clear text, the socket takes them at once;
the rest goes the ordinary way. tests/service/test_wire.py holds both ways to the same octets.

Promises: never past TLS. What wraps a transport, as TLS from the first octet does, passes unknown attributes
on to what it wraps; so only a TCP connection itself is ever written to directly.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection

from kms.store.fault import Step, reach


def send_now(transport: Any, data: bytes) -> None:
    """Send `data` behind everything that was written before."""
    if (
        not isinstance(transport, Connection)
        or transport.TLS
        or transport.dataBuffer
        or transport._tempDataBuffer
        or transport.disconnecting
        or not transport.connected
    ):
        transport.write(data)
        return
    sent = transport.writeSomeData(data)
    if not isinstance(sent, int):
        sent = 0  # the connection is lost: an ordinary write lets the reactor find that out
    if sent < len(data):
        transport.write(data[sent:])
    reach(Step.REPLY_SENT)
