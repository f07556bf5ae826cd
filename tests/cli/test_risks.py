"""What `kmsctl check` says of certificates; accounts stand in test_main.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kms.cli.risks import find_certificate_risks
from kms.config.server_settings import ListenSettings, TlsSettings
from kms.config.settings import Settings

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PRIVATE = ListenSettings(
    smtp=("tcp:25:interface=127.0.0.1",),
    submission=("tcp:587:interface=10.0.0.1",),
    submissions=(),
    pop3=("unix:pop3.sock",),
    pop3s=(),
)
PUBLIC = attrs.evolve(PRIVATE, pop3s=("995",), submission=("tcp:587:interface=203.0.113.1",))


def make_certificate(path: Path, issuer: str, ends_in: timedelta) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.a.test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW + ends_in)
    )
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


def risks(listen: ListenSettings, certificate: Path | None = None) -> list[str]:
    settings = Settings(listen=listen, tls=TlsSettings(certificate=certificate))
    return list(find_certificate_risks(settings, NOW))


def test_no_certificate_matters_on_public_ports_only() -> None:
    assert risks(PRIVATE) == []
    (risk,) = risks(PUBLIC)
    assert "self-signed one is shown on public ports (tcp:587:interface=203.0.113.1, 995)" in risk


def test_a_self_signed_certificate_likewise(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "own.crt", "mail.a.test", timedelta(days=100))
    assert risks(PRIVATE, certificate) == []
    (risk,) = risks(PUBLIC, certificate)
    assert "own.crt is self-signed" in risk


@pytest.mark.parametrize(
    ("ends_in", "risk"),
    [
        (timedelta(days=15), None),
        (timedelta(days=14), "expires on 2026-12-08"),
        (timedelta(0), "has expired on 2026-11-24"),
        (timedelta(days=-30), "has expired on 2026-10-25"),
    ],
)
def test_the_end_of_a_certificate_is_told_in_time(
    tmp_path: Path, ends_in: timedelta, risk: str | None
) -> None:
    certificate = make_certificate(tmp_path / "bought.crt", "An Authority", ends_in)
    found = risks(PUBLIC, certificate)
    assert len(found) == (risk is not None)
    assert risk is None or risk in found[0]


def test_a_file_that_is_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"nonsense")
    assert "x cannot be judged" in risks(PUBLIC, tmp_path / "x")[0]
