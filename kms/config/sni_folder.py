"""What lies in `[tls] sni_dir`: for each host name a certificate and its key.

`mail.example.net.crt` (PEM, its chain behind it) and `mail.example.net.key`; a name may be a U-label, and
`*.example.net` stands for every name with one label before it, as in a certificate. Other files are no matter.
Does not: look into the files. Flow: the service loads them (`service/server_names`), `kmsctl check` tries them.
"""

from __future__ import annotations

from pathlib import Path

from kms.domain.address import AddressSyntaxError, normalise_domain

_CERTIFICATE, _KEY = ".crt", ".key"
_WILDCARD = "*."

Pairs = dict[str, tuple[Path, Path]]


class SniFolderError(ValueError):
    """The folder cannot be used; `path` is what is wrong in it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def find_pairs(folder: Path) -> Pairs:
    """Name the certificate and the key of each host name, in A-labels and lower case.

    Raises:
        SniFolderError: there is no such folder; a certificate is without its key, or a key without its
            certificate; a file's name is no host name; two are one host's.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise SniFolderError(folder, f"cannot be read: {error.strerror}") from None
    pairs: Pairs = {}
    for name in names:
        stem, ending = name[:-4], name[-4:]
        if name.startswith(".") or ending not in (_CERTIFICATE, _KEY):
            continue
        other = stem + (_KEY if ending == _CERTIFICATE else _CERTIFICATE)
        if other not in names:
            raise SniFolderError(folder / name, f"{other} is missing beside it")
        if ending == _KEY:
            continue
        host = _read_host(folder / name, stem)
        if host in pairs:
            raise SniFolderError(folder / name, f"{pairs[host][0].name} is for the same host")
        pairs[host] = (folder / name, folder / (stem + _KEY))
    return pairs


def _read_host(path: Path, stem: str) -> str:
    wildcard = _WILDCARD if stem.startswith(_WILDCARD) else ""
    try:
        return wildcard + normalise_domain(stem.removeprefix(wildcard))
    except AddressSyntaxError as error:
        raise SniFolderError(path, f"{stem!r} is no host name: {error}") from None


def list_keys(host: str) -> tuple[str, ...]:
    """List under which names of `find_pairs` a host's certificate may stand, the most exact first."""
    return host, _WILDCARD + host.partition(".")[2]
