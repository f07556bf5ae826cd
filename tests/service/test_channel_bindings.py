from __future__ import annotations

import contextlib
import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from kms.service.channel_bindings import _hash_certificate, read_bindings
from kms.service.tls import ServerTls

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Transport:
    """Something with a TLS connection, as Twisted's transports have."""

    def __init__(self, connection: object) -> None:
        self._connection = connection

    def getHandle(self) -> object:
        return self._connection


def make_files(folder: Path, key: Any, algorithm: Any) -> tuple[Path, Path, bytes]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=36500))
        .sign(key, algorithm)
    )
    paths = folder / "c.pem", folder / "k.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return *paths, certificate.public_bytes(Encoding.DER)


def connect(tls: ServerTls, version: int) -> tuple[SSL.Connection, SSL.Connection]:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    server = tls.creator.serverConnectionForTLS(None)  # type: ignore[arg-type]
    client = SSL.Connection(context, None)
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
    return server, client


@pytest.fixture
def ecdsa(tmp_path: Path) -> tuple[ServerTls, bytes]:
    certificate, key, der = make_files(tmp_path, ec.generate_private_key(ec.SECP256R1()), hashes.SHA384())
    return ServerTls.load(certificate, key), der


def test_tls_1_3_has_both_and_the_client_has_the_same(ecdsa: tuple[ServerTls, bytes]) -> None:
    tls, der = ecdsa
    server, client = connect(tls, ssl.TLSVersion.TLSv1_3)
    assert read_bindings(Transport(server)) == {
        "tls-exporter": client.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""),
        "tls-server-end-point": hashlib.sha384(der).digest(),
    }


def test_tls_1_2_has_the_end_point_alone(ecdsa: tuple[ServerTls, bytes]) -> None:
    server, _ = connect(ecdsa[0], ssl.TLSVersion.TLSv1_2)
    assert set(read_bindings(Transport(server))) == {"tls-server-end-point"}


def test_each_connection_is_another_channel(ecdsa: tuple[ServerTls, bytes]) -> None:
    bindings = [read_bindings(Transport(connect(ecdsa[0], ssl.TLSVersion.TLSv1_3)[0])) for _ in range(2)]
    assert bindings[0]["tls-exporter"] != bindings[1]["tls-exporter"]


def test_a_signature_without_a_hash_leaves_the_end_point_out(tmp_path: Path) -> None:
    certificate, key, _ = make_files(tmp_path, ed25519.Ed25519PrivateKey.generate(), None)
    server, _ = connect(ServerTls.load(certificate, key), ssl.TLSVersion.TLSv1_3)
    assert set(read_bindings(Transport(server))) == {"tls-exporter"}


def test_a_weak_hash_is_replaced_by_sha_256(ecdsa: tuple[ServerTls, bytes]) -> None:
    class Certificate:
        signature_hash_algorithm = hashes.SHA1()

        def to_cryptography(self) -> Any:
            return self

        def public_bytes(self, _: object) -> bytes:
            return b"der"

    class Connection:
        def get_certificate(self) -> Any:
            return Certificate()

    connection: Any = Connection()
    assert _hash_certificate(connection) == hashlib.sha256(b"der").digest()


def test_without_tls_or_before_its_handshake_there_is_nothing(ecdsa: tuple[ServerTls, bytes]) -> None:
    assert read_bindings(object()) == {}
    assert read_bindings(Transport(None)) == {}
    unfinished = ecdsa[0].creator.serverConnectionForTLS(None)  # type: ignore[arg-type]
    assert read_bindings(Transport(unfinished)) == {}
