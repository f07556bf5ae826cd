from __future__ import annotations

import pytest

from kms.domain import reply as replies
from kms.domain.address import Mailbox, normalise_domain
from kms.domain.envelope import Envelope, Recipient
from kms.protocol.outgoing_message import OutgoingMessage
from tests.support.client_sessions import CONTENT, recipient


class TestAddressesThatCannotBeSent:
    def test_are_sorted_out_and_the_others_go(self) -> None:
        recipients = (recipient(1, "a\x85"), recipient(2, "a\r\nDATA"), recipient(3))
        message, refused = OutgoingMessage.prepare(Envelope(None, recipients), recipients, CONTENT)
        assert refused == dict.fromkeys((1, 2), replies.UNSENDABLE_RECIPIENT)
        assert list(message.rcpt_commands) == [3]

    def test_as_sender_fail_every_recipient(self) -> None:
        recipients = (recipient(1), recipient(2))
        envelope = Envelope(Mailbox("a\0", "near.test"), recipients)
        message, refused = OutgoingMessage.prepare(envelope, recipients, CONTENT)
        assert refused == dict.fromkeys((1, 2), replies.UNSENDABLE_SENDER)
        assert message.rcpt_commands == {}


class TestInternationalMail:
    def test_is_a_matter_of_each_recipient(self) -> None:
        recipients = (recipient(1, "ü"), recipient(2))
        message, refused = OutgoingMessage.prepare(Envelope(None, recipients), recipients, CONTENT)
        assert refused == {}
        assert message.international == {1}
        assert message.rcpt_commands[1] == "RCPT TO:<ü@far.test>\r\n".encode()
        assert list(message.only((1,)).rcpt_commands) == [1]

    @pytest.mark.parametrize(("sender", "has_utf8_header"), [("ü", False), ("a", True)])
    def test_is_what_a_sender_or_header_beyond_ascii_makes_of_all(
        self, sender: str, has_utf8_header: bool
    ) -> None:
        recipients = (recipient(1), recipient(2))
        envelope = Envelope(
            Mailbox(sender, "near.test"), recipients, is_8bit=True, has_utf8_header=has_utf8_header
        )
        message, _ = OutgoingMessage.prepare(envelope, recipients, CONTENT)
        assert message.international == {1, 2}

    def test_is_not_what_has_a_domain_in_a_labels(self) -> None:
        mailbox = Mailbox("a", normalise_domain("clüb.test"))
        recipients = (Recipient(1, mailbox, mailbox),)
        message, _ = OutgoingMessage.prepare(Envelope(None, recipients), recipients, CONTENT)
        assert message.international == frozenset()
        assert message.rcpt_commands == {1: b"RCPT TO:<a@xn--clb-ioa.test>\r\n"}
