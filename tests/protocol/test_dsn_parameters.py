"""What a next hop with DSN is told."""

import pytest

from kms.domain.address import Mailbox
from kms.domain.content import InlineContent
from kms.domain.dsn_request import MessageRequest, Notify, RecipientRequest, Returned
from kms.domain.envelope import Envelope, Recipient
from kms.domain.outcome import Handover
from kms.protocol.dsn_parameters import print_message_request, print_recipient_request
from kms.protocol.outgoing_message import OutgoingMessage, ServerTraits

ALICE, FAR = Mailbox("alice", "example.test"), Mailbox("far", "far.test")
LIST = Mailbox("sales+x", "example.test")


@pytest.mark.parametrize(
    ("request_", "printed"),
    [
        (None, ""),
        (MessageRequest(), ""),
        (MessageRequest(Returned.FULL), " RET=FULL"),
        (MessageRequest(Returned.HEADER, "a+2Bb"), " RET=HDRS ENVID=a+2Bb"),
        (MessageRequest(None, "QQ314159"), " ENVID=QQ314159"),
    ],
)
def test_what_mail_asked_goes_on_as_it_came(request_: MessageRequest | None, printed: str) -> None:
    assert print_message_request(request_) == printed


@pytest.mark.parametrize(
    ("request_", "original", "printed"),
    [
        (None, LIST, ""),
        (RecipientRequest(), FAR, ""),
        (RecipientRequest(Notify.NEVER), FAR, " NOTIFY=NEVER"),
        (RecipientRequest(Notify.SUCCESS), FAR, " NOTIFY=SUCCESS"),
        (
            RecipientRequest(Notify.DELAY | Notify.FAILURE | Notify.SUCCESS),
            FAR,
            " NOTIFY=SUCCESS,FAILURE,DELAY",
        ),
        (RecipientRequest(Notify.SUCCESS).expand(), FAR, " NOTIFY=NEVER"),
        (RecipientRequest(Notify.SUCCESS | Notify.DELAY).expand(), FAR, " NOTIFY=DELAY"),
        (
            RecipientRequest(Notify.FAILURE, "rfc822;a+2Bb@c.test"),
            LIST,
            " NOTIFY=FAILURE ORCPT=rfc822;a+2Bb@c.test",
        ),
        (
            RecipientRequest(Notify.FAILURE),
            LIST,
            " NOTIFY=FAILURE ORCPT=rfc822;sales+2Bx@example.test",
        ),
        (RecipientRequest(None, "utf-8;jürgen@b.test"), FAR, r" ORCPT=utf-8;j\x{FC}rgen@b.test"),
        (RecipientRequest(), Mailbox("jürgen", "b.test"), r" ORCPT=utf-8;j\x{FC}rgen@b.test"),
    ],
)
def test_what_rcpt_asked_goes_on_but_for_what_only_we_know(
    request_: RecipientRequest | None, original: Mailbox, printed: str
) -> None:
    assert print_recipient_request(Recipient(1, FAR, original, request_)) == printed


def test_a_hop_without_dsn_is_told_nothing() -> None:
    envelope = Envelope(
        ALICE,
        (Recipient(1, FAR, FAR, RecipientRequest(Notify.SUCCESS)), Recipient(2, ALICE, ALICE)),
        request=MessageRequest(Returned.FULL),
    )
    message, _ = OutgoingMessage.prepare(envelope, envelope.recipients, InlineContent(b"\r\n"))
    assert message.mail_parameters == b" RET=FULL"
    assert message.rcpt_command(1, takes_dsn=False) == b"RCPT TO:<far@far.test>\r\n"
    assert message.rcpt_command(1, takes_dsn=True) == b"RCPT TO:<far@far.test> NOTIFY=SUCCESS\r\n"
    assert message.rcpt_command(2, takes_dsn=True) == b"RCPT TO:<alice@example.test>\r\n"


@pytest.mark.parametrize(
    ("traits", "handover"),
    [
        (ServerTraits("mx"), Handover.SILENT),
        (ServerTraits("mx", takes_dsn=True), Handover.REPORTING),
        (ServerTraits("mx", is_lmtp=True), Handover.FINAL),
        (ServerTraits("mx", is_lmtp=True, takes_dsn=True), Handover.REPORTING),
    ],
)
def test_who_reports_after_that(traits: ServerTraits, handover: Handover) -> None:
    assert traits.handover is handover
