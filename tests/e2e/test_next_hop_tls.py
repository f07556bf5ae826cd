"""TLS towards next hops (promise 29): real servers that offer it with a right, a wrong and no certificate at all."""

from pathlib import Path

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.e2e.peers.postfix import Postfix
from tests.e2e.peers.process import wait_until
from tests.e2e.peers.world import OFFICE

SUBMISSIONS_HOST = "127.0.0.14"
BOX = "box@far.test"


def through(smarthost: Postfix, host: str, ground: Path, tls: str) -> dict[str, dict[str, str]]:
    """Everything through the smarthost under one of its names, its certificate trusted."""
    return {
        "delivery": {
            "mode": "smarthost",
            "smarthost": f"{host}:{smarthost.settings.port}",
            "smarthost_auth": "smtp",
            "smarthost_user": "office",
            "smarthost_password": "let me relay",
            "tls": tls,
        },
        "tls": {"ca_file": str(ground / "smarthost.crt")},
    }


def send(clients: Clients, kms: Kms) -> None:
    dialogue = clients.swaks(kms.smtp, BOX, "--header", "Subject: by TLS", source=OFFICE)
    assert dialogue.status == 0, dialogue.text


def test_a_certificate_of_the_right_authority_and_name_is_verified(
    start_kms: StartKms, clients: Clients, smarthost: Postfix, ground: Path
) -> None:
    kms = start_kms(through(smarthost, "smart.test", ground, "verify"))
    send(clients, kms)
    kms.wait_for_log("mail", "status=sent")
    [line] = [line for line in kms.log().splitlines() if "status=sent" in line]
    assert "tls=(TLSv1.3 " in line
    assert "not verified" not in line


def test_a_certificate_for_another_name_defers_and_gets_neither_mail_nor_password(
    start_kms: StartKms, clients: Clients, smarthost: Postfix, ground: Path
) -> None:
    boxes, logins = len(smarthost.messages(BOX)), smarthost.log().count("sasl_username")
    kms = start_kms(through(smarthost, smarthost.settings.host, ground, "verify"))
    send(clients, kms)
    kms.wait_for_log("mail", "status=deferred", 2)
    assert "dsn=4.7.5" in kms.log()
    assert "the certificate is not for 127.0.0.13" in kms.log()
    assert len(smarthost.messages(BOX)) == boxes
    assert smarthost.log().count("sasl_username") == logins


def test_a_certificate_of_nobody_known_defers(
    start_kms: StartKms, clients: Clients, smarthost: Postfix, ground: Path
) -> None:
    settings = through(smarthost, "smart.test", ground, "verify")
    kms = start_kms({"delivery": settings["delivery"]})  # the system's authorities
    send(clients, kms)
    kms.wait_for_log("mail", "status=deferred", 2)
    assert "the certificate is self-signed" in kms.log()


def test_required_tls_takes_any_certificate_and_says_so(
    start_kms: StartKms, clients: Clients, smarthost: Postfix, ground: Path
) -> None:
    kms = start_kms(through(smarthost, smarthost.settings.host, ground, "require"))
    send(clients, kms)
    kms.wait_for_log("mail", "status=sent")
    assert ", certificate not verified)" in kms.log()


@pytest.mark.parametrize("tls", ["require", "verify"])
def test_a_server_without_tls_gets_nothing_in_clear(
    start_kms: StartKms, clients: Clients, far: Postfix, tls: str
) -> None:
    boxes = len(far.messages(BOX))
    kms = start_kms({"delivery": {"tls": tls}})
    send(clients, kms)
    kms.wait_for_log("mail", "status=deferred", 2)
    assert "dsn=4.7.4" in kms.log()
    assert "TLS is required, and not offered" in kms.log()
    assert len(far.messages(BOX)) == boxes
    assert "status=bounced" not in kms.log()


def test_a_smarthost_on_port_465_has_tls_from_the_first_octet(start_kms: StartKms, clients: Clients) -> None:
    provider = start_kms(
        {"listen": {"submissions": f"tcp:465:interface={SUBMISSIONS_HOST}"}}, users=("office@example.test",)
    )
    kms = start_kms(
        {
            "domains": {"local": "other.test"},
            "relay": {"address_group": "Office"},
            "delivery": {
                "mode": "smarthost",
                "smarthost": f"{SUBMISSIONS_HOST}:465",
                "smarthost_auth": "smtp",
                "smarthost_user": "office@example.test",
                "smarthost_password": PASSWORD,
                "tls": "require",
            },
        },
        users=(),
    )
    dialogue = clients.swaks(kms.smtp, "office@example.test", source=OFFICE, sender="a@far.test")
    assert dialogue.status == 0, dialogue.text
    wait_until(lambda: len(provider.messages("office@example.test")) == 1, what=kms.everything)
    kms.wait_for_log("mail", f"relay={SUBMISSIONS_HOST}[{SUBMISSIONS_HOST}]:465")
    assert b"with ESMTPSA" in provider.messages("office@example.test")[0]
