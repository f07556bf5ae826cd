from __future__ import annotations

import pytest

from kms.domain import reply as replies
from kms.domain.address import Mailbox
from kms.domain.envelope import Envelope
from kms.domain.reply import Reply
from kms.protocol.outgoing_message import OutgoingMessage
from tests.support.client_sessions import CONTENT, recipient


class TestAddressesThatCannotBeSent:
    def test_are_sorted_out_and_the_others_go(self) -> None:
        recipients = (recipient(1, "ü"), recipient(2, "a\r\nDATA"), recipient(3))
        message, refused = OutgoingMessage.prepare(Envelope(None, recipients), recipients, CONTENT)
        assert refused == {1: replies.NEEDS_SMTPUTF8, 2: replies.UNSENDABLE_RECIPIENT}
        assert list(message.rcpt_commands) == [3]

    @pytest.mark.parametrize(
        ("sender", "reply"), [("ü", replies.NEEDS_SMTPUTF8), ("a\0", replies.UNSENDABLE_SENDER)]
    )
    def test_as_sender_fail_every_recipient(self, sender: str, reply: Reply) -> None:
        recipients = (recipient(1), recipient(2))
        envelope = Envelope(Mailbox(sender, "near.test"), recipients)
        message, refused = OutgoingMessage.prepare(envelope, recipients, CONTENT)
        assert refused == {1: reply, 2: reply}
        assert message.rcpt_commands == {}
