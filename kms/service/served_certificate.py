"""The certificate that all listeners serve: the administrator's, or one made at the first start.

A client that names one of the hosts of `sni_dir` is shown that host's instead (server_names.py). All exist before
they are loaded, because ports are opened while the process may still be root, and the data folder only afterwards.
No client is answered in between.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocol, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from kms.config.server_settings import TlsSettings
from kms.service.server_names import load_names
from kms.service.tls import ServerTls, make_self_signed


@implementer(IOpenSSLServerConnectionCreator)
class ServedCertificate:
    """Makes the server's side of TLS from the newest certificate.

    Args:
        hostname: for the self-signed one.
        folder: where the self-signed one is kept.
    """

    def __init__(self, hostname: str, folder: Path) -> None:
        self._hostname = hostname
        self._folder = folder
        self._tls: ServerTls | None = None

    def load(self, settings: TlsSettings, now: datetime) -> None:
        """Read the files; sessions keep what they began with, the next handshake gets the new one.

        Raises:
            TlsFilesError: they cannot be used; the certificate of before stays.
            OSError: the self-signed certificate cannot be made.
        """
        certificate, key = settings.certificate, settings.private_key
        if certificate is None:
            certificate, key = self._folder / "self-signed.crt", self._folder / "self-signed.key"
            if not (certificate.exists() and key.exists()):
                make_self_signed(self._hostname, certificate, key, now)
        version = settings.minimum_version.value
        tls = ServerTls.load(certificate, key or certificate, version)
        load_names(settings.sni_dir, version).follow(tls.creator.context)
        self._tls = tls

    def serverConnectionForTLS(self, tlsProtocol: IProtocol) -> SSL.Connection:
        """Make one connection; called by Twisted at each handshake."""
        assert self._tls is not None, "no client is answered before the certificate is loaded"
        return self._tls.creator.serverConnectionForTLS(tlsProtocol)

    def wrap(self, factory: IProtocolFactory) -> TLSMemoryBIOFactory:
        """Put TLS under a factory, from the first octet (RFC 8314)."""
        return TLSMemoryBIOFactory(self, isClient=False, wrappedFactory=factory)
