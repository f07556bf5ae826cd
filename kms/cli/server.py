"""`kmsctl check`, `status`, `reload`: the configuration and the running server."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import click

from kms.cli import failure
from kms.cli.failure import CommandFailed
from kms.cli.offline import become_owner
from kms.cli.session import Session, pass_session
from kms.config.checks import find_risks
from kms.config.settings import Settings
from kms.store.accounts import list_accounts
from kms.store.report_texts import ReportTexts
from kms.store.schema import StoreError, open_reader


@click.command()
@pass_session
def check(session: Session) -> None:
    """Is the configuration right? Names every fault (status 78), and warns of risks."""
    settings = session.settings
    faults = [f"{session.config}: {fault}" for fault in _find_file_faults(settings)]
    if faults:
        raise CommandFailed(failure.BAD_CONFIGURATION, *faults)
    become_owner(settings.server.data_dir)
    warnings = [*settings.warnings, *find_risks(settings), *_find_account_risks(settings)]
    warnings += ReportTexts(settings.server.reports_dir).problems()
    lines = [f"warning: {warning}" for warning in warnings]
    session.emit(
        {"config": str(session.config), "problems": [], "warnings": warnings},
        "\n".join([*lines, f"{session.config} is right"]),
    )


def _find_file_faults(settings: Settings) -> Iterator[str]:
    """Look whether the certificate and its key are there and belong together."""
    tls = settings.tls
    if tls.certificate is not None and tls.private_key is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                tls.certificate, tls.private_key, password=lambda: ""
            )
        except (OSError, ValueError) as error:
            yield f"[tls] certificate: {tls.certificate} and {tls.private_key} cannot be used: {error}"
    if tls.ca_file is not None and not os.access(tls.ca_file, os.R_OK):
        yield f"[tls] ca_file: {tls.ca_file} cannot be read"


def _find_account_risks(settings: Settings) -> Iterator[str]:
    if not settings.database_path.exists():
        yield "there is no account yet, so mail for postmaster is deferred (451); make one with kmsctl user add"
        return
    try:
        with closing(open_reader(settings.database_path)) as connection:
            accounts = list_accounts(connection)
    except StoreError as error:
        yield str(error)
        return
    if not any(account.is_enabled for account in accounts) and settings.server.postmaster is None:
        yield "no account is enabled, so mail for postmaster is deferred (451); make one with kmsctl user add"
    for account in accounts:
        if account.domain not in settings.domains.local:
            yield f"{account.login} has an account, but {account.domain} is not in [domains] local"


@click.command()
@pass_session
def status(session: Session) -> None:
    """How is the running server?"""
    facts = session.server().status()
    session.emit(facts, "\n".join(_lines(facts)))


def _lines(facts: dict[str, Any], before: str = "") -> Iterator[str]:
    for key, value in facts.items():
        name = f"{before}{key}".replace("_", " ")
        if isinstance(value, dict):
            yield from _lines(value, f"{name} ")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{name}: {text}"


@click.command("reload")
@pass_session
def reload_(session: Session) -> None:
    """Let the running server read its configuration again; one with faults changes nothing (status 78)."""
    facts = session.server().reload()
    lines = [f"warning: {warning}" for warning in facts["warnings"]]
    session.emit(facts, "\n".join([*lines, "the configuration is in force"]))
