"""A real HAProxy in front of kms, and swaks speaking the PROXY protocol itself."""

import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import StartKms, unused
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.haproxy import Haproxy, Way
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.world import OFFICE, STRANGER, VISITOR

ALICE = "alice@example.test"
PROXY = "127.0.0.20"
V1, V2 = "send-proxy", "send-proxy-v2"
V2_ALL = "send-proxy-v2 proxy-v2-options crc32c,unique-id"


@pytest.fixture
def kms(start_kms: StartKms) -> Kms:
    return start_kms(
        {"address_groups": {"Proxies": PROXY}, "listen": {"proxy_protocol_from": "Proxies"}},
        users=(ALICE,),
    )


@pytest.fixture
def haproxy(kms: Kms, ground: Path) -> Iterator[Haproxy]:
    ways = {
        "smtp1": Way(kms.smtp, V1),
        "smtp2": Way(kms.smtp, V2),
        "smtp2crc": Way(kms.smtp, V2_ALL),
        "none": Way(kms.smtp, ""),
        "submission1": Way(kms.submission, V1),
        "submission2": Way(kms.submission, V2),
        "submissions1": Way(kms.submissions, V1),
        "submissions2": Way(kms.submissions, V2),
        "pop3": Way(kms.pop3, V1),
        "pop3s": Way(kms.pop3s, V2),
    }
    server = Haproxy(unused(ground, "xxxxxhaproxy"), PROXY, ways)
    yield server
    server.stop()


def insecure() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("way", ["smtp1", "smtp2", "smtp2crc"])
def test_relaying_is_judged_by_the_clients_own_address(
    kms: Kms, haproxy: Haproxy, clients: Clients, way: str
) -> None:
    port = haproxy.ports[way]
    stranger = clients.swaks(port, "box@far.test", source=STRANGER)
    assert stranger.has_reply("550 5.7.1"), stranger.text
    office = clients.swaks(port, "box@far.test", "--quit-after", "RCPT", source=OFFICE)
    assert office.has_reply("250 2.1.5"), office.text
    kms.wait_for_log("security", f"Relay attempt from IP address {STRANGER}")
    kms.wait_for_log("mail", f"connect from unknown[{OFFICE}]")


@pytest.mark.parametrize("way", ["smtp1", "smtp2"])
def test_the_trace_line_names_the_client_also_after_starttls(
    kms: Kms, haproxy: Haproxy, clients: Clients, way: str
) -> None:
    sent = clients.swaks(haproxy.ports[way], ALICE, "--tls", source=STRANGER)
    assert sent.status == 0, sent.text
    wait_until(lambda: len(kms.messages(ALICE)) == 1)
    assert f"[{STRANGER}]".encode() in kms.messages(ALICE)[0]
    assert PROXY.encode() not in kms.messages(ALICE)[0]


@pytest.mark.parametrize("version", ["1", "2"])
def test_submission_works_through_the_proxy_with_starttls_and_with_tls_at_once(
    kms: Kms, haproxy: Haproxy, version: str
) -> None:
    with smtplib.SMTP("127.0.0.1", haproxy.ports[f"submission{version}"], source_address=(VISITOR, 0)) as one:
        one.starttls(context=insecure())
        one.login(ALICE, PASSWORD)
        one.sendmail(ALICE, [ALICE], "Subject: one\n\nHello\n")
    port = haproxy.ports[f"submissions{version}"]
    with smtplib.SMTP_SSL("127.0.0.1", port, source_address=(VISITOR, 0), context=insecure()) as two:
        two.login(ALICE, PASSWORD)
        two.sendmail(ALICE, [ALICE], "Subject: two\n\nHello\n")
    wait_until(lambda: len(kms.messages(ALICE)) == 2)
    for message in kms.messages(ALICE):
        assert f"[{VISITOR}]".encode() in message
        assert b"with ESMTPSA" in message


@pytest.mark.parametrize("way", ["pop3", "pop3s"])
def test_a_pop3_login_through_the_proxy_opens_the_clients_window_alone(
    kms: Kms, haproxy: Haproxy, clients: Clients, way: str
) -> None:
    url = f"{way}://127.0.0.1:{haproxy.ports[way]}/"
    more = ("--ssl-reqd", "-k") if way == "pop3" else ("-k",)
    read = clients.curl_read(url, f"{ALICE}:{PASSWORD}", *more, source=VISITOR)
    assert read.returncode == 0, read.stderr.decode()
    assert f"Relay window of IP address {VISITOR} opened by user {ALICE}" in read_log(kms)
    mine = clients.swaks(haproxy.ports["smtp2"], "box@far.test", "--quit-after", "RCPT", source=VISITOR)
    assert mine.has_reply("250 2.1.5"), mine.text
    other = clients.swaks(haproxy.ports["smtp2"], "box@far.test", source=STRANGER)
    assert other.has_reply("550 5.7.1"), other.text


def read_log(kms: Kms) -> str:
    kms.wait_for_log("security", "Relay window")
    return kms.log("security")


@pytest.mark.parametrize("version", ["1", "2"])
def test_swaks_speaks_to_kms_as_a_proxy_and_gains_nothing_as_another(
    kms: Kms, clients: Clients, version: str
) -> None:
    words = ["--proxy-version", version, "--proxy-family", "TCP4" if version == "1" else "AF_INET"]
    words += ["--proxy-source", OFFICE, "--proxy-source-port", "4000"]
    words += ["--proxy-dest", "127.0.0.1", "--proxy-dest-port", "25"]
    if version == "2":
        words += ["--proxy-command", "PROXY", "--proxy-protocol", "STREAM"]
    proxy = clients.swaks(kms.smtp, "box@far.test", *words, "--quit-after", "RCPT", source=PROXY)
    assert proxy.has_reply("250 2.1.5"), proxy.text
    other = clients.swaks(kms.smtp, "box@far.test", *words, source=STRANGER)
    assert not other.has_reply("250 2.1.5"), other.text
    kms.wait_for_log("mail", f"connect from unknown[{STRANGER}]")
    assert kms.queue_length() == 0


def test_a_proxy_that_sends_no_header_is_closed_and_the_mail_log_says_so(
    kms: Kms, haproxy: Haproxy, clients: Clients
) -> None:
    said = clients.swaks(haproxy.ports["none"], ALICE, "--timeout", "8", source=STRANGER)
    assert said.status != 0
    assert "220 " not in said.text
    kms.wait_for_log("mail", f"warning: proxy {PROXY}: PROXY header to smtp refused")


def test_a_client_outside_the_access_group_is_closed_without_a_word(
    start_kms: StartKms, clients: Clients
) -> None:
    kms = start_kms({"access": {"submission": "Office"}}, users=(ALICE,))
    said = clients.swaks(kms.submission, ALICE, source=STRANGER)
    assert said.status != 0
    assert "220 " not in said.text
    kms.wait_for_log("security", f"Submission connection from {STRANGER} rejected: not in the access group")
    assert clients.swaks(kms.smtp, ALICE, source=STRANGER).status == 0
