"""One more copy of what is taken, and no word of it to anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from kms.domain.address import Mailbox, parse_mailbox
from kms.domain.dsn_request import Notify, RecipientRequest
from tests.support.smtp_rig import MEMBER, SmtpRig

UNTOLD = RecipientRequest(Notify.NEVER)
FAR = "keep@archive.example"


@pytest.fixture
def rig(tmp_path: Path) -> SmtpRig:
    return SmtpRig(tmp_path)


def send(rig: SmtpRig, *recipients: str, text: str = "Hello", sender: str = "max@stranger.example") -> None:
    client = rig.greeted(MEMBER)
    client.say(f"MAIL FROM:<{sender}>")
    for recipient in recipients:
        assert client.say(f"RCPT TO:<{recipient}>")[0].startswith("250 ")
    client.say("DATA")
    assert client.say("Subject: x", "", text, ".")[0].startswith("250 ")


def copies(rig: SmtpRig) -> list[tuple[int, str]]:
    """Those of the recipients stored last whom no report is ever about."""
    recipients = rig.stored[-1][0].envelope.recipients
    return [(item.recipient_id, str(item.forward_path)) for item in recipients if item.request == UNTOLD]


@pytest.mark.parametrize("sender", ["max@stranger.example", ""])
@pytest.mark.parametrize("recipient", ["anna@example.org", "x@relay.example", "x@far.example"])
def test_each_message_has_the_archive_behind_its_recipients(
    rig: SmtpRig, recipient: str, sender: str
) -> None:
    rig.archive.address = parse_mailbox(FAR)
    send(rig, recipient, sender=sender)
    assert rig.envelopes() == [f"{sender} -> {recipient}, {FAR}"]
    assert copies(rig) == [(2, FAR)]


def test_a_large_message_too(rig: SmtpRig) -> None:
    rig.archive.address = parse_mailbox(FAR)
    send(rig, "anna@example.org", text="\r\n".join(["x" * 70] * 3000))
    assert copies(rig) == [(2, FAR)]


def test_without_an_archive_there_is_no_copy(rig: SmtpRig) -> None:
    send(rig, "anna@example.org")
    assert rig.envelopes() == ["max@stranger.example -> anna@example.org"]


def test_what_the_archive_gets_anyway_it_gets_once(rig: SmtpRig) -> None:
    rig.archive.address = parse_mailbox("anna@example.net")
    send(rig, "anna@example.org")
    assert rig.envelopes() == ["max@stranger.example -> anna@example.org"]
    assert copies(rig) == []


def test_an_alias_as_archive_is_all_that_it_stands_for(rig: SmtpRig) -> None:
    rig.archive.address = Mailbox("team", "example.org")
    send(rig, "bert@example.org", "fritz@example.org")
    assert copies(rig) == [(3, "anna@example.org")]


def test_an_archive_that_nobody_has_holds_no_mail_up(rig: SmtpRig) -> None:
    rig.archive.address = Mailbox("nobody", "example.org")
    send(rig, "anna@example.org")
    assert copies(rig) == [(2, "nobody@example.org")]


def test_the_trace_line_does_not_tell_of_it(rig: SmtpRig) -> None:
    rig.archive.address = parse_mailbox(FAR)
    send(rig, "anna@example.org")
    assert b"for <anna@example.org>" in rig.contents()[0]
    assert b"archive" not in rig.contents()[0]
