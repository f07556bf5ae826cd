"""What the tools find that look for weak servers: nmap for open relays, testssl.sh for TLS."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.kms_server import Kms
from tests.e2e.peers.process import run

HARMLESS = {"OK", "INFO", "LOW", "MEDIUM", "DEBUG"}
OF_THE_TOOL = {"engine_problem"}
"""What testssl.sh says of its own OpenSSL."""


def probe_relay(kms: Kms) -> str:
    """What nmap's script says of the SMTP port."""
    return run(
        ["nmap", "-Pn", "-n", "-p", str(kms.smtp), "--script", "+smtp-open-relay", "127.0.0.1"], seconds=90
    ).stdout.decode(errors="replace")


def test_nmap_finds_no_open_relay(start_kms: StartKms) -> None:
    found = probe_relay(start_kms({"relay": {"address_group": ""}, "limits": {"max_failed_commands": "0"}}))
    assert "Server doesn't seem to be an open relay, all tests failed" in found, found


def test_nmap_finds_the_relay_that_is_open(start_kms: StartKms) -> None:
    found = probe_relay(start_kms({"relay": {"mode": "open"}}))
    assert "Server is an open relay" in found, found


def probe_tls(port: int, protocol: str, report: Path) -> list[dict[str, str]]:
    """All that testssl.sh has to say of protocols, server preferences, certificate and known vulnerabilities."""
    result = run(
        ["testssl", "--quiet", "--warnings", "batch", "--color", "0", "--nodns", "none", "--ip", "127.0.0.1",
         "--starttls", protocol, "-p", "-s", "-U", "--jsonfile", report, f"localhost:{port}"],
        seconds=170,
    )  # fmt: skip
    assert report.exists(), result.stdout.decode(errors="replace")
    findings: list[dict[str, str]] = json.loads(report.read_text())
    return findings


@pytest.mark.timeout(200)
def test_testssl_finds_nothing_above_medium(start_kms: StartKms, tmp_path: Path) -> None:
    kms = start_kms()
    with ThreadPoolExecutor() as pool:  # it sleeps most of the time
        reports = {
            protocol: pool.submit(probe_tls, getattr(kms, protocol), protocol, tmp_path / f"{protocol}.json")
            for protocol in ("smtp", "pop3")
        }
    for protocol, report in reports.items():
        findings = report.result()
        seen = {finding["id"] for finding in findings}
        assert {"TLS1_2", "TLS1_3", "heartbleed", "ROBOT", "SWEET32"} <= seen, (protocol, findings)
        weak = [
            finding
            for finding in findings
            if finding["severity"] not in HARMLESS and finding["id"] not in OF_THE_TOOL
        ]
        assert weak == [], protocol
