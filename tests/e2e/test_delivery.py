"""How foreign mail gets out: by MX, by a smarthost that asks for AUTH, again after trouble; and back as a report."""

import email
import email.policy
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage, Message
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.e2e.conftest import StartKms, unused
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.postfix import Postfix
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.world import OFFICE

ALICE = "alice@example.test"
SUBJECT = ("--header", "Subject: going out")


def through(smarthost: Postfix, **more: str) -> dict[str, dict[str, str]]:
    hop = f"{smarthost.settings.host}:{smarthost.settings.port}"
    login = {"smarthost_auth": "smtp", "smarthost_user": "office", "smarthost_password": "let me relay"}
    return {"delivery": {"mode": "smarthost", "smarthost": hop, **login, **more}}


def only_report(kms: Kms) -> tuple[Message, bytes]:
    wait_until(lambda: len(kms.messages(ALICE)) == 1, seconds=20, what=kms.everything)
    [raw] = kms.messages(ALICE)
    return email.message_from_bytes(raw, policy=email.policy.default), raw


def parts(message: Message) -> list[Message]:
    payload = message.get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, Message)]


def check_report(report: Message, recipient: str, action: str, status: str) -> None:
    """RFC 3464: its parts, its headers, and what it says of the one recipient."""
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert report["Return-Path"] == "<>"
    assert report["Auto-Submitted"] == "auto-replied"
    assert "MAILER-DAEMON@" in report["From"]
    assert all(len(report.get_all(name, [])) == 1 for name in ("From", "To", "Subject", "Date", "Message-ID"))
    text, delivery, original = parts(report)
    assert isinstance(text, EmailMessage)
    assert text.get_content_type() == "text/plain"
    assert recipient in text.get_content()
    assert delivery.get_content_type() == "message/delivery-status"
    message_fields, recipient_fields = parts(delivery)
    assert message_fields["Reporting-MTA"] == "dns; kms.example.test"
    assert recipient_fields["Final-Recipient"].lower() == f"rfc822; {recipient}"
    assert recipient_fields["Action"] == action
    assert recipient_fields["Status"].startswith(status)
    assert "Subject: going out" in original.as_string()


def test_a_smarthost_that_asks_for_auth_gets_it(
    start_kms: StartKms, clients: Clients, smarthost: Postfix
) -> None:
    kms = start_kms(through(smarthost))
    dialogue = clients.swaks(kms.smtp, "box@elsewhere.test", *SUBJECT, source=OFFICE, sender=ALICE)
    assert dialogue.status == 0, dialogue.text
    wait_until(
        lambda: len(smarthost.messages("box@elsewhere.test")) == 1,
        what=lambda: kms.everything() + smarthost.log(),
    )
    assert "sasl_username=office" in smarthost.log()
    assert "let me relay" not in kms.everything()


def test_a_smarthost_that_refuses_the_password_defers_and_never_bounces(
    start_kms: StartKms, clients: Clients, smarthost: Postfix
) -> None:
    kms = start_kms(through(smarthost, smarthost_password="wrong"))
    dialogue = clients.swaks(kms.smtp, "box@far.test", *SUBJECT, source=OFFICE, sender=ALICE)
    assert dialogue.status == 0, dialogue.text
    wait_until(
        lambda: kms.log().count("status=deferred") >= 2, what=lambda: kms.everything() + smarthost.log()
    )
    assert kms.messages(ALICE) == []
    assert "status=bounced" not in kms.log()


@pytest.mark.parametrize("tls", ["opportunistic", "off"])
def test_tls_towards_the_next_hop_as_set(
    start_kms: StartKms, clients: Clients, smarthost: Postfix, tls: str
) -> None:
    before = smarthost.log().count("TLS connection established from")
    boxes = len(smarthost.messages("box@far.test"))
    kms = start_kms(through(smarthost, tls=tls))
    assert clients.swaks(kms.smtp, "box@far.test", *SUBJECT, source=OFFICE).status == 0
    wait_until(lambda: len(smarthost.messages("box@far.test")) == boxes + 1, what=kms.everything)
    after = smarthost.log().count("TLS connection established from")
    assert (after > before) == (tls == "opportunistic")


def test_mail_for_a_server_that_is_down_goes_out_when_it_comes_up(
    start_kms: StartKms, clients: Clients, down: Postfix
) -> None:
    kms = start_kms()
    assert clients.swaks(kms.smtp, "box@down.test", *SUBJECT, source=OFFICE).status == 0
    kms.wait_for_log("mail", "status=deferred")
    down.start()
    wait_until(lambda: len(down.messages("box@down.test")) == 1, seconds=20, what=kms.everything)
    kms.wait_for_log("mail", "status=sent")


def test_deferred_mail_outlives_a_restart(start_kms: StartKms, clients: Clients, down: Postfix) -> None:
    kms = start_kms()
    assert clients.swaks(kms.smtp, "box@down.test", *SUBJECT, source=OFFICE).status == 0
    kms.wait_for_log("mail", "status=deferred")
    kms.stop()
    boxes = len(down.messages("box@down.test"))
    down.start()
    kms.start()
    wait_until(lambda: len(down.messages("box@down.test")) == boxes + 1, seconds=20, what=kms.everything)


