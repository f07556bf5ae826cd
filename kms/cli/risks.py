"""What `kmsctl check` finds beside the configuration itself: in the certificate's file, and in the store.

Flow: server.py calls these for settings that are right; the risks of settings alone stand in
config/checks.py. Nothing is asked of the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from sqlite3 import Connection

import attrs

from kms.config.checks import public_listeners
from kms.config.settings import Settings
from kms.config.sni_folder import find_pairs
from kms.domain.account import Account, Directory
from kms.domain.address import Mailbox
from kms.policy.recipient import Resolved, UnusableAlias, resolve_recipient
from kms.store import administration
from kms.store.accounts import load_accounts_and_aliases
from kms.store.schema import StoreError, open_reader

_SOON = timedelta(days=14)
_MAKE_ONE = "make one with kmsctl user add"


def find_certificate_risks(settings: Settings, now: datetime) -> Iterator[str]:
    """Name what mail programs will not like about the certificates."""
    path, folder = settings.tls.certificate, settings.tls.sni_dir
    ports = ", ".join(public_listeners(settings))
    if path is not None:
        yield from _find_risks_of_one("certificate", path, ports, now)
    elif ports:
        yield (
            f"[tls] certificate: none is set, so a self-signed one is shown on public ports ({ports}); "
            "mail programs warn of it"
        )
    if folder is not None:
        for certificate, _ in find_pairs(folder).values():
            yield from _find_risks_of_one("sni_dir", certificate, ports, now)


def _find_risks_of_one(name: str, path: Path, ports: str, now: datetime) -> Iterator[str]:
    about = f"[tls] {name}: {path}"
    try:
        is_self_signed, ends_at = _read_certificate(path)
    except (OSError, ValueError) as error:
        yield f"{about} cannot be judged: {error}"
        return
    if is_self_signed and ports:
        yield f"{about} is self-signed and shown on public ports ({ports}); mail programs warn of it"
    if ends_at <= now:
        yield f"{about} has expired on {ends_at:%Y-%m-%d}"
    elif ends_at <= now + _SOON:
        yield f"{about} expires on {ends_at:%Y-%m-%d}"


def _read_certificate(path: Path) -> tuple[bool, datetime]:
    """Say whether the first certificate of a file is self-signed, and when it ends."""
    from cryptography import x509  # only here: it takes long to load

    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.issuer == certificate.subject, certificate.not_valid_after_utc


def find_account_risks(settings: Settings) -> Iterator[str]:
    """Name what is wrong with accounts, and with who is to be the postmaster."""
    if not settings.database_path.exists():
        if settings.server.postmaster is None or _is_local(settings, settings.server.postmaster):
            yield f"there is no account yet, so mail for postmaster is deferred (451); {_MAKE_ONE}"
        return
    try:
        with closing(open_reader(settings.database_path)) as connection:
            yield from _find_postmaster_risks(settings, connection)
    except StoreError as error:
        yield str(error)


def _find_postmaster_risks(settings: Settings, connection: Connection) -> Iterator[str]:
    accounts, aliases = load_accounts_and_aliases(connection)
    directory = attrs.evolve(settings.directory, accounts=accounts, aliases=aliases)
    postmaster = settings.server.postmaster
    if not isinstance(resolve_recipient(directory, Mailbox("postmaster", "")), Resolved):
        yield f"no account is enabled, so mail for postmaster is deferred (451); {_MAKE_ONE}"
    elif postmaster is not None and _is_local(settings, postmaster):
        problem = administration.resolve(connection, settings.directory, str(postmaster))["problem"]
        if problem:
            yield f"[server] postmaster: {postmaster}: {problem}; the first account gets that mail"
    yield from _find_lost_accounts(settings, accounts.values())
    yield from _find_idle_aliases(directory)


def _find_lost_accounts(settings: Settings, accounts: Iterable[Account]) -> Iterator[str]:
    for account in accounts:
        if account.domain not in settings.domains.local:
            yield f"{account.login} has an account, but {account.domain} is not in [domains] local"


def _find_idle_aliases(directory: Directory) -> Iterator[str]:
    """Name what the aliases file says in vain, by the first of its domains."""
    for alias in directory.file_aliases:
        mailbox = Mailbox(alias.local_part, alias.domain or directory.local_domains[0])
        if str(mailbox) in directory.accounts:
            yield f"[domains] aliases_file: {mailbox} is an account, so the alias has no effect"
            continue
        match resolve_recipient(directory, mailbox):
            case UnusableAlias() if alias.trouble:  # a warning of the settings
                continue
            case UnusableAlias(name):
                what = f"mail for the alias {alias.local_part} is deferred, for it needs {name}"
                yield f"[domains] aliases_file: {what}"
            case resolution if not isinstance(resolution, Resolved):
                yield f"[domains] aliases_file: the alias {alias.local_part} leads to nobody"


def _is_local(settings: Settings, mailbox: Mailbox) -> bool:
    return mailbox.domain in settings.domains.local or mailbox.domain in settings.domain_aliases
