"""The client's SMTP and LMTP session: a remote server that says anything.

The octets are given line by line, and between the lines the client acts: it offers two messages, then quits.
The second run gives each line in pieces.
"""

from collections.abc import Iterator

import attrs

from kms.domain.address import Mailbox
from kms.domain.content import FileContent, InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import HopCredentials, TlsPolicy
from kms.domain.outcome import Outcome
from kms.protocol.client_events import (
    ClientEvent,
    ContentWanted,
    SessionEnded,
    SessionReady,
    SmtpClientSettings,
    TlsRequested,
    TransactionEnded,
)
from kms.protocol.outgoing_message import OutgoingMessage
from kms.protocol.smtp_client import SmtpClientSession
from tests.fuzz.promises import check_no_bare_newlines, lines_of, pieces, split_options

MOST_OUTPUT_OCTETS = 16 * 1024
_CONTENT = b"Subject: x\r\n\r\n.dot\r\nlast line"


def _prepare(count: int, content: InlineContent | FileContent) -> OutgoingMessage:
    mailboxes = [Mailbox(f"r{number}", "mx.example") for number in range(count)]
    recipients = tuple(Recipient(number, box, box) for number, box in enumerate(mailboxes, 1))
    message, refused = OutgoingMessage.prepare(
        Envelope(Mailbox("anna", "example.org"), recipients), recipients, content
    )
    assert not refused
    return message


@attrs.define
class _Owner:
    """Does what service/remote_delivery does with the session's events."""

    session: SmtpClientSession
    options: int
    said: bytes = b""
    events: list[ClientEvent] = attrs.field(factory=list)
    offered: int = 0

    def act(self) -> None:
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            match event:
                case TlsRequested():
                    self.session.tls_started("TLSv1.3")
                case SessionReady():
                    self.go_on()
                case ContentWanted():
                    self.session.send_content(_CONTENT[:9])
                    self.session.send_content(_CONTENT[9:])
                    self.session.end_content()
                case TransactionEnded(outcomes):
                    self.check_outcomes(outcomes)
                    self.go_on()
        self.said += self.session.data_to_send()

    def go_on(self) -> None:
        if not self.session.is_ready:
            return
        if self.offered == 2:
            self.session.quit()
            return
        self.offered += 1
        is_file = bool(self.options & 16)
        self.session.start(
            _prepare(3, FileContent("x", len(_CONTENT)) if is_file else InlineContent(_CONTENT))
        )

    def check_outcomes(self, outcomes: dict[int, Outcome]) -> None:
        assert set(outcomes) == {1, 2, 3}
        for outcome in outcomes.values():
            text = str(outcome.reply)
            assert text.isascii()
            assert text.isprintable(), repr(text)
            check_no_bare_newlines(outcome.reply.wire)


def _remote_lines(stream: bytes, size: int) -> Iterator[bytes]:
    for line in stream.splitlines(keepends=True):
        yield from pieces(line, size)


def _play(stream: bytes, size: int, options: int) -> tuple[bytes, list[ClientEvent], int]:
    settings = SmtpClientSettings(
        "kms.example.org",
        "mx.example[192.0.2.1]:25",
        tls=(TlsPolicy.OFF, TlsPolicy.OPPORTUNISTIC, TlsPolicy.REQUIRE, TlsPolicy.VERIFY)[options & 3],
        credentials=HopCredentials("anna", "secret") if options & 4 else None,
        is_lmtp=bool(options & 8),
    )
    owner = _Owner(SmtpClientSession(settings), options)
    for piece in _remote_lines(stream, size):
        owner.session.receive_data(piece)
        owner.act()
    owner.session.lose()
    owner.act()
    assert owner.session.is_over
    assert sum(isinstance(event, SessionEnded) for event in owner.events) == 1
    assert sum(isinstance(event, TransactionEnded) for event in owner.events) == owner.offered
    return owner.said, owner.events, owner.session.replies_taken


def run(data: bytes) -> None:
    options, size, stream = split_options(data)
    whole = _play(stream, 0, options)
    assert len(whole[0]) <= MOST_OUTPUT_OCTETS
    for line in lines_of(whole[0]):
        assert len(line) + 2 <= 1000, f"a line of {len(line)} octets"
    assert _play(stream, size, options) == whole, f"another session in pieces of {size}"