def test_a_refused_recipient_comes_back_as_a_report(
    start_kms: StartKms, clients: Clients, far: Postfix
) -> None:
    kms = start_kms()
    dialogue = clients.swaks(kms.smtp, "nobody@far.test", *SUBJECT, source=OFFICE, sender=ALICE)
    assert dialogue.status == 0, dialogue.text
    report, raw = only_report(kms)
    check_report(report, "nobody@far.test", "failed", "5.1.1")
    assert all(32 <= octet < 127 or octet in b"\t\n" for octet in raw)
    [read] = clients.mpop(kms.pop3, ALICE, PASSWORD)
    assert read == raw


def test_of_two_recipients_only_the_failed_one_is_reported(
    start_kms: StartKms, clients: Clients, far: Postfix
) -> None:
    kms = start_kms()
    boxes = len(far.messages("second@far.test"))
    recipients = "second@far.test,nobody@far.test"
    header = (*SUBJECT, "--header", "To: friends: ;")
    assert clients.swaks(kms.smtp, recipients, *header, source=OFFICE, sender=ALICE).status == 0
    report, raw = only_report(kms)
    check_report(report, "nobody@far.test", "failed", "5.1.1")
    assert b"second@far.test" not in raw
    wait_until(lambda: len(far.messages("second@far.test")) == boxes + 1)


def test_a_domain_that_takes_no_mail_comes_back_at_once(start_kms: StartKms, clients: Clients) -> None:
    kms = start_kms()
    assert clients.swaks(kms.smtp, "x@nomail.test", *SUBJECT, source=OFFICE, sender=ALICE).status == 0
    report, _ = only_report(kms)
    check_report(report, "x@nomail.test", "failed", "5.1.10")


def test_a_domain_that_does_not_exist_comes_back_at_once(start_kms: StartKms, clients: Clients) -> None:
    kms = start_kms()
    assert clients.swaks(kms.smtp, "x@missing.test", *SUBJECT, source=OFFICE, sender=ALICE).status == 0
    report, _ = only_report(kms)
    check_report(report, "x@missing.test", "failed", "5.1.2")


def test_dns_trouble_defers(start_kms: StartKms, clients: Clients) -> None:
    kms = start_kms({"dns": {"timeout": "1 s"}})
    assert clients.swaks(kms.smtp, "x@no-answer.invalid", *SUBJECT, source=OFFICE, sender=ALICE).status == 0
    kms.wait_for_log("mail", "status=deferred", seconds=20)
    assert kms.messages(ALICE) == []


def test_a_warning_once_then_a_report_when_the_time_is_over(start_kms: StartKms, clients: Clients) -> None:
    kms = start_kms({"queue": {"warn_after": "2 s", "bounce_after": "6 s"}})
    assert clients.swaks(kms.smtp, "box@down.test", *SUBJECT, source=OFFICE, sender=ALICE).status == 0
    wait_until(lambda: len(kms.messages(ALICE)) == 2, seconds=30, what=kms.everything)
    warning, report = (email.message_from_bytes(m, policy=email.policy.default) for m in kms.messages(ALICE))
    if "failed" in warning.as_string().split("Action: ")[1][:8]:
        warning, report = report, warning
    check_report(warning, "box@down.test", "delayed", "4.")
    check_report(report, "box@down.test", "failed", "")


def test_the_null_sender_gets_no_report(start_kms: StartKms, clients: Clients, far: Postfix) -> None:
    kms = start_kms()
    assert clients.swaks(kms.smtp, "nobody@far.test", *SUBJECT, source=OFFICE, sender="<>").status == 0
    kms.wait_for_log("mail", "status=bounced")
    assert kms.messages(ALICE) == []


def test_a_large_message_goes_out_exact(start_kms: StartKms, clients: Clients, far: Postfix) -> None:
    kms = start_kms()
    body = b"".join(b".%07d octets of a large message\n" % i for i in range(60_000))
    date = b"Date: Tue, 24 Nov 2026 03:00:00 +0000\nMessage-ID: <large@example.test>\n"
    message = b"From: <alice@example.test>\nTo: <box@far.test>\nSubject: large one\n" + date + b"\n" + body
    url = f"smtp://127.0.0.1:{kms.smtp}"
    sent = clients.curl_send(url, "box@far.test", message.replace(b"\n", b"\r\n"), source=OFFICE)
    assert sent.status == 0, sent.text

    def arrived() -> list[bytes]:
        return [m for m in far.messages("box@far.test") if b"Subject: large one" in m]

    wait_until(lambda: len(arrived()) == 1, what=kms.everything)
    assert arrived()[0].endswith(message)


