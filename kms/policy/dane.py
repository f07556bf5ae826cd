"""Which TLSA records count for mail, and whether a certificate is what one of them says (RFC 7672, RFC 7671).

Pure: certificates come as octets, and of what stands in a record whole only the outermost shape is looked at. Chains,
names and dates of DANE-TA(2) are the business of service/dane_verifier.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from kms.domain.dns_answer import TlsaRecord

DANE_TA, DANE_EE = 2, 3
WHOLE_CERTIFICATE, PUBLIC_KEY = 0, 1
EXACT, SHA2_256, SHA2_512 = 0, 1, 2

_DIGESTS: dict[int, Callable[[bytes], bytes]] = {
    SHA2_256: lambda octets: hashlib.sha256(octets).digest(),
    SHA2_512: lambda octets: hashlib.sha512(octets).digest(),
}
_DIGEST_OCTETS = {SHA2_256: 32, SHA2_512: 64}
_SEQUENCE, _BIT_STRING = 0x30, 0x03
_SHAPES = {  # RFC 5280 4.1: what is signed, algorithm, signature; algorithm, key
    WHOLE_CERTIFICATE: [_SEQUENCE, _SEQUENCE, _BIT_STRING],
    PUBLIC_KEY: [_SEQUENCE, _BIT_STRING],
}


def choose_usable(records: Sequence[TlsaRecord]) -> tuple[TlsaRecord, ...]:
    """Choose the records that a certificate may be held against.

    Returns:
        Those with DANE-TA(2) or DANE-EE(3) (RFC 7672 3.1.3), a known selector and matching type, and data of the
        right length, or the shape of a certificate or a key where that stands there whole. Of a usage's and
        selector's digests only the strongest kind counts, whatever else the weaker ones say (RFC 7671 9).
    """
    known = [record for record in records if _is_usable(record)]
    strongest: dict[tuple[int, int], int] = {}
    for record in known:
        kind = (record.usage, record.selector)
        strongest[kind] = max(strongest.get(kind, EXACT), record.matching)
    return tuple(
        record for record in known if record.matching in (EXACT, strongest[record.usage, record.selector])
    )


def is_match(record: TlsaRecord, certificate: bytes, public_key: bytes) -> bool:
    """Say whether a usable record is of this certificate.

    Args:
        certificate: the whole, DER.
        public_key: its SubjectPublicKeyInfo, DER.
    """
    octets = certificate if record.selector == WHOLE_CERTIFICATE else public_key
    if record.matching == EXACT:
        return octets == record.data
    return _DIGESTS[record.matching](octets) == record.data


def _is_usable(record: TlsaRecord) -> bool:
    if record.usage not in (DANE_TA, DANE_EE) or record.selector not in (WHOLE_CERTIFICATE, PUBLIC_KEY):
        return False
    if record.matching == EXACT:
        outer = _split_der(record.data)
        return [tag for tag, _ in outer] == [_SEQUENCE] and (
            [tag for tag, _ in _split_der(outer[0][1])] == _SHAPES[record.selector]
        )
    return _DIGEST_OCTETS.get(record.matching) == len(record.data)


def _split_der(octets: bytes) -> list[tuple[int, bytes]]:
    """Take DER elements that follow each other apart: tag and content of each; none where one is cut short."""
    elements = []
    while octets:
        head, size = 2, int.from_bytes(octets[1:2])
        if size & 0x80:
            head += size & 0x7F
            size = int.from_bytes(octets[2:head])
        if len(octets) < head + size:
            return []
        elements.append((octets[0], octets[head : head + size]))
        octets = octets[head + size :]
    return elements
