"""TLS on both sides: the server's certificate, replaceable while running, and what we ask of others.

A server's sessions keep the certificate they began with; the next handshake gets the newest. As a client,
opportunistic TLS never fails on a certificate but notes what is wrong with it; with `verify` the chain and
the name must be right before the first octet of mail is sent. TLS 1.2 is the least on either side.

Flow: the listeners and remote_delivery start TLS with the creators made here; `describe` is for the trace
line.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from service_identity.exceptions import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
)
from twisted.internet.ssl import Certificate as TwistedCertificate
from twisted.internet.ssl import CertificateOptions, TLSVersion, platformTrust, trustRootFromCertificates
from zope.interface import implementer

from kms.domain.next_hop import TlsPolicy
from kms.domain.published_tls import DaneDemand
from kms.service.dane_verifier import DaneVerifier

MINIMUM_VERSIONS = {"1.2": TLSVersion.TLSv1_2, "1.3": TLSVersion.TLSv1_3}
SELF_SIGNED_LIFE = timedelta(days=3650)


class TlsFilesError(Exception):
    """A certificate or key cannot be used.

    Attributes:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ServerTls:
    """The server's certificate and key; make one with `load`.

    Attributes:
        creator: for `startTLS` and TLS listeners; always serves the newest certificate.
        expires_at: the end of the certificate's time.
    """

    def __init__(self, certificate_path: Path, key_path: Path, minimum_version: str) -> None:
        self._certificate_path = certificate_path
        self._key_path = key_path
        self._minimum_version = minimum_version
        self.creator = _ServerCreator()
        self.expires_at: datetime
        self.reload()

    @classmethod
    def load(cls, certificate_path: Path, key_path: Path, minimum_version: str = "1.2") -> ServerTls:
        """Read a certificate with its chain, and its key, both PEM.

        Args:
            certificate_path: the server's certificate first, then those between it and the root.
            key_path: without a passphrase.
            minimum_version: "1.2" or "1.3".

        Raises:
            TlsFilesError: a file cannot be read or holds no certificate or key, or they do not fit.
        """
        return cls(certificate_path, key_path, minimum_version)

    def reload(self, certificate_path: Path | None = None, key_path: Path | None = None) -> None:
        """Read the files again, or others; on an error all stays as it was.

        Raises:
            TlsFilesError: as with `load`.
        """
        certificate_path = certificate_path or self._certificate_path
        key_path = key_path or self._key_path
        chain = _read_certificates(certificate_path)
        # Twisted's annotations ask for pyOpenSSL's own classes, which pyOpenSSL itself warns of.
        key: Any = _read_key(key_path, chain[0])
        certificates: list[Any] = [*chain]
        options = CertificateOptions(
            privateKey=key,
            certificate=certificates[0],
            extraCertChain=certificates[1:],
            raiseMinimumTo=MINIMUM_VERSIONS[self._minimum_version],
        )
        try:
            context = options.getContext()
        except (SSL.Error, TypeError) as error:
            raise TlsFilesError(certificate_path, f"OpenSSL refuses it: {error}") from error
        self._certificate_path, self._key_path = certificate_path, key_path
        self.creator.context = context
        self.expires_at = chain[0].not_valid_after_utc


@implementer(IOpenSSLServerConnectionCreator)
class _ServerCreator:
    """Makes the TLS side of a session from the newest context."""

    context: SSL.Context

    def serverConnectionForTLS(self, tlsProtocol: IProtocol) -> SSL.Connection:
        """See `IOpenSSLServerConnectionCreator`."""
        return SSL.Connection(self.context, None)


class ClientTls:
    """What we ask of the certificates of others.

    Args:
        ca_file: trust anchors, PEM; None = those of the system.

    Raises:
        TlsFilesError: `ca_file` cannot be read, or holds no certificate.
    """

    def __init__(self, ca_file: Path | None = None) -> None:
        if ca_file is None:
            trust_root = platformTrust()
        else:
            anchors = [crypto.X509.from_cryptography(found) for found in _read_certificates(ca_file)]
            trust_root = trustRootFromCertificates([TwistedCertificate(anchor) for anchor in anchors])
        # Made once: reading the system's trust anchors costs milliseconds.
        options = CertificateOptions(trustRoot=trust_root, raiseMinimumTo=TLSVersion.TLSv1_2)
        self._context = options.getContext()

    def creator_for(
        self, host: str, policy: TlsPolicy, dane: DaneDemand | None = None
    ) -> PeerVerifier | DaneVerifier:
        """Make the creator for one connection.

        Args:
            host: the name, or address, that we meant to reach; it is told to the server unless it is an
                address (RFC 6066 3), and the certificate must have it.
            policy: VERIFY fails the handshake on a wrong certificate, the others only note it.
            dane: what the certificate must be, by the proof of DNSSEC; then neither host nor policy counts.
        """
        if dane is not None:
            return DaneVerifier(self._context, dane)
        return PeerVerifier(self._context, host, must_verify=policy is TlsPolicy.VERIFY)


