"""The Unix socket on which sendmail(1) hands mail in; any user of this machine may, and the kernel says who.

One message a connection: the envelope's line (store/maildrop.py), the message; back comes one line of JSON, `status`
of sysexits.h with `queue_id` or `error`. A client that says nothing for a minute is cut.
Flow: mail_server.py opens it after the data folder's lock; submissions.py takes the mail.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from kms.service.peer import peer_uid
from kms.service.submissions import Refused, Submissions
from kms.store.maildrop import MOST_ENVELOPE_OCTETS, DropDamaged, Submission, read_envelope

_IDLE_SECONDS = 60
_MOST_CONNECTIONS = 100
_log = Logger(namespace="kms.submissions")


class SubmissionProtocol(Protocol, TimeoutMixin):
    """One connection of sendmail(1)."""

    def __init__(self, owner: SubmissionFactory, reactor: IReactorTime) -> None:
        self._owner = owner
        self.callLater = reactor.callLater  # type: ignore[method-assign,assignment]
        self._parts: list[bytes] = []
        self._octets = 0
        self._envelope: tuple[str, tuple[str, ...], int] | None = None
        self._is_answered = False

    def connectionMade(self) -> None:
        """Wait for the envelope; called by Twisted."""
        self._owner.connections += 1
        self.setTimeout(_IDLE_SECONDS)  # type: ignore[no-untyped-call]
        if self._owner.connections > _MOST_CONNECTIONS:
            self._answer(status=75, error="too many programs hand in mail at this moment")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """What was not whole is forgotten; called by Twisted."""
        self._owner.connections -= 1
        self.setTimeout(None)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Gather; called by Twisted."""
        if self._is_answered:
            return
        self.resetTimeout()  # type: ignore[no-untyped-call]
        self._parts.append(data)
        self._octets += len(data)
        if self._envelope is None:
            self._read_envelope()
        if self._envelope is not None and self._octets >= self._envelope[2] and not self._is_answered:
            self._take()

    def _read_envelope(self) -> None:
        line, found, rest = b"".join(self._parts).partition(b"\n")
        most = self._owner.submissions.server.settings.limits.max_message_size
        try:
            if not found:
                if self._octets > MOST_ENVELOPE_OCTETS:
                    raise DropDamaged("the envelope is too long")
                return
            self._envelope = read_envelope(line)
            if most and self._envelope[2] > most:
                raise DropDamaged(f"the message is larger than {most} octets")
        except DropDamaged as error:
            self._answer(status=65, error=str(error))
            return
        self._parts, self._octets = [rest], len(rest)

    def _take(self) -> None:
        assert self._envelope is not None
        sender, recipients, octets = self._envelope
        self.setTimeout(None)  # type: ignore[no-untyped-call]
        self._is_answered = True
        submission = Submission(sender, recipients, b"".join(self._parts)[:octets], self._uid())
        taken = Deferred.fromCoroutine(self._owner.submissions.take(submission, may_bounce=False))
        taken.addCallbacks(lambda queue_id: self._answer(status=0, queue_id=queue_id), self._failed)

    def _uid(self) -> int:
        connected = getattr(self.transport, "socket", None)
        return -1 if connected is None else peer_uid(connected)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, Refused):
            self._answer(status=failure.value.status, error=str(failure.value))
            return
        _log.failure("A message could not be taken from sendmail(1)", failure)
        self._answer(status=75, error="trouble in the server; its log says more")

    def _answer(self, **facts: Any) -> None:
        self._is_answered = True
        assert self.transport is not None
        self.transport.write(json.dumps(facts).encode("ascii") + b"\n")
        self.transport.loseConnection()


class SubmissionFactory(ServerFactory):
    """Makes the protocols.

    Attributes:
        submissions: takes the mail.
        connections: how many there are.
    """

    noisy = False

    def __init__(self, submissions: Submissions, reactor: IReactorTime) -> None:
        self.submissions = submissions
        self.connections = 0
        self._reactor = reactor

    def buildProtocol(self, address: object) -> Protocol:
        """Make a protocol; called by Twisted."""
        return SubmissionProtocol(self, self._reactor)
