"""Certificates by host name, as openssl's client and Python see them; kmsctl names what is wrong with the files."""

import base64
import hashlib
import smtplib
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import PASSWORD, Kms
from tests.support.scram_client import ScramClient, encode

ALICE = "alice@example.test"
HOSTS = ("mail.example.net", "pop.example.com")


def put(folder: Path, host: str) -> None:
    """Make a certificate as an administrator does."""
    folder.mkdir(exist_ok=True)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "30", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    command += ["-keyout", str(folder / f"{host}.key"), "-out", str(folder / f"{host}.crt")]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for host in HOSTS:
        put(tmp_path / "sni", host)
    return tmp_path / "sni"


@pytest.fixture
def kms(start_kms: StartKms, folder: Path) -> Kms:
    return start_kms({"tls": {"sni_dir": str(folder)}})


def shown(clients: Clients, port: int, name: str, *how: str) -> str:
    """The subject of the certificate that openssl is shown."""
    sni = ("-servername", name) if name else ("-noservername",)
    text = clients.openssl(port, b"QUIT\n", *sni, *how)
    return next(line for line in text.splitlines() if line.startswith("subject=")).replace(" ", "")


def test_each_port_shows_the_certificate_of_the_host_that_is_named(kms: Kms, clients: Clients) -> None:
    ways = (
        (kms.smtp, "-starttls", "smtp"),
        (kms.submission, "-starttls", "smtp"),
        (kms.submissions,),
        (kms.pop3, "-starttls", "pop3"),
        (kms.pop3s,),
    )
    for port, *how in ways:
        for host in HOSTS:
            assert shown(clients, port, host, *how) == f"subject=CN={host}"
            assert shown(clients, port, host, "-tls1_2", *how) == f"subject=CN={host}"
        assert shown(clients, port, "elsewhere.test", *how) == "subject=CN=kms.example.test"
        assert shown(clients, port, "", *how) == "subject=CN=kms.example.test"


def test_a_reload_shows_new_certificates_and_a_wrong_one_changes_nothing(
    kms: Kms, clients: Clients, folder: Path
) -> None:
    (folder / "late.example.crt").write_text("nothing")
    (folder / "late.example.key").write_text("nothing")
    with pytest.raises(AssertionError, match=r"late\.example\.crt: holds no PEM certificate"):
        kms.ctl("reload")
    with pytest.raises(AssertionError, match=r"\[tls\] sni_dir: .*late\.example\.crt and .* cannot be used"):
        kms.ctl("check")
    assert shown(clients, kms.pop3s, HOSTS[0]) == f"subject=CN={HOSTS[0]}"
    put(folder, "late.example")
    kms.ctl("check")
    kms.ctl("reload")
    assert shown(clients, kms.pop3s, "late.example") == "subject=CN=late.example"
    (folder / "late.example.key").unlink()
    with pytest.raises(AssertionError, match=r"late\.example\.key is missing beside it"):
        kms.ctl("check")


@pytest.mark.parametrize("host", [*HOSTS, "elsewhere.test"])
def test_scram_plus_is_bound_to_the_certificate_that_was_shown(kms: Kms, folder: Path, host: str) -> None:
    assert log_in(kms, host) == 235
    other = ssl.PEM_cert_to_DER_cert((folder / f"{HOSTS[host == HOSTS[0]]}.crt").read_text())
    assert log_in(kms, host, other) == 535


def log_in(kms: Kms, host: str, certificate: bytes | None = None) -> int:
    """Log in bound to the certificate that is shown, or to another; gives the code of the last reply."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", kms.submission, timeout=20) as client:
        client._host = host  # type: ignore[attr-defined] # what smtplib tells as SNI
        client.starttls(context=context)
        client.ehlo()
        assert isinstance(client.sock, ssl.SSLSocket)
        shown = certificate or client.sock.getpeercert(binary_form=True)
        assert shown is not None
        login = ScramClient(ALICE, PASSWORD, "p=tls-server-end-point,,", hashlib.sha256(shown).digest())
        code, said = client.docmd("AUTH SCRAM-SHA-256-PLUS", encode(login.first))
        assert code == 334
        code, said = client.docmd(encode(login.answer(base64.b64decode(said).decode())))
        if code == 334:
            assert login.believes(base64.b64decode(said).decode())
            code, said = client.docmd("")
        return code
