"""Client sessions with a scripted server, and messages for them."""

from __future__ import annotations

import pytest

from kms.domain.address import Mailbox
from kms.domain.content import Content, InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.outcome import Outcome
from kms.protocol.client_events import (
    SessionEnded,
    SessionReady,
    SmtpClientSettings,
    TlsRequested,
    TransactionEnded,
)
from kms.protocol.outgoing_message import OutgoingMessage
from kms.protocol.smtp_client import SmtpClientSession
from tests.support.wire import ScriptedServer, join

WHERE = "mx.test[192.0.2.1]:25"
CONTENT = InlineContent(b"Subject: x\r\n\r\nhello\r\n")
LOCK_STEP = ("8BITMIME", "SIZE 1000000")
PIPELINING = ("PIPELINING", "8BITMIME", "SIZE 1000000")
BOTH = pytest.mark.parametrize("extensions", [PIPELINING, LOCK_STEP], ids=["pipelining", "lock-step"])


def settings(**changes: object) -> SmtpClientSettings:
    return SmtpClientSettings(**{"helo_name": "kms.test", "where": WHERE, **changes})  # type: ignore[arg-type]


def recipient(number: int, local_part: str | None = None) -> Recipient:
    mailbox = Mailbox(local_part or f"r{number}", "far.test")
    return Recipient(number, mailbox, mailbox)


def prepare(
    count: int = 1, content: Content = CONTENT, *, is_8bit: bool = False, sender: Mailbox | None = None
) -> OutgoingMessage:
    recipients = tuple(recipient(number) for number in range(1, count + 1))
    sender = sender or Mailbox("from", "near.test")
    message, refused = OutgoingMessage.prepare(Envelope(sender, recipients, is_8bit), recipients, content)
    assert not refused
    return message


def ready(server: ScriptedServer, **changes: object) -> SmtpClientSession:
    session = SmtpClientSession(settings(**changes))
    assert [event for event in join(session, server) if not isinstance(event, TlsRequested)] == [
        SessionReady()
    ]
    assert session.is_ready
    return session


def ended(session: SmtpClientSession, server: ScriptedServer, message: OutgoingMessage) -> TransactionEnded:
    session.start(message)
    events = join(session, server)
    assert isinstance(events[0], TransactionEnded)
    return events[0]


def send(server: ScriptedServer, message: OutgoingMessage, **changes: object) -> dict[int, Outcome]:
    return ended(ready(server, **changes), server, message).outcomes


def refusal(server: ScriptedServer, **changes: object) -> SessionEnded:
    (event,) = [
        event for event in join(SmtpClientSession(settings(**changes)), server) if event != TlsRequested()
    ]
    assert isinstance(event, SessionEnded)
    return event
