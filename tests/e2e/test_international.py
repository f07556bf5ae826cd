"""Mail beyond ASCII (RFC 6531), in chunks (RFC 3030), by LMTP (RFC 2033); Python and Postfix on either side."""

import poplib
import smtplib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import DIRECT_PORT, StartKms, unused
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.postfix import Postfix, PostfixSettings
from tests.e2e.peers.process import free_port, wait_until
from tests.e2e.peers.world import DOWN_HOST, OFFICE

ALICE = "alice@example.test"
JUERGEN = "jürgen@example.test"
FAR = "jürgen@down.test"
FAR_PLAIN = "box@down.test"


@pytest.fixture
def kms(start_kms: StartKms) -> Kms:
    server = start_kms()
    server.ctl("alias", "add", JUERGEN, ALICE)
    return server


@pytest.fixture
def mx(ground: Path, request: pytest.FixtureRequest) -> Iterator[Postfix]:
    """The MX of down.test; takes SMTPUTF8 where the test says yes."""
    settings = PostfixSettings(
        hostname="mx.down.test",
        host=DOWN_HOST,
        port=DIRECT_PORT,
        mailboxes=[FAR, FAR_PLAIN],
        domains=["down.test"],
        more={"smtputf8_enable": request.param},
    )
    server = Postfix(unused(ground, "test_mx"), settings)
    server.start()
    yield server
    server.stop()


def message(subject: str) -> bytes:
    return f"From: {ALICE}\r\nTo: x@y.test\r\nSubject: {subject}\r\n\r\nGrüße\r\n".encode()


def send(port: int, sender: str, to: list[str], subject: str, source: str = OFFICE) -> None:
    """Send with SMTPUTF8, as Python does it."""
    with smtplib.SMTP("127.0.0.1", port, source_address=(source, 0), timeout=20) as client:
        options = ["SMTPUTF8", "BODY=8BITMIME"]
        assert client.sendmail(sender, to, message(subject), mail_options=options) == {}


def test_python_sends_to_an_alias_beyond_ascii_and_reads_it_by_pop3(kms: Kms) -> None:
    send(kms.smtp, "carol@stranger.test", [JUERGEN], "Grüße", source="127.0.0.2")
    wait_until(lambda: len(kms.messages(ALICE)) == 1, what=kms.everything)
    [stored] = kms.messages(ALICE)
    assert "for <jürgen@example.test>".encode() in stored
    assert b"with UTF8SMTP" in stored
    assert "Subject: Grüße".encode() in read(kms.pop3, is_utf8=True)
    lines = read(kms.pop3, is_utf8=False)
    assert b"Subject: =?utf-8?b?R3LDvMOfZQ==?=" in lines
    assert lines[-1] == "Grüße".encode()
    assert b"".join(lines[: lines.index(b"")]).isascii()


def read(port: int, *, is_utf8: bool) -> list[bytes]:
    """Read the first message as Python does it; the size told is that of what comes."""
    reader = poplib.POP3("127.0.0.1", port, timeout=20)
    assert reader.capa()["UTF8"] == ["USER"]
    if is_utf8:
        assert reader.utf8().startswith(b"+OK")
    reader.user(ALICE)
    reader.pass_(PASSWORD)
    said, lines, octets = reader.retr(1)
    reader.quit()
    assert said == b"+OK %d octets" % octets
    return lines


@pytest.mark.parametrize("mx", ["yes"], indirect=True)
def test_a_server_with_smtputf8_gets_it(kms: Kms, mx: Postfix) -> None:
    send(kms.smtp, JUERGEN, [FAR, FAR_PLAIN], "Grüße")
    wait_until(lambda: len(mx.messages(FAR)) == len(mx.messages(FAR_PLAIN)) == 1, what=kms.everything)
    [received] = mx.messages(FAR)
    assert "Subject: Grüße".encode() in received
    assert "Return-Path: <jürgen@example.test>".encode() in received
    assert b"with UTF8SMTP" in received.partition(b"by kms.example.test")[0]


