import stat
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.testing import StringTransport
from zope.interface.verify import verifyObject

from kms.domain.next_hop import TlsPolicy
from kms.service.dane_verifier import DaneVerifier
from kms.service.tls import ClientTls, PeerVerifier, ServerTls, TlsFilesError, describe, make_self_signed

NOW = datetime.now(UTC)  # noqa: TID251 (OpenSSL compares with the real time)


def make_files(folder: Path, hostname: str = "mail.example.test", now: datetime = NOW) -> tuple[Path, Path]:
    certificate, key = folder / f"{hostname}.crt", folder / f"{hostname}.key"
    make_self_signed(hostname, certificate, key, now)
    return certificate, key


def connect(
    server_tls: ServerTls, verifier: PeerVerifier | DaneVerifier
) -> tuple[SSL.Connection, SSL.Connection]:
    """Shake hands in memory; raises SSL.Error when a side refuses."""
    nobody = cast(Any, None)
    server = server_tls.creator.serverConnectionForTLS(nobody)
    server.set_accept_state()
    client = verifier.clientConnectionForTLS(nobody)
    client.set_connect_state()
    for _ in range(10):
        for here, there in ((client, server), (server, client)):
            with suppress(SSL.WantReadError):
                here.do_handshake()
            with suppress(SSL.WantReadError):
                there.bio_write(here.bio_read(65536))
    return server, client


def fingerprint(client: SSL.Connection) -> bytes:
    certificate = client.get_peer_certificate()
    assert certificate is not None
    return certificate.digest("sha256")


def test_a_self_signed_certificate_is_for_the_host_for_ten_years_and_its_files_are_the_owners(
    tmp_path: Path,
) -> None:
    certificate_path, key_path = make_files(tmp_path / "tls")
    certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.example.test"]
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert certificate.not_valid_after_utc - NOW > timedelta(days=3649)
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(certificate_path.stat().st_mode) == 0o600
    assert sorted(path.name for path in key_path.parent.iterdir()) == [
        "mail.example.test.crt",
        "mail.example.test.key",
    ]


def test_a_rest_of_a_crash_does_not_stop_the_making_of_a_certificate(tmp_path: Path) -> None:
    (tmp_path / ".mail.example.test.key.new").write_text("half")
    certificate_path, key_path = make_files(tmp_path)
    assert ServerTls.load(certificate_path, key_path)


def test_a_certificate_can_be_made_for_an_address_and_for_a_very_long_name(tmp_path: Path) -> None:
    for hostname in ("192.0.2.1", ".".join(["a" * 50] * 4)):
        assert ServerTls.load(*make_files(tmp_path, hostname)).expires_at > NOW


def test_the_creators_are_what_twisted_wants(tmp_path: Path) -> None:
    certificate_path, _ = make_files(tmp_path)
    server_tls = ServerTls.load(*make_files(tmp_path))
    assert verifyObject(IOpenSSLServerConnectionCreator, server_tls.creator)
    verifier = ClientTls(certificate_path).creator_for("x.test", TlsPolicy.REQUIRE)
    assert verifyObject(IOpenSSLClientConnectionCreator, verifier)


def test_opportunistic_tls_accepts_any_certificate_and_notes_what_is_wrong(tmp_path: Path) -> None:
    server_tls = ServerTls.load(*make_files(tmp_path))
    verifier = ClientTls().creator_for("other.test", TlsPolicy.OPPORTUNISTIC)
    connect(server_tls, verifier)
    assert verifier.problems == ["the certificate is self-signed", "the certificate is not for other.test"]


def test_a_right_certificate_has_no_problems(tmp_path: Path) -> None:
    certificate_path, key_path = make_files(tmp_path)
    verifier = ClientTls(certificate_path).creator_for("mail.example.test", TlsPolicy.VERIFY)
    _, client = connect(ServerTls.load(certificate_path, key_path), verifier)
    assert verifier.problems == []
    assert verifier.judge(client) == ""


