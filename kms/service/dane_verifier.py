"""Holds a server's certificate against TLSA records, after the handshake and before the first octet of mail.

DANE-EE(3): the certificate or its key must be the record's; name and dates do not matter (RFC 7672 3.1.1).
DANE-TA(2): the server must send the record's certificate, which alone is trusted; the chain to it, its dates and
the name must be right (RFC 7672 3.1.2). pyOpenSSL has none of OpenSSL's own DANE functions.

Flow: tls.ClientTls makes one where a hop has a `DaneDemand`; client_connection.py calls `judge`.
"""

from __future__ import annotations

from collections.abc import Sequence

from OpenSSL import SSL, crypto
from service_identity.exceptions import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IProtocol
from zope.interface import implementer

from kms.domain.dns_answer import TlsaRecord
from kms.domain.published_tls import DaneDemand
from kms.policy.dane import DANE_EE, DANE_TA, EXACT, WHOLE_CERTIFICATE, is_match


@implementer(IOpenSSLClientConnectionCreator)
class DaneVerifier:
    """Makes the client's side of one connection, and judges the server's certificate.

    Attributes:
        problems: what is wrong with the certificate, once `judge` was called.
    """

    def __init__(self, context: SSL.Context, demand: DaneDemand) -> None:
        self.problems: list[str] = []
        self._context = context
        self._demand = demand

    def clientConnectionForTLS(self, tlsProtocol: IProtocol) -> SSL.Connection:
        """See `IOpenSSLClientConnectionCreator`."""
        connection = SSL.Connection(self._context, None)
        connection.set_tlsext_host_name(self._demand.base.encode("ascii", "replace"))
        connection.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        return connection

    def judge(self, connection: SSL.Connection) -> str:
        """Say why the connection must not be used; "" = a record fits."""
        problem = self._find_problem(connection.get_peer_cert_chain() or [])
        if problem:
            self.problems.append(problem)
        return problem

    def _find_problem(self, chain: Sequence[crypto.X509]) -> str:
        if chain and any(_fits(record, chain[0]) for record in self._of_usage(DANE_EE)):
            return ""
        problem = "the certificate fits none of the server's TLSA records"
        for anchor in self._find_anchors(chain[1:]):
            problem = _find_chain_problem(chain, anchor) or self._find_name_problem(chain[0])
            if not problem:
                return ""
        return problem

    def _of_usage(self, usage: int) -> list[TlsaRecord]:
        return [record for record in self._demand.records if record.usage == usage]

    def _find_anchors(self, issuers: Sequence[crypto.X509]) -> list[crypto.X509]:
        """The certificates of DANE-TA records: of those that were sent, and where a record has it whole."""
        records = self._of_usage(DANE_TA)
        sent = [issuer for issuer in issuers if any(_fits(record, issuer) for record in records)]
        whole = [record.data for record in records if (record.selector, record.matching) == _WHOLE]
        return sent + [anchor for data in whole if (anchor := _load(data)) is not None]

    def _find_name_problem(self, certificate: crypto.X509) -> str:
        names = self._demand.names
        for name in names:
            try:
                verify_service_identity(extract_patterns(certificate), [DNS_ID(name)], [])
            except (CertificateError, VerificationError, ValueError):
                continue
            return ""
        return f"the certificate is not for {' or '.join(names)}"


_WHOLE = (WHOLE_CERTIFICATE, EXACT)


def _fits(record: TlsaRecord, certificate: crypto.X509) -> bool:
    whole = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
    try:
        key = crypto.dump_publickey(crypto.FILETYPE_ASN1, certificate.get_pubkey())
    except crypto.Error:  # a kind of key that OpenSSL does not know
        key = b""
    return is_match(record, whole, key)


def _load(data: bytes) -> crypto.X509 | None:
    try:
        return crypto.load_certificate(crypto.FILETYPE_ASN1, data)
    except crypto.Error:
        return None


def _find_chain_problem(chain: Sequence[crypto.X509], anchor: crypto.X509) -> str:
    """Say what is wrong with the way from the certificate to the one that alone is trusted."""
    store = crypto.X509Store()
    store.add_cert(anchor)
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    try:
        crypto.X509StoreContext(store, chain[0], list(chain[1:])).verify_certificate()
    except crypto.X509StoreContextError as error:
        return f"the chain of the certificate to that of the TLSA record is wrong: {error}"
    return ""
