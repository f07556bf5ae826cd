"""Every way to log in, with the programs that people log in with."""

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.telnet import Telnet

ALICE, BOB = "alice@example.test", "bob@example.test"
MECHANISMS = "SCRAM-SHA-256-PLUS, SCRAM-SHA-256, CRAM-MD5, PLAIN, LOGIN"


@pytest.fixture
def kms(start_kms: StartKms) -> Kms:
    server = start_kms({"auth": {"mechanisms": MECHANISMS}, "pop3": {"apop": "yes"}})
    told = server.ctl("user", "set", ALICE, "--cram", "yes", "--apop", "yes")
    assert "works from the next password on" in told
    server.ctl("user", "passwd", ALICE, "--password-stdin", stdin=f"{PASSWORD}\n")
    return server


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("how", ["--tls", "--tlsc"])
def test_swaks(kms: Kms, clients: Clients, how: str, mechanism: str) -> None:
    port = kms.submission if how == "--tls" else kms.submissions
    login = ("-a", mechanism, "-au", ALICE, "-ap", PASSWORD)
    dialogue = clients.swaks(port, BOB, how, *login, sender=ALICE)
    assert dialogue.status == 0, dialogue.text
    assert dialogue.has_reply("235 2.7.0")
    wrong = clients.swaks(port, BOB, how, *login[:-1], "wrong", sender=ALICE)
    assert wrong.has_reply("535 5.7.8")


def test_swaks_with_cram_md5_for_an_account_that_may_not(kms: Kms, clients: Clients) -> None:
    login = ("-a", "CRAM-MD5", "-au", BOB, "-ap", PASSWORD)
    assert clients.swaks(kms.submission, ALICE, "--tls", *login, sender=BOB).has_reply("535 5.7.8")


@pytest.mark.parametrize("method", ["plain", "login", "cram-md5", "scram-sha-256"])
@pytest.mark.parametrize("starttls", ["on", "off"])
def test_msmtp(kms: Kms, clients: Clients, method: str, starttls: str) -> None:
    port = kms.submission if starttls == "on" else kms.submissions
    tls = ("--tls=on", f"--tls-starttls={starttls}", "--tls-certcheck=off", f"--auth={method}")
    login = (f"--user={ALICE}", f"--passwordeval=echo '{PASSWORD}'", "--debug")
    dialogue = clients.msmtp(port, BOB, b"Subject: x\n\nx\n", *tls, *login, sender=ALICE)
    assert dialogue.status == 0, dialogue.text
    assert "235 2.7.0" in dialogue.text
    wrong = clients.msmtp(
        port, BOB, b"Subject: x\n\nx\n", *tls, login[0], "--passwordeval=echo wrong", "--debug", sender=ALICE
    )
    assert "535 5.7.8" in wrong.text


def test_msmtp_needs_no_tls_for_scram(kms: Kms, clients: Clients) -> None:
    login = (f"--user={BOB}", f"--passwordeval=echo '{PASSWORD}'", "--auth=scram-sha-256", "--tls=off")
    dialogue = clients.msmtp(kms.submission, ALICE, b"Subject: x\n\nx\n", *login, sender=BOB)
    assert dialogue.status == 0, dialogue.text


def test_gsasl_binds_its_login_to_the_tls_channel(kms: Kms, clients: Clients) -> None:
    right = clients.gsasl(kms.submission, ALICE, PASSWORD, "--mechanism=SCRAM-SHA-256-PLUS")
    assert "235 2.7.0" in right.text, right.text
    assert "cD10bHMtZXhwb3J0ZXI" in right.text or "p=tls-exporter" in right.text, right.text
    wrong = clients.gsasl(kms.submission, ALICE, "wrong", "--mechanism=SCRAM-SHA-256-PLUS")
    assert "535 5.7.8" in wrong.text, wrong.text


@pytest.mark.parametrize("method", ["user", "plain", "apop", "scram-sha-256"])
@pytest.mark.parametrize("starttls", ["on", "off"])
def test_mpop(kms: Kms, clients: Clients, method: str, starttls: str) -> None:
    port = kms.pop3 if starttls == "on" else kms.pop3s
    tls = ("--tls=on", f"--tls-starttls={starttls}", "--tls-certcheck=off")
    dialogue = clients.mpop_log_in(port, ALICE, PASSWORD, method, *tls)
    assert dialogue.status == 0, dialogue.text
    assert "+OK Logged in" in dialogue.text
    assert "-ERR [AUTH]" in clients.mpop_log_in(port, ALICE, "wrong", method, *tls).text


def test_a_line_of_12288_octets_is_taken_in_an_exchange_and_no_longer_one(kms: Kms) -> None:
    with Telnet(kms.smtp) as session:
        session.say("EHLO client.test")
        assert session.say("AUTH LOGIN").startswith("334")
        assert session.say("A" * 12288).startswith("334")
        assert session.say("A" * 12289).startswith("500 5.5.6")