def test_the_archive_has_a_copy_of_what_comes_and_goes_and_nobody_hears_of_it(
    start_kms: StartKms, clients: Clients, far: Postfix
) -> None:
    kms = start_kms({"delivery": {"archive_to": "archive@example.test"}})
    kms.add_user("archive@example.test")
    outgoing = ("box@far.test", ALICE)
    incoming = (ALICE, "friend@far.test")
    for recipient, sender in (outgoing, incoming, ("bob@example.test", ALICE)):
        sent = clients.swaks(
            kms.smtp, recipient, "--header", f"Subject: to {recipient}", source=OFFICE, sender=sender
        )
        assert sent.status == 0, sent.text
    wait_until(lambda: len(kms.messages("archive@example.test")) == 3, what=kms.everything)
    copies = b"\n".join(kms.messages("archive@example.test"))
    for recipient in ("box@far.test", ALICE, "bob@example.test"):
        assert f"Subject: to {recipient}".encode() in copies
    assert b"Return-Path: <friend@far.test>" in copies
    wait_until(lambda: b"Subject: to alice" in kms.messages(ALICE)[0], what=kms.everything)
    wait_until(lambda: kms.queue_length() == 0, what=kms.everything)

    kms.ctl("user", "disable", "archive@example.test")
    assert clients.swaks(kms.smtp, "bob@example.test", source=OFFICE, sender=ALICE).status == 0
    kms.wait_for_log("mail", "status=bounced")
    wait_until(lambda: kms.queue_length() == 0, what=kms.everything)
    assert len(kms.messages("bob@example.test")) == 2
    assert len(kms.messages(ALICE)) == 1


def test_what_is_beyond_the_rate_of_a_domain_waits_without_an_attempt(
    start_kms: StartKms, clients: Clients, far: Postfix
) -> None:
    kms = start_kms({"delivery": {"rate_per_destination": "1"}})
    before = len(far.messages("box@far.test"))
    for _ in range(2):
        assert clients.swaks(kms.smtp, "box@far.test", *SUBJECT, source=OFFICE).status == 0
    wait_until(lambda: len(far.messages("box@far.test")) == before + 1, what=kms.everything)
    wait_until(lambda: kms.queue_length() == 1, what=kms.everything)
    assert "status=deferred" not in kms.log("mail")
    row: Any = kms.ctl_json("queue", "list")
    assert (row["attempts"], row["state"]) == (0, "waiting")


@pytest.fixture
def seven_bit(ground: Path, down: Postfix) -> Iterator[Postfix]:
    """The MX of down.test, which does not offer 8BITMIME."""
    more = {"smtpd_discard_ehlo_keywords": "8bitmime,smtputf8", "smtputf8_enable": "no"}
    settings = attrs.evolve(down.settings, more=more)
    server = Postfix(unused(ground, "test_seven_bit"), settings)
    server.start()
    yield server
    server.stop()


TEXT = "Grüße aus Köln, und noch mehr Worte\n"
CYRILLIC = "Съешь же ещё этих мягких французских булок\n"


def mixed_message(lines: int) -> EmailMessage:
    message = EmailMessage(policy=email.policy.SMTP.clone(cte_type="8bit"))
    message["Subject"], message["From"], message["To"] = "going out", ALICE, "box@down.test"
    message.set_content(TEXT * lines, cte="8bit")
    message.add_alternative(CYRILLIC * lines, subtype="html", cte="8bit")
    return message


@pytest.mark.parametrize("lines", [3, 9000])
def test_a_server_of_seven_bits_gets_a_text_that_reads_the_same(
    start_kms: StartKms, seven_bit: Postfix, lines: int
) -> None:
    kms = start_kms()
    message = mixed_message(lines)
    with smtplib.SMTP(kms.host, kms.smtp, source_address=(OFFICE, 0)) as client:
        client.sendmail(ALICE, ["box@down.test"], message.as_bytes(), ["BODY=8BITMIME"])
    wait_until(lambda: len(seven_bit.messages("box@down.test")) == 1, what=kms.everything)
    [raw] = seven_bit.messages("box@down.test")
    assert raw.isascii()
    assert max(map(len, raw.splitlines())) <= 998
    read = email.message_from_bytes(raw, policy=email.policy.default)
    plain, html = parts(read)
    assert isinstance(plain, EmailMessage)
    assert isinstance(html, EmailMessage)
    assert plain.get_content() == TEXT * lines
    assert (
        html.get_content().replace("\r\n", "\n") == CYRILLIC * lines
    )  # in base64 a line ends as on the wire
    assert plain["Content-Transfer-Encoding"] == "quoted-printable"
    assert html["Content-Transfer-Encoding"] == "base64"


def test_a_signed_text_comes_back_from_a_server_of_seven_bits(
    start_kms: StartKms, seven_bit: Postfix
) -> None:
    kms = start_kms()
    signed = (
        f"Subject: going out\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n"
        f"--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{TEXT}\r\n--b--\r\n"
    ).replace("\n\r\n--b--", "\r\n--b--")
    with smtplib.SMTP(kms.host, kms.smtp, source_address=(OFFICE, 0)) as client:
        client.sendmail(ALICE, ["box@down.test"], signed.encode(), ["BODY=8BITMIME"])
    report, _ = only_report(kms)
    check_report(report, "box@down.test", "failed", "5.6.3")
    assert seven_bit.messages("box@down.test") == []
