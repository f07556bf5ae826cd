"""Twisted's epoll reactor, with timers that no jump of the wall clock moves, and without the log context per event.

Stock timers count by the wall clock: set back by a day, it would stop retries and deadlines for a day. Here they
count by the monotonic one.

The stock loop wraps every read and write in a copied log context and a call through the context tracker, only to know
whose log prefix to print. kms logs by namespaces of its own. Whatever is more than a plain read is left to the stock
reactor's `_doReadOrWrite`. What a TCP connection has received is fetched by a short call (short_call.py). See
docs/decisions/0006 and 0010.
"""

from __future__ import annotations

import sys
from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.main import installReactor
from twisted.internet.tcp import Connection
from twisted.python import log

from kms.service.accepting_port import AcceptingPort
from kms.service.clock import monotonic_seconds
from kms.service.short_call import receive_at_once

_READ_PLAIN = Connection.doRead

_SWITCH_SECONDS = 0.001
"""How long another thread waits for the interpreter while the reactor has work without end. With the usual 5 ms for
each of its few steps, a commit took up to 50 ms in a flood of clients."""


class ThinEPollReactor(EPollReactor):
    """An epoll reactor for a process that does not use Twisted's log prefixes."""

    seconds = staticmethod(monotonic_seconds)
    _poller: Any
    _selectables: dict[int, Any]

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events at most `timeout` seconds (None = for ever), and carry them out."""
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, len(self._selectables) or 1)
        except InterruptedError:
            return
        for descriptor, event in events:
            selectable = self._selectables.get(descriptor)
            if selectable is None:
                continue
            if event == EPOLLIN:
                self._read(selectable)
            else:
                self._doReadOrWrite(selectable, descriptor, event)  # type: ignore[no-untyped-call]

    def _read(self, selectable: Any) -> None:
        """The commonest event by far: something to read, and nothing else."""
        read = selectable.doRead
        data = b""
        if getattr(read, "__func__", None) is _READ_PLAIN:
            data = receive_at_once(selectable.fileno())
        try:
            why = selectable._dataReceived(data) if data else read()
        except BaseException as error:
            log.err()
            why = error
        if why:
            self._disconnectSelectable(selectable, why, True)  # type: ignore[no-untyped-call]

    doIteration = doPoll

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> AcceptingPort:
        """See `IReactorTCP`."""
        listening = AcceptingPort(port, factory, backlog, interface, self)
        listening.startListening()
        return listening


def install() -> None:
    """Make it the reactor of this process; nothing may have asked for one before."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    installReactor(ThinEPollReactor())  # type: ignore[no-untyped-call]
