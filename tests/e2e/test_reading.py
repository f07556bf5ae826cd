"""What was sent comes back octet for octet, through every reader, and Dovecot opens the mailbox at the same time."""

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.dovecot import MaildirReader
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.telnet import Telnet

ALICE = "alice@example.test"
MESSAGE = (
    b"From: Carol <carol@stranger.test>\n"
    b"To: Alice <alice@example.test>\n"
    b"Subject: exact\n\tfolded\n"
    b"X-Odd:   blanks   kept  \n"
    b"\n"
    b".\n"
    b"..two dots\n"
    b".hidden\n"
    b"8-bit: \xc3\xa9 \xff\x80\n"
    b"trailing blanks   \n"
    b"From the start of a line\n" + b"long " * 180 + b"\n\n\n"
)


def tail(message: bytes) -> bytes:
    """The message without the trace fields that the server put before it."""
    return message[message.index(b"From: Carol") :]


@pytest.fixture
def kms(start_kms: StartKms) -> Kms:
    return start_kms()


def deliver(kms: Kms, clients: Clients, message: bytes = MESSAGE, count: int = 1) -> None:
    for _ in range(count):
        url = f"smtp://127.0.0.1:{kms.smtp}/client.stranger.test"
        dialogue = clients.curl_send(url, ALICE, message.replace(b"\n", b"\r\n"))
        assert dialogue.status == 0, dialogue.text
    wait_until(lambda: len(kms.messages(ALICE)) == count, what=kms.everything)


def test_curl_reads_what_curl_sent(kms: Kms, clients: Clients) -> None:
    deliver(kms, clients)
    result = clients.curl_read(f"pop3://127.0.0.1:{kms.pop3}/1", f"{ALICE}:{PASSWORD}")
    assert result.returncode == 0, result.stderr
    assert tail(result.stdout) == MESSAGE.replace(b"\n", b"\r\n")
    head = result.stdout[: result.stdout.index(b"From: Carol")]
    assert head.startswith(
        b"Return-Path: <carol@stranger.test>\r\nDelivered-To: alice@example.test\r\nReceived: "
    )


def test_mpop_and_fetchmail_read_the_same(kms: Kms, clients: Clients) -> None:
    deliver(kms, clients)
    [by_mpop] = clients.mpop(kms.pop3, ALICE, PASSWORD)
    assert tail(by_mpop) == MESSAGE
    assert tail(clients.fetchmail(kms.pop3, ALICE, PASSWORD)) == MESSAGE


@pytest.mark.parametrize("sender", ["swaks", "msmtp"])
def test_other_senders_messages_come_back_exact(kms: Kms, clients: Clients, sender: str) -> None:
    if sender == "swaks":
        assert clients.swaks_file(kms.smtp, ALICE, MESSAGE.rstrip(b"\n") + b"\n").status == 0
    else:
        assert clients.msmtp(kms.smtp, ALICE, MESSAGE).status == 0
    wait_until(lambda: len(kms.messages(ALICE)) == 1)
    [message] = clients.mpop(kms.pop3, ALICE, PASSWORD)
    assert tail(message).rstrip(b"\n") == MESSAGE.rstrip(b"\n")


def test_a_large_message_streams_through_exact(kms: Kms, clients: Clients) -> None:
    large = MESSAGE + b"".join(b".%07d octets of a large message\n" % i for i in range(60_000))
    deliver(kms, clients, large)
    result = clients.curl_read(f"pop3://127.0.0.1:{kms.pop3}/1", f"{ALICE}:{PASSWORD}")
    assert tail(result.stdout) == large.replace(b"\n", b"\r\n")


def test_sizes_are_the_octets_sent(kms: Kms, clients: Clients) -> None:
    deliver(kms, clients)
    listing = clients.curl_read(f"pop3://127.0.0.1:{kms.pop3}/", f"{ALICE}:{PASSWORD}").stdout
    message = clients.curl_read(f"pop3://127.0.0.1:{kms.pop3}/1", f"{ALICE}:{PASSWORD}").stdout
    assert listing.split() == [b"1", str(len(message)).encode()]


