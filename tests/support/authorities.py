"""Certificate authorities and certificates of every kind, made in memory, for tests of what we ask of others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@attrs.frozen
class Issued:
    """A certificate, its key, and who issued it (None = itself)."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    issuer: Issued | None = None

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def issue(self, *names: str, is_authority: bool = False, ended: bool = False) -> Issued:
        """Make a certificate for these host names, or an authority below this one."""
        return _issue(self, names, is_authority=is_authority, ended=ended)

    def write(self, folder: Path, name: str, *, with_root: bool = True) -> tuple[Path, Path]:
        """Write the chain, this certificate first, and the key; gives their paths."""
        chain: list[Issued] = [self]
        while (issuer := chain[-1].issuer) is not None:
            chain.append(issuer)
        if not with_root and len(chain) > 1:
            chain.pop()
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_bytes(b"".join(one.certificate.public_bytes(Encoding.PEM) for one in chain))
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key


def make_root(name: str = "Test CA") -> Issued:
    """Make an authority that nobody else vouches for."""
    return _issue(None, (name,), is_authority=True, ended=False)


def make_self_signed(*names: str, ended: bool = False) -> Issued:
    """Make a certificate that vouches for itself."""
    return _issue(None, names, is_authority=False, ended=ended)


def _issue(issuer: Issued | None, names: tuple[str, ...], *, is_authority: bool, ended: bool) -> Issued:
    now = datetime.now(UTC)  # noqa: TID251 (OpenSSL compares with the real time)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 30 * DAY)
        .not_valid_after(now - DAY if ended else now + 30 * DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return Issued(builder.sign(key if issuer is None else issuer.key, hashes.SHA256()), key, issuer)
