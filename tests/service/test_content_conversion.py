"""Deliveries to servers with and without 8BITMIME."""

from __future__ import annotations

import email
import email.policy

from twisted.internet.defer import Deferred as TwistedDeferred
from twisted.logger import capturedLogs

from kms.domain import reply as replies
from kms.domain.address import Mailbox
from kms.domain.content import Content, FileContent, InlineContent
from kms.domain.envelope import Envelope
from kms.domain.next_hop import NextHop
from kms.domain.outcome import Deferred, Delivered, Failed, Outcome
from kms.service.connection_pool import PoolRules
from tests.support.remote_deliveries import BOTH, HOP, A, B, RemoteDeliveryCase, recipients
from tests.support.results import result_of

EIGHT = ("PIPELINING", "8BITMIME", "SIZE")
SEVEN = ("PIPELINING", "SIZE")
FIELDS = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
ROSE = FIELDS + "\r\nGrüße und noch mehr Worte\r\n".encode()
SIGNED = b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b--\r\n"


class TestAServerWithout8BitMime(RemoteDeliveryCase):
    def deliver(self, *hops: NextHop, content: Content | None = None, count: int = 1) -> dict[int, Outcome]:
        group = recipients(count)
        envelope = Envelope(Mailbox("from", "near.test"), group, is_8bit=True)
        coroutine = self.delivery.send(hops or (HOP,), envelope, group, content or InlineContent(ROSE))
        sent = TwistedDeferred.fromCoroutine(coroutine)
        self.network.pump()
        return result_of(sent)

    def file(self, data: bytes) -> FileContent:
        path = self.temporary_path()
        path.write_bytes(data)
        return FileContent(str(path), len(data))

    def test_gets_what_reads_as_before_over_the_same_connection(self) -> None:
        server = self.serve(extensions=SEVEN)
        outcomes = self.deliver(count=2)
        assert [type(outcome) for outcome in outcomes.values()] == [Delivered, Delivered]
        [received] = server.received
        assert received.content.isascii()
        assert b"quoted-printable" in received.content
        message = email.message_from_bytes(received.content, policy=email.policy.default)
        assert message.get_content().startswith("Grüße und")
        [mail] = [command for command in server.commands if command.startswith("MAIL")]
        assert mail.endswith(f" SIZE={len(received.content)}")
        assert len(self.network.dialled) == 1

    def test_gets_a_large_file_too_which_stays_what_it_is(self) -> None:
        data = FIELDS + b"\r\n" + "Grüße und noch mehr Worte\r\n".encode() * 9000
        content = self.file(data)
        server = self.serve(extensions=SEVEN)
        assert isinstance(self.deliver(content=content)[1], Delivered)
        [received] = server.received
        assert received.content.isascii()
        assert email.message_from_bytes(received.content).get_payload(decode=True) == data[len(FIELDS) + 2 :]
        assert f" SIZE={len(received.content)}" in " ".join(server.commands)
        with open(content.path, "rb") as file:
            assert file.read() == data

    def test_gets_it_over_another_connection_where_none_is_kept(self) -> None:
        self.delivery = self.make(PoolRules(messages_per_connection=1))
        self.serve(extensions=SEVEN)
        self.serve(extensions=SEVEN)
        assert isinstance(self.deliver()[1], Delivered)
        assert len(self.network.dialled) == 2

    def test_is_not_asked_twice_about_what_cannot_be_converted(self) -> None:
        server = self.serve(extensions=SEVEN)
        outcomes = self.deliver(content=InlineContent(SIGNED))
        assert outcomes == {1: Failed(replies.NEEDS_CONVERSION, "mx.test[192.0.2.1]:25")}
        assert server.received == []

    def test_is_passed_over_for_one_that_takes_the_message_as_it_is(self) -> None:
        self.serve(A, extensions=SEVEN)
        eight = self.serve(B, extensions=EIGHT)
        assert isinstance(self.deliver(BOTH, content=InlineContent(SIGNED))[1], Delivered)
        assert eight.received[0].content == SIGNED

    def test_defers_while_the_file_cannot_be_read(self) -> None:
        self.serve(extensions=SEVEN)
        with capturedLogs() as events:
            outcomes = self.deliver(content=FileContent("/nonexistent/x", 100))
        assert outcomes == {1: Deferred(replies.CONTENT_UNREADABLE, "none")}
        assert any("could not be read" in str(event.get("log_format")) for event in events)

    def test_with_8bitmime_all_stays_as_it_is(self) -> None:
        server = self.serve(extensions=EIGHT)
        assert isinstance(self.deliver()[1], Delivered)
        assert server.received[0].content == ROSE
