"""More certificates than one: the client says which host it means (SNI, RFC 6066 3), and is shown that host's.

Promises: a client that names no host, or one that is not there, is shown the server's own certificate; what SCRAM
binds to is the certificate that was shown (channel_bindings.py asks the connection). A host's certificate comes with
the settings of the whole: the oldest TLS version is the same for all.
Flow: served_certificate.py loads them together with the server's own, at the start and at a reload.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from OpenSSL import SSL

from kms.config.sni_folder import SniFolderError, find_pairs, list_keys
from kms.service.tls import ServerTls, TlsFilesError


class ServerNames:
    """Contexts by host name.

    Args:
        contexts: by name in A-labels and lower case; `*.` stands for one label.
    """

    def __init__(self, contexts: Mapping[str, SSL.Context]) -> None:
        self._contexts = contexts

    def follow(self, main: SSL.Context) -> None:
        """Be asked about each connection that begins with the server's own certificate."""
        if self._contexts:
            main.set_tlsext_servername_callback(self._choose)

    def _choose(self, connection: SSL.Connection) -> None:
        named = connection.get_servername() or b""
        for key in list_keys(named.decode("ascii", "replace").lower().rstrip(".")):
            context = self._contexts.get(key)
            if context is not None:
                connection.set_context(context)
                return


def load_names(folder: Path | None, minimum_version: str) -> ServerNames:
    """Load all certificates of a folder.

    Raises:
        TlsFilesError: one cannot be used.
    """
    if folder is None:
        return ServerNames({})
    try:
        pairs = find_pairs(folder)
    except SniFolderError as error:
        raise TlsFilesError(error.path, error.reason) from None
    return ServerNames(
        {
            name: ServerTls.load(certificate, key, minimum_version).creator.context
            for name, (certificate, key) in pairs.items()
        }
    )