@pytest.mark.parametrize("mx", ["no"], indirect=True)
def test_a_server_without_it_gets_what_it_can_take_and_the_sender_a_report(kms: Kms, mx: Postfix) -> None:
    send(kms.smtp, ALICE, [FAR, FAR_PLAIN], "plain header")
    wait_until(lambda: len(mx.messages(FAR_PLAIN)) == 1, what=kms.everything)
    wait_until(lambda: len(kms.messages(ALICE)) == 1, what=kms.everything)
    [report] = kms.messages(ALICE)
    assert "Final-Recipient: utf-8; jürgen@down.test".encode() in report  # her mailbox is ours, and takes it
    assert b"Content-Type: message/global-delivery-status" in report
    assert b"Status: 5.6.7" in report
    assert mx.messages(FAR) == []


@pytest.mark.parametrize("mx", ["no"], indirect=True)
def test_a_header_beyond_ascii_goes_to_no_server_without_it(kms: Kms, mx: Postfix) -> None:
    send(kms.smtp, ALICE, [FAR_PLAIN], "Grüße")
    wait_until(lambda: len(kms.messages(ALICE)) == 1, what=kms.everything)
    assert b"Status: 5.6.7" in kms.messages(ALICE)[0]
    assert mx.messages(FAR_PLAIN) == []


def test_postfix_relays_such_mail_to_us(kms: Kms, ground: Path) -> None:
    port = free_port(DOWN_HOST)
    relay = {"relayhost": f"[127.0.0.1]:{kms.smtp}", "mynetworks": "127.0.0.0/8", "smtp_bind_address": OFFICE}
    settings = PostfixSettings(hostname="mx.stranger.test", host=DOWN_HOST, port=port, more=relay)
    postfix = Postfix(unused(ground, "test_relay"), settings)
    postfix.start()
    try:
        with smtplib.SMTP(DOWN_HOST, port, timeout=20) as client:
            options = ["SMTPUTF8", "BODY=8BITMIME"]
            client.sendmail("jörg@stranger.test", [JUERGEN], message("Grüße"), mail_options=options)
        wait_until(lambda: len(kms.messages(ALICE)) == 1, what=lambda: kms.everything() + postfix.log())
    finally:
        postfix.stop()
    [stored] = kms.messages(ALICE)
    assert "Return-Path: <jörg@stranger.test>".encode() in stored


def test_a_message_in_chunks_arrives_octet_for_octet(kms: Kms) -> None:
    whole = b"Subject: chunks\r\n\r\n.\r\n..\r\nQUIT\r\n\0\xff" + b"x" * 300_000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", kms.smtp), timeout=20) as client:
        lines = client.makefile("rb")
        lines.readline()
        client.sendall(b"HELO client.stranger.test\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\n")
        for start in range(0, len(whole), 70_001):
            chunk = whole[start : start + 70_001]
            client.sendall(b"BDAT %d\r\n" % len(chunk) + chunk)
        client.sendall(b"BDAT 0 LAST\r\nQUIT\r\n")
        said = lines.read().splitlines()
    assert said[-2].startswith(b"250 2.0.0 Ok: queued as "), said
    wait_until(lambda: len(kms.messages(ALICE)) == 1, what=kms.everything)
    [stored] = kms.messages(ALICE)
    assert stored.replace(b"\r\n", b"\n").endswith(whole.replace(b"\r\n", b"\n"))


def test_lmtp_at_a_socket_of_the_owner_takes_local_mail_alone(start_kms: StartKms) -> None:
    kms = start_kms({"listen": {"lmtp": "unix:lmtp.sock"}})
    path = kms.data_dir / "lmtp.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    kms.kill()
    kms.start()
    with smtplib.LMTP(str(path)) as client:
        assert client.docmd("EHLO", "client.example")[0] == 500
        refused = client.sendmail("carol@stranger.test", [ALICE, "box@far.test"], message("over LMTP"))
    assert refused["box@far.test"][0] == 550
    wait_until(lambda: len(kms.messages(ALICE)) == 1, what=kms.everything)
    assert b"with LMTP\n" in kms.messages(ALICE)[0].replace(b"\r\n", b"\n")