def test_verify_refuses_an_unknown_authority(tmp_path: Path) -> None:
    verifier = ClientTls().creator_for("mail.example.test", TlsPolicy.VERIFY)
    with pytest.raises(SSL.Error):
        connect(ServerTls.load(*make_files(tmp_path)), verifier)
    assert verifier.problems == ["the certificate is self-signed"]


def test_verify_refuses_another_name(tmp_path: Path) -> None:
    certificate_path, key_path = make_files(tmp_path)
    verifier = ClientTls(certificate_path).creator_for("other.test", TlsPolicy.VERIFY)
    with pytest.raises(SSL.Error):
        connect(ServerTls.load(certificate_path, key_path), verifier)
    assert verifier.problems == ["the certificate is not for other.test"]


def test_verify_refuses_a_certificate_that_has_expired(tmp_path: Path) -> None:
    certificate_path, key_path = make_files(tmp_path, now=NOW - timedelta(days=4000))
    verifier = ClientTls(certificate_path).creator_for("mail.example.test", TlsPolicy.VERIFY)
    with pytest.raises(SSL.Error):
        connect(ServerTls.load(certificate_path, key_path), verifier)
    assert verifier.problems == ["the certificate has expired"]


def test_an_address_is_verified_as_an_address_and_not_told_as_server_name(tmp_path: Path) -> None:
    certificate_path, key_path = make_files(tmp_path, "192.0.2.1")
    server_tls = ServerTls.load(certificate_path, key_path)
    client_tls = ClientTls(certificate_path)
    for host in ("192.0.2.1", "[192.0.2.1]"):
        verifier = client_tls.creator_for(host, TlsPolicy.VERIFY)
        server, _ = connect(server_tls, verifier)
        assert verifier.problems == []
        assert server.get_servername() is None
    wrong = client_tls.creator_for("[IPv6:2001:db8::1]", TlsPolicy.REQUIRE)
    connect(server_tls, wrong)
    assert wrong.problems == ["the certificate is not for 2001:db8::1"]


def test_the_name_is_told_to_the_server(tmp_path: Path) -> None:
    verifier = ClientTls().creator_for("mx.far.test", TlsPolicy.OPPORTUNISTIC)
    server, _ = connect(ServerTls.load(*make_files(tmp_path)), verifier)
    assert server.get_servername() == b"mx.far.test"


def test_after_a_reload_the_next_handshake_gets_the_new_certificate(tmp_path: Path) -> None:
    certificate_path, key_path = make_files(tmp_path)
    server_tls = ServerTls.load(certificate_path, key_path)
    creator = server_tls.creator
    client_tls = ClientTls()
    _, before = connect(server_tls, client_tls.creator_for("x.test", TlsPolicy.REQUIRE))
    make_files(tmp_path, now=NOW + timedelta(hours=1))
    server_tls.reload()
    _, after = connect(server_tls, client_tls.creator_for("x.test", TlsPolicy.REQUIRE))
    assert fingerprint(before) != fingerprint(after)
    assert server_tls.creator is creator
    assert server_tls.expires_at > NOW + timedelta(days=3650)


def test_a_reload_that_fails_leaves_the_old_certificate(tmp_path: Path) -> None:
    server_tls = ServerTls.load(*make_files(tmp_path))
    with pytest.raises(TlsFilesError):
        server_tls.reload(tmp_path / "nothing.crt", tmp_path / "nothing.key")
    verifier = ClientTls().creator_for("mail.example.test", TlsPolicy.REQUIRE)
    connect(server_tls, verifier)
    server_tls.reload()


def test_a_reload_can_change_to_other_files(tmp_path: Path) -> None:
    server_tls = ServerTls.load(*make_files(tmp_path))
    certificate_path, key_path = make_files(tmp_path, "new.test")
    server_tls.reload(certificate_path, key_path)
    verifier = ClientTls(certificate_path).creator_for("new.test", TlsPolicy.VERIFY)
    connect(server_tls, verifier)
    assert verifier.problems == []


