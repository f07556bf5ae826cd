"""What SCRAM can be bound to: facts of a TLS connection that a man in the middle cannot have on both sides.

Only what is really there is given: `tls-exporter` (RFC 9266) for TLS 1.3, `tls-server-end-point` (RFC 5929 4)
for every version, unless the certificate's signature has no hash function of its own (Ed25519).
Flow: the listeners hand `read_bindings` to their sessions, which ask when EHLO, CAPA or AUTH comes.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from kms.service.tls import find_tls

_EXPORTER_LABEL = b"EXPORTER-Channel-Binding"
_EXPORTER_OCTETS = 32
_WEAK = (hashes.MD5, hashes.SHA1)


def read_bindings(transport: object) -> dict[str, bytes]:
    """Read the bindings of a connection, by their registered names; empty where it is not encrypted (yet)."""
    connection = find_tls(transport)
    if connection is None or connection.get_cipher_name() is None:
        return {}
    bindings = {}
    if connection.get_protocol_version_name() == "TLSv1.3":
        bindings["tls-exporter"] = connection.export_keying_material(_EXPORTER_LABEL, _EXPORTER_OCTETS)
    end_point = _hash_certificate(connection)
    if end_point is not None:
        bindings["tls-server-end-point"] = end_point
    return bindings


def _hash_certificate(connection: SSL.Connection) -> bytes | None:
    """Hash the certificate that was served, with the hash of its signature, or SHA-256 where that is weak."""
    served = connection.get_certificate()
    if served is None:
        return None
    certificate: x509.Certificate = served.to_cryptography()
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    digest = hashes.Hash(hashes.SHA256() if isinstance(algorithm, _WEAK) else algorithm)
    digest.update(certificate.public_bytes(Encoding.DER))
    return digest.finalize()
