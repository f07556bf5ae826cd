"""`kmsctl check`, `status`, `reload`: the configuration and the running server."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from kms.cli import failure
from kms.cli.failure import CommandFailed
from kms.cli.offline import become_owner
from kms.cli.risks import find_account_risks, find_certificate_risks
from kms.cli.session import Session, pass_session
from kms.config.checks import find_risks
from kms.config.settings import Settings
from kms.config.sni_folder import SniFolderError, find_pairs
from kms.store.report_texts import ReportTexts


@click.command()
@pass_session
def check(session: Session) -> None:
    """Is the configuration right? Names every fault (status 78), and warns of risks."""
    settings = session.load_settings()
    faults = [f"{session.config}: {fault}" for fault in _find_file_faults(settings)]
    if faults:
        raise CommandFailed(failure.BAD_CONFIGURATION, *faults)
    certificate_risks = [*find_certificate_risks(settings, datetime.now(UTC))]  # as root, who may read it
    become_owner(settings.server.data_dir)
    warnings = [
        *settings.warnings,
        *find_risks(settings),
        *certificate_risks,
        *find_account_risks(settings),
        *ReportTexts(settings.server.reports_dir).problems(),
    ]
    lines = [f"warning: {warning}" for warning in warnings]
    session.emit(
        {"config": str(session.config), "problems": [], "warnings": warnings},
        "\n".join([*lines, f"{session.config} is right"]),
    )


def _find_file_faults(settings: Settings) -> Iterator[str]:
    """Look whether the certificate and its key are there and belong together."""
    tls = settings.tls
    if tls.certificate is not None and tls.private_key is not None:
        yield from _find_pair_faults("certificate", tls.certificate, tls.private_key)
    if tls.sni_dir is not None:
        try:
            for certificate, key in find_pairs(tls.sni_dir).values():
                yield from _find_pair_faults("sni_dir", certificate, key)
        except SniFolderError as error:
            yield f"[tls] sni_dir: {error}"
    if tls.ca_file is not None and not os.access(tls.ca_file, os.R_OK):
        yield f"[tls] ca_file: {tls.ca_file} cannot be read"


def _find_pair_faults(name: str, certificate: Path, key: Path) -> Iterator[str]:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        yield f"[tls] {name}: {certificate} and {key} cannot be used: {error}"


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