def test_below_the_minimum_version_there_is_no_handshake(tmp_path: Path) -> None:
    server_tls = ServerTls.load(*make_files(tmp_path), minimum_version="1.3")
    verifier = ClientTls().creator_for("x.test", TlsPolicy.REQUIRE)
    _, client = connect(server_tls, verifier)
    assert client.get_protocol_version_name() == "TLSv1.3"
    old_context = SSL.Context(SSL.TLS_METHOD)
    old_context.set_max_proto_version(SSL.TLS1_2_VERSION)
    with pytest.raises(SSL.Error):
        connect(server_tls, PeerVerifier(old_context, "x.test", must_verify=False))


def test_the_files_must_be_there_and_hold_what_they_should(tmp_path: Path) -> None:
    certificate_path, key_path = make_files(tmp_path)
    other_certificate, other_key = make_files(tmp_path, "other.test")
    garbage = tmp_path / "garbage"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    empty = tmp_path / "empty"
    empty.write_text("")
    cases: list[tuple[Path, Path, Path, str]] = [
        (tmp_path / "no", key_path, tmp_path / "no", "cannot be read: No such file"),
        (certificate_path, tmp_path / "no", tmp_path / "no", "cannot be read: No such file"),
        (garbage, key_path, garbage, "holds no PEM certificate"),
        (empty, key_path, empty, "holds no PEM certificate"),
        (certificate_path, empty, empty, "holds no PEM private key"),
        (certificate_path, other_key, other_key, "does not belong to the certificate"),
    ]
    for certificate, key, path, reason in cases:
        with pytest.raises(TlsFilesError) as caught:
            ServerTls.load(certificate, key)
        assert caught.value.path == path
        assert reason in caught.value.reason
        assert str(path) in str(caught.value)
    assert ServerTls.load(other_certificate, other_key)


def test_a_key_with_a_passphrase_is_named(tmp_path: Path) -> None:
    certificate_path, _ = make_files(tmp_path)
    key_path = tmp_path / "locked.key"
    key = ec.generate_private_key(ec.SECP256R1())
    key_path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(TlsFilesError, match="passphrase"):
        ServerTls.load(certificate_path, key_path)


def test_a_certificate_that_openssl_refuses_is_named(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("x.test")]), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "weak.pem"
    path.write_bytes(
        certificate.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(TlsFilesError, match=r"weak\.pem: OpenSSL refuses it"):
        ServerTls.load(path, path)


def test_trust_anchors_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(TlsFilesError, match=r"roots\.pem"):
        ClientTls(tmp_path / "roots.pem")


def test_a_whole_chain_is_served(tmp_path: Path) -> None:
    certificate_path, key_path = make_files(tmp_path)
    other_path, _ = make_files(tmp_path, "other.test")
    chain_path = tmp_path / "chain.crt"
    chain_path.write_bytes(certificate_path.read_bytes() + other_path.read_bytes())
    verifier = ClientTls().creator_for("mail.example.test", TlsPolicy.REQUIRE)
    _, client = connect(ServerTls.load(chain_path, key_path), verifier)
    chain = client.get_peer_cert_chain()
    assert chain is not None
    assert len(chain) == 2


def test_a_connection_is_described_by_version_and_cipher(tmp_path: Path) -> None:
    class Encrypted:
        def __init__(self, handle: object) -> None:
            self._handle = handle

        def getHandle(self) -> object:
            return self._handle

    verifier = ClientTls().creator_for("x.test", TlsPolicy.REQUIRE)
    server, _ = connect(ServerTls.load(*make_files(tmp_path)), verifier)
    assert describe(Encrypted(server)) == "TLSv1.3 TLS_AES_256_GCM_SHA384"
    assert describe(Encrypted(object())) is None
    assert describe(StringTransport()) is None
    not_yet = verifier.clientConnectionForTLS(cast(Any, None))
    assert describe(Encrypted(not_yet)) is None


def test_a_connection_that_is_gone_is_not_described() -> None:
    class Lost:
        def getHandle(self) -> object:
            return self.socket  # type: ignore[attr-defined]

    assert describe(Lost()) is None