def test_deletion_takes_effect_at_quit_only(kms: Kms, clients: Clients) -> None:
    deliver(kms, clients)
    with Telnet(kms.pop3) as session:
        session.pop3(f"USER {ALICE}")
        assert session.pop3(f"PASS {PASSWORD}").startswith("+OK")
        assert session.pop3("DELE 1").startswith("+OK")
    wait_until(
        lambda: clients.curl_read(f"pop3://127.0.0.1:{kms.pop3}/", f"{ALICE}:{PASSWORD}").stdout != b"",
        what="the message is still there after a cut line",
    )
    with Telnet(kms.pop3) as session:
        session.pop3(f"USER {ALICE}")
        session.pop3(f"PASS {PASSWORD}")
        session.pop3("DELE 1")
        assert session.pop3("QUIT").startswith("+OK")
    assert kms.messages(ALICE) == []


def test_a_second_session_is_told_in_use_and_a_wrong_password_auth(kms: Kms) -> None:
    with Telnet(kms.pop3) as first, Telnet(kms.pop3) as second:
        first.pop3(f"USER {ALICE}")
        assert first.pop3(f"PASS {PASSWORD}").startswith("+OK")
        second.pop3(f"USER {ALICE}")
        assert second.pop3(f"PASS {PASSWORD}").startswith("-ERR [IN-USE]")
    with Telnet(kms.pop3) as third:
        third.pop3(f"USER {ALICE}")
        assert third.pop3("PASS wrong").startswith("-ERR [AUTH]")
    kms.wait_for_log("security", "Failed POP3 login from 127.0.0.2")


def test_pop3_speaks_tls_both_ways(kms: Kms, clients: Clients) -> None:
    deliver(kms, clients)
    login = f"{ALICE}:{PASSWORD}"
    by_stls = clients.curl_read(f"pop3://127.0.0.1:{kms.pop3}/1", login, "--ssl-reqd", "-k")
    at_once = clients.curl_read(f"pop3s://127.0.0.1:{kms.pop3s}/1", login, "-k")
    assert by_stls.returncode == 0, by_stls.stderr
    assert tail(by_stls.stdout) == tail(at_once.stdout) == MESSAGE.replace(b"\n", b"\r\n")


def test_dovecot_opens_the_mailbox_at_the_same_time(kms: Kms, clients: Clients) -> None:
    deliver(kms, clients, count=3)
    names_before = [file.name for file in sorted((kms.maildir(ALICE) / "new").iterdir())]
    reader = MaildirReader(kms.folder / "dovecot", kms.mailboxes(), "other")
    try:
        with Telnet(kms.pop3) as session:
            session.pop3(f"USER {ALICE}")
            assert session.pop3(f"PASS {PASSWORD}").startswith("+OK")
            by_dovecot = clients.curl_read(f"pop3://127.0.0.1:{reader.port}/1", f"{ALICE}:other")
            assert tail(by_dovecot.stdout) == MESSAGE.replace(b"\n", b"\r\n"), by_dovecot.stderr
            assert session.pop3("DELE 1").startswith("+OK")
            assert session.pop3("QUIT").startswith("+OK")
        listing = clients.curl_read(f"pop3://127.0.0.1:{reader.port}/", f"{ALICE}:other").stdout
        assert len(listing.splitlines()) == 2
        ours = clients.curl_read(f"pop3://127.0.0.1:{kms.pop3}/", f"{ALICE}:{PASSWORD}").stdout
        assert ours == listing
        again = clients.curl_send(f"smtp://127.0.0.1:{kms.smtp}", ALICE, MESSAGE.replace(b"\n", b"\r\n"))
        assert again.status == 0
        wait_until(lambda: len(kms.messages(ALICE)) == 3)
        assert (
            len(clients.curl_read(f"pop3://127.0.0.1:{reader.port}/", f"{ALICE}:other").stdout.splitlines())
            == 3
        )
    finally:
        reader.stop()
    assert all(",S=" in name and ",W=" in name for name in names_before), names_before
    assert "Error" not in (kms.folder / "dovecot" / "dovecot.log").read_text()
