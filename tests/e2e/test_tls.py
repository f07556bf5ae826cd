"""TLS and the submission ports, with swaks, curl and openssl as the other side."""

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.postfix import Postfix
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.telnet import Telnet
from tests.e2e.peers.world import OFFICE

ALICE = "alice@example.test"
LOGIN = ("-a", "PLAIN", "-au", ALICE, "-ap", PASSWORD)


@pytest.fixture
def kms(start_kms: StartKms) -> Kms:
    return start_kms()


def test_swaks_sends_after_starttls(kms: Kms, clients: Clients) -> None:
    dialogue = clients.swaks(kms.smtp, ALICE, "--tls")
    assert dialogue.status == 0, dialogue.text
    assert "TLS started with cipher" in dialogue.text
    wait_until(lambda: len(kms.messages(ALICE)) == 1)
    assert b"with ESMTPS" in kms.messages(ALICE)[0]
    assert b"TLSv1.3" in kms.messages(ALICE)[0]


@pytest.mark.parametrize(("version", "is_accepted"), [("tls1_3", True), ("tls1_2", True), ("tls1_1", False)])
def test_openssl_speaks_starttls(kms: Kms, clients: Clients, version: str, is_accepted: bool) -> None:
    text = clients.openssl(kms.smtp, b"EHLO client.test\nQUIT\n", "-starttls", "smtp", f"-{version}")
    assert ("221 2.0.0" in text) == is_accepted, text


def test_inside_tls_starttls_is_neither_offered_nor_accepted(kms: Kms, clients: Clients) -> None:
    dialogue = b"EHLO client.test\nSTARTTLS\nQUIT\n"
    text = clients.openssl(kms.submissions, dialogue, "-quiet")
    assert "250-STARTTLS" not in text
    assert "250 STARTTLS" not in text
    assert "503 5.5.1" in text, text


def test_bytes_after_starttls_are_never_answered(kms: Kms) -> None:
    with Telnet(kms.smtp) as session:
        session.say("EHLO client.test")
        assert session.say("STARTTLS\r\nNOOP\r\nMAIL FROM:<injected@stranger.test>")[:3] in {
            "220",
            "554",
            "421",
            "",
        }


def test_submission_asks_for_auth_first(kms: Kms, clients: Clients) -> None:
    dialogue = clients.swaks(kms.submission, ALICE, source=OFFICE)
    assert dialogue.has_reply("530 5.7.0"), dialogue.text


@pytest.mark.parametrize("kind", ["submission after STARTTLS", "submissions"])
def test_submission_with_tls(kms: Kms, clients: Clients, far: Postfix, kind: str) -> None:
    before = len(far.messages("box@far.test"))
    port, how = (kms.submissions, "--tlsc") if kind == "submissions" else (kms.submission, "--tls")
    dialogue = clients.swaks(port, "box@far.test", how, *LOGIN, sender=ALICE)
    assert dialogue.status == 0, dialogue.text
    wait_until(lambda: len(far.messages("box@far.test")) == before + 1, what=kms.everything)
    newest = max((far.maildir("box@far.test") / "new").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    assert b"with ESMTPSA" in newest.read_bytes()


def test_curl_submits_by_smtps(kms: Kms, clients: Clients) -> None:
    message = b"From: <alice@example.test>\r\nSubject: by smtps\r\n\r\nx\r\n"
    login = ("-k", "--user", f"{ALICE}:{PASSWORD}")
    dialogue = clients.curl_send(
        f"smtps://127.0.0.1:{kms.submissions}", "bob@example.test", message, *login, sender=ALICE
    )
    assert dialogue.status == 0, dialogue.text
    wait_until(lambda: len(kms.messages("bob@example.test")) == 1)


def test_without_tls_no_password_is_taken_where_it_is_set_so(start_kms: StartKms, clients: Clients) -> None:
    kms = start_kms({"tls": {"plaintext_auth": "never"}})
    with Telnet(kms.smtp) as session:
        assert "PLAIN" not in session.say("EHLO client.test")
        assert session.login(ALICE, PASSWORD)[:3] in {"504", "538", "530", "502", "503"}
    with Telnet(kms.pop3) as session:
        assert session.pop3(f"USER {ALICE}").startswith("-ERR")
    dialogue = clients.swaks(kms.smtp, "bob@example.test", "--tls", *LOGIN, sender=ALICE)
    assert dialogue.status == 0, dialogue.text
