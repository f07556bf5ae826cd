"""RCPT for address literals; all else about RCPT stands in tests/dialogues/reception/."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from twisted.internet.address import IPv6Address

from kms.domain.account import Alias
from kms.domain.address import Mailbox
from tests.support.smtp_parts import Client
from tests.support.smtp_rig import MEMBER, SmtpRig

ACCEPTED = ["250 2.1.5 Recipient ok"]


@pytest.fixture
def rig(tmp_path: Path) -> SmtpRig:
    return SmtpRig(tmp_path)


def offer(client: Client, recipient: str) -> list[str]:
    """MAIL and RCPT; gives the answer to RCPT."""
    client.say("RSET", "MAIL FROM:<max@stranger.example>")
    return client.say(f"RCPT TO:<{recipient}>")


def test_the_address_is_that_of_the_connection(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.wire.hostAddr = IPv6Address("TCP", "2001:DB8::25%eth0", 25)
    assert offer(client, "postmaster@[IPv6:2001:db8:0::25]") == ACCEPTED
    assert offer(client, "postmaster@[IPv6:2001:db8:0::26]")[0].startswith("550 5.7.1 ")
    assert offer(client, "postmaster@[192.168.1.1]")[0].startswith("550 5.7.1 ")


def test_on_a_socket_for_both_versions_it_is_the_ipv4_address(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.wire.hostAddr = IPv6Address("TCP", "::ffff:198.51.100.1", 25)
    assert offer(client, "anna@[198.51.100.1]") == ACCEPTED


def test_without_an_address_of_ours_every_literal_is_foreign(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.connection.visit.server_address = lambda: None
    assert offer(client, "postmaster@[192.168.1.1]")[0].startswith("550 5.7.1 ")


def test_who_may_relay_is_not_asked_for_our_own_address(rig: SmtpRig) -> None:
    client = rig.greeted(MEMBER)
    assert offer(client, "nobody@[192.168.1.1]")[0].startswith("550 5.1.1 ")
    assert offer(client, "nobody@[192.168.1.2]") == ACCEPTED


def test_a_literal_that_the_configuration_lists_keeps_its_meaning(rig: SmtpRig) -> None:
    directory = rig.directory
    directory.current = attrs.evolve(directory.current, relay_domains=frozenset(("[192.168.1.1]",)))
    client = rig.greeted()
    assert offer(client, "anyone@[192.168.1.1]") == ACCEPTED


def test_the_address_is_looked_at_for_literals_only(rig: SmtpRig) -> None:
    asked: list[None] = []
    client = rig.greeted()
    client.connection.visit.server_address = lambda: asked.append(None)
    for recipient in ("anna@example.org", "fritz@example.org", "x@elsewhere.example", "Postmaster"):
        offer(client, recipient)
    assert asked == []


def test_an_alias_whose_list_cannot_be_read_waits_and_is_no_unknown_recipient(rig: SmtpRig) -> None:
    rig.directory.take_file((Alias("staff", "", (), "/x cannot be read"),))
    client = rig.greeted()
    assert offer(client, "staff@example.org")[0].startswith("451 4.3.0 A list cannot be read now")
    rig.directory.take_file((Alias("staff", "", (Mailbox("anna", "example.org"),)),))
    assert offer(client, "staff@example.org") == ACCEPTED


def test_the_message_goes_to_the_mailbox_and_the_report_would_name_the_literal(rig: SmtpRig) -> None:
    client = rig.greeted()
    offer(client, "anna@[192.168.1.1]")
    client.say("DATA", "Subject: x", "", "x", ".")
    ((entry, _),) = rig.stored
    (recipient,) = entry.envelope.recipients
    assert (str(recipient.forward_path), str(recipient.original)) == (
        "anna@example.org",
        "anna@[192.168.1.1]",
    )


def test_a_refusal_is_logged_with_the_protocol_that_was_spoken(rig: SmtpRig) -> None:
    client = rig.connect()
    client.say("HELO client.example")
    offer(client, "x@elsewhere.example")
    offer(rig.greeted(), "x@elsewhere.example")
    words = [line.split(" proto=")[1].split()[0] for line in rig.mail_lines() if " reject: " in line]
    assert words == ["SMTP", "ESMTP"]
