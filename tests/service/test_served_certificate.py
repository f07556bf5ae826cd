from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from zope.interface.verify import verifyObject

from kms.config.server_settings import TlsSettings, TlsVersion
from kms.service.clock import SystemClock
from kms.service.served_certificate import ServedCertificate
from kms.service.tls import TlsFilesError, make_self_signed

NOW = SystemClock(None).now()  # type: ignore[arg-type] # OpenSSL compares with the real time
NOBODY: Any = None


def served_octets(certificate: ServedCertificate) -> bytes:
    """Shake hands in memory; the certificate that the client saw."""
    server = certificate.serverConnectionForTLS(NOBODY)
    server.set_accept_state()
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    client.set_connect_state()
    for _ in range(6):
        for here, there in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                here.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                there.bio_write(here.bio_read(65536))
    found = client.get_peer_certificate()
    assert found is not None
    return found.digest("sha256")


@pytest.fixture
def certificate(tmp_path: Path) -> ServedCertificate:
    return ServedCertificate("mail.example.org", tmp_path / "tls")


def own(folder: Path, name: str = "own") -> TlsSettings:
    make_self_signed("mail.example.org", folder / f"{name}.crt", folder / f"{name}.key", NOW)
    return TlsSettings(certificate=folder / f"{name}.crt", private_key=folder / f"{name}.key")


def test_it_makes_tls_connections_for_twisted(certificate: ServedCertificate) -> None:
    assert verifyObject(IOpenSSLServerConnectionCreator, certificate)


def test_a_self_signed_certificate_is_made_once_and_kept(
    certificate: ServedCertificate, tmp_path: Path
) -> None:
    certificate.load(TlsSettings(), NOW)
    first = served_octets(certificate)
    certificate.load(TlsSettings(), NOW)
    restarted = ServedCertificate("mail.example.org", tmp_path / "tls")
    restarted.load(TlsSettings(), NOW)
    assert first == served_octets(certificate) == served_octets(restarted)
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == [
        "self-signed.crt",
        "self-signed.key",
    ]


@pytest.mark.parametrize("missing", ["self-signed.crt", "self-signed.key"])
def test_where_a_half_of_it_is_missing_both_are_made_again(
    certificate: ServedCertificate, tmp_path: Path, missing: str
) -> None:
    certificate.load(TlsSettings(), NOW)
    first = served_octets(certificate)
    (tmp_path / "tls" / missing).unlink()
    certificate.load(TlsSettings(), NOW)
    assert served_octets(certificate) != first


def test_the_administrators_certificate_is_served(certificate: ServedCertificate, tmp_path: Path) -> None:
    certificate.load(TlsSettings(), NOW)
    self_signed = served_octets(certificate)
    certificate.load(own(tmp_path), NOW)
    assert served_octets(certificate) != self_signed


def test_one_file_may_hold_both_certificate_and_key(certificate: ServedCertificate, tmp_path: Path) -> None:
    settings = own(tmp_path)
    assert settings.certificate is not None
    assert settings.private_key is not None
    both = tmp_path / "both.pem"
    both.write_bytes(settings.certificate.read_bytes() + settings.private_key.read_bytes())
    certificate.load(settings, NOW)
    expected = served_octets(certificate)
    certificate.load(TlsSettings(certificate=both, private_key=None), NOW)
    assert served_octets(certificate) == expected


def test_files_that_cannot_be_used_leave_the_certificate_of_before(
    certificate: ServedCertificate, tmp_path: Path
) -> None:
    settings = own(tmp_path)
    certificate.load(settings, NOW)
    before = served_octets(certificate)
    (tmp_path / "own.crt").write_text("nothing")
    with pytest.raises(TlsFilesError, match="holds no PEM certificate"):
        certificate.load(settings, NOW)
    assert served_octets(certificate) == before


def test_a_folder_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("in the way")
    with pytest.raises(OSError, match=r"exists|directory"):
        ServedCertificate("mail.example.org", tmp_path / "tls").load(TlsSettings(), NOW)


def test_the_next_handshake_gets_the_new_certificate_and_the_version_asked_for(
    certificate: ServedCertificate, tmp_path: Path
) -> None:
    certificate.load(TlsSettings(minimum_version=TlsVersion.V1_3), NOW)
    assert served_octets(certificate)


def test_before_it_is_loaded_no_client_is_answered(certificate: ServedCertificate) -> None:
    with pytest.raises(AssertionError, match="loaded"):
        certificate.serverConnectionForTLS(NOBODY)


def test_a_factory_can_be_put_into_tls_before_the_certificate_is_loaded(
    certificate: ServedCertificate,
) -> None:
    factory = Factory.forProtocol(Protocol)
    wrapped = certificate.wrap(factory)
    assert wrapped.wrappedFactory is factory
