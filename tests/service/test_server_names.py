"""Which certificate a client is shown, and that SCRAM is bound to that one."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from kms.config.server_settings import TlsSettings
from kms.service.channel_bindings import read_bindings
from kms.service.clock import SystemClock
from kms.service.served_certificate import ServedCertificate
from kms.service.tls import TlsFilesError, make_self_signed

NOW = SystemClock(None).now()  # type: ignore[arg-type] # OpenSSL compares with the real time
NOBODY: Any = None
HOSTS = ("mail.example.net", "*.example.com", "bücher.example")


class Transport:
    """Something with a TLS connection, as Twisted's transports have."""

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    def getHandle(self) -> SSL.Connection:
        return self._connection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sni"
    folder.mkdir()
    for host in HOSTS:
        put(folder, host)
    return folder


@pytest.fixture
def certificate(tmp_path: Path) -> ServedCertificate:
    return ServedCertificate("mail.example.org", tmp_path / "tls")


def put(folder: Path, host: str) -> None:
    make_self_signed(host.encode("idna").decode(), folder / f"{host}.crt", folder / f"{host}.key", NOW)


def shake(
    certificate: ServedCertificate, name: str | None, version: int = SSL.TLS1_3_VERSION
) -> tuple[bytes, dict[str, bytes]]:
    """The certificate that the client saw, and what the server would bind to."""
    server = certificate.serverConnectionForTLS(NOBODY)
    server.set_accept_state()
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(version)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    if name is not None:
        client.set_tlsext_host_name(name.encode())
    for _ in range(6):
        for here, there in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                here.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                there.bio_write(here.bio_read(65536))
    seen = client.get_peer_certificate()
    assert seen is not None
    return seen.to_cryptography().public_bytes(Encoding.DER), read_bindings(Transport(server))


def stored(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mail.example.net", "mail.example.net"),
        ("MAIL.example.NET.", "mail.example.net"),
        ("any.example.com", "*.example.com"),
        ("xn--bcher-kva.example", "bücher.example"),
        ("example.com", None),
        ("a.b.example.com", None),
        ("elsewhere.example", None),
        (None, None),
    ],
)
def test_a_host_that_is_named_is_shown_and_bound_to(
    certificate: ServedCertificate, folder: Path, name: str | None, file: str | None, version: int
) -> None:
    certificate.load(TlsSettings(sni_dir=folder), NOW)
    seen, bindings = shake(certificate, name, version)
    path = folder / f"{file}.crt" if file else folder.parent / "tls" / "self-signed.crt"
    assert seen == stored(path)
    assert bindings["tls-server-end-point"] == hashlib.sha256(seen).digest()


def test_a_reload_takes_what_lies_there_now_and_a_fault_changes_nothing(
    certificate: ServedCertificate, folder: Path
) -> None:
    settings = TlsSettings(sni_dir=folder)
    certificate.load(settings, NOW)
    before = shake(certificate, HOSTS[0])[0]
    put(folder, HOSTS[0])
    put(folder, "new.example")
    assert shake(certificate, HOSTS[0])[0] == before
    (folder / "new.example.key").rename(folder / "kept")
    with pytest.raises(TlsFilesError, match=r"new\.example\.key is missing"):
        certificate.load(settings, NOW)
    (folder / "new.example.key").write_bytes((folder / f"{HOSTS[0]}.key").read_bytes())
    with pytest.raises(TlsFilesError, match="does not belong"):
        certificate.load(settings, NOW)
    assert shake(certificate, HOSTS[0])[0] == before
    (folder / "kept").replace(folder / "new.example.key")
    certificate.load(settings, NOW)
    assert shake(certificate, HOSTS[0])[0] == stored(folder / f"{HOSTS[0]}.crt") != before
    assert shake(certificate, "new.example")[0] == stored(folder / "new.example.crt")
    certificate.load(TlsSettings(), NOW)
    assert shake(certificate, "new.example")[0] == shake(certificate, None)[0]
