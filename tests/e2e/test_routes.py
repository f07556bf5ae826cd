"""[routes] between real servers: LMTP over TCP and a Unix socket, by sender, past a smarthost, back to the sender."""

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import Kms
from tests.e2e.peers.postfix import Postfix
from tests.e2e.peers.process import free_port, wait_until
from tests.e2e.peers.world import OFFICE, STRANGER

ALICE = "alice@example.test"
NOBODY = "127.0.0.99"
"""Nothing listens there."""


def boxes(kms: Kms, address: str = ALICE) -> int:
    return len(kms.messages(address))


@pytest.mark.parametrize("way", ["unix", "tcp"])
def test_mail_of_a_local_domain_goes_over_lmtp_to_another_node(
    start_kms: StartKms, clients: Clients, way: str
) -> None:
    listener, route = "unix:lmtp.sock", ""
    if way == "tcp":
        port = free_port()
        listener, route = f"tcp:{port}:interface=127.0.0.1", f"lmtp:127.0.0.1:{port}"
    node = start_kms({"listen": {"lmtp": listener}})
    sockets = list(node.folder.rglob("lmtp.sock"))
    front = start_kms({"routes": {"example.test": route or f"lmtp:unix:{sockets[0]}"}})
    sent = clients.swaks(front.smtp, f"{ALICE},bob@example.test", source=STRANGER, sender="x@far.test")
    assert sent.status == 0, sent.text
    wait_until(lambda: boxes(node) == boxes(node, "bob@example.test") == 1, what=front.everything)
    assert boxes(front) == 0
    front.wait_for_log("mail", "status=sent", 2)
    assert b"with LMTP" in node.messages(ALICE)[0]


def test_a_route_admits_no_stranger(start_kms: StartKms, clients: Clients, far: Postfix) -> None:
    hop = f"smtp:{far.settings.host}:{far.settings.port}"
    kms = start_kms({"routes": {"far.test": hop, "@stranger.test": hop}})
    refused = clients.swaks(kms.smtp, "box@far.test", source=STRANGER, sender="x@stranger.test")
    assert refused.status != 0
    assert "550 5.7.1" in refused.text


def test_a_relay_domain_of_which_we_are_the_front_goes_to_the_server_behind(
    start_kms: StartKms, clients: Clients, far: Postfix
) -> None:
    before = len(far.messages("box@far.test"))
    kms = start_kms(
        {
            "domains": {"relay": "far.test"},
            "delivery": {"mode": "smarthost", "smarthost": f"{NOBODY}:25"},
            "routes": {"far.test": f"smtp:{far.settings.host}:{far.settings.port}"},
        }
    )
    sent = clients.swaks(kms.smtp, "box@far.test", source=STRANGER, sender="x@stranger.test")
    assert sent.status == 0, sent.text
    wait_until(lambda: len(far.messages("box@far.test")) == before + 1, what=kms.everything)


def test_mx_goes_past_the_smarthost_and_a_senders_line_wins(
    start_kms: StartKms, clients: Clients, far: Postfix
) -> None:
    before = len(far.messages("box@far.test"))
    kms = start_kms(
        {
            "delivery": {"mode": "smarthost", "smarthost": f"{NOBODY}:25"},
            "routes": {"far.test": "mx", "bob@example.test": "error:Bob writes to nobody"},
        }
    )
    assert clients.swaks(kms.smtp, "box@far.test", source=OFFICE, sender=ALICE).status == 0
    wait_until(lambda: len(far.messages("box@far.test")) == before + 1, what=kms.everything)
    assert clients.swaks(kms.smtp, "box@far.test", source=OFFICE, sender="bob@example.test").status == 0
    wait_until(lambda: boxes(kms, "bob@example.test") == 1, what=kms.everything)
    assert b"Bob writes to nobody" in kms.messages("bob@example.test")[0]


def test_mail_for_a_closed_domain_is_refused_at_rcpt_and_explained_so(
    start_kms: StartKms, clients: Clients
) -> None:
    kms = start_kms(
        {
            "domains": {"relay": "old.test"},
            "routes": {"old.test": "error:This company has closed", "example.test": "error:We moved"},
        }
    )
    for address, text in (("x@old.test", "This company has closed"), (ALICE, "We moved")):
        refused = clients.swaks(kms.smtp, address, source=STRANGER, sender="x@stranger.test")
        assert refused.status != 0
        assert f"550 5.7.1 {text} (" in refused.text
    told = kms.ctl("explain", "--client", STRANGER, "--to", "x@old.test")
    assert "550 5.7.1 This company has closed" in told
    assert "error:" in told