@implementer(IOpenSSLClientConnectionCreator)
class PeerVerifier:
    """Makes the client's side of one connection, and judges the server's certificate.

    Attributes:
        problems: what is wrong with the certificate, once the handshake is over; empty = chain and name are
            right.
    """

    def __init__(self, context: SSL.Context, host: str, *, must_verify: bool) -> None:
        self.problems: list[str] = []
        self._context = context
        self._host = host.strip("[]").removeprefix("IPv6:").rstrip(".")
        self._must_verify = must_verify

    def clientConnectionForTLS(self, tlsProtocol: IProtocol) -> SSL.Connection:
        """See `IOpenSSLClientConnectionCreator`."""
        connection = SSL.Connection(self._context, None)
        if not _is_address(self._host):
            connection.set_tlsext_host_name(self._host.encode("ascii", "replace"))
        connection.set_verify(SSL.VERIFY_PEER, self._judge)
        return connection

    def judge(self, connection: SSL.Connection) -> str:
        """Refuse nothing more: what must be refused has failed the handshake."""
        return ""

    def _judge(
        self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, is_good: int
    ) -> bool:
        """Say whether to go on; called for each certificate, the server's own last."""
        problem = None
        if not is_good:
            problem = _name_error(error)
        elif depth == 0 and not self._has_name(certificate):
            problem = f"the certificate is not for {self._host}"
        if problem is not None and problem not in self.problems:
            self.problems.append(problem)
        return not (self._must_verify and self.problems)

    def _has_name(self, certificate: crypto.X509) -> bool:
        host = self._host
        try:
            wanted = IPAddress_ID(host) if _is_address(host) else DNS_ID(host)
            verify_service_identity(extract_patterns(certificate), [wanted], [])
        except (CertificateError, VerificationError, ValueError):
            return False
        return True


def find_tls(transport: object) -> SSL.Connection | None:
    """Find the TLS connection of a transport; None when it is not encrypted, or is gone."""
    get_handle = getattr(transport, "getHandle", None)
    try:
        handle = get_handle() if get_handle is not None else None
    except AttributeError:  # Twisted's TCP transport has no socket any more once it is lost
        return None
    return handle if isinstance(handle, SSL.Connection) else None


def describe(transport: object) -> str | None:
    """Name the version and cipher of a connection, such as "TLSv1.3 TLS_AES_256_GCM_SHA384".

    Returns:
        None when the connection is not encrypted, or not yet, or is gone.
    """
    handle = find_tls(transport)
    if handle is None:
        return None
    cipher = handle.get_cipher_name()
    return None if cipher is None else f"{handle.get_protocol_version_name()} {cipher}"


def make_self_signed(hostname: str, certificate_path: Path, key_path: Path, now: datetime) -> None:
    """Make a certificate and a key for a first start (ECDSA P-256, ten years), both readable by us alone.

    Each file is written whole or not at all, the certificate last: while it is missing, make both again.

    Args:
        hostname: name, or address, that the certificate is for.
        now: begins the certificate's time (a day earlier, for clocks that go wrong).

    Raises:
        OSError: a file cannot be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    alternative: x509.GeneralName = x509.DNSName(hostname)
    if _is_address(hostname):
        alternative = x509.IPAddress(ipaddress.ip_address(hostname))
    # A common name has at most 64 characters (RFC 5280 A.1); the alternative name alone counts.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + SELF_SIGNED_LIFE)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_owner_only(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    _write_owner_only(certificate_path, certificate.public_bytes(Encoding.PEM))


def _read_certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        raise TlsFilesError(path, f"holds no PEM certificate: {error}") from error


def _read_key(path: Path, certificate: x509.Certificate) -> PrivateKeyTypes:
    try:
        key = load_pem_private_key(_read(path), password=None)
    except TypeError as error:
        raise TlsFilesError(path, "the key has a passphrase; kms needs one without") from error
    except ValueError as error:
        raise TlsFilesError(path, f"holds no PEM private key: {error}") from error
    if key.public_key() != certificate.public_key():
        raise TlsFilesError(path, "the key does not belong to the certificate")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsFilesError(path, f"cannot be read: {error.strerror}") from error


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _name_error(number: int) -> str:
    return f"the certificate {_VERIFY_ERRORS.get(number, f'cannot be verified (OpenSSL error {number})')}"


def _write_owner_only(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, readable by its owner alone from its first moment on."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)


# X509_V_ERR_* of OpenSSL
_VERIFY_ERRORS = {
    2: "is signed by an unknown authority",
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    19: "is signed by a self-signed one that is not trusted",
    20: "is signed by an unknown authority",
    21: "is signed by an unknown authority",
    23: "has been revoked",
    26: "is not for servers",
    66: "has too weak a key",
    68: "has too weak a signature",
}
