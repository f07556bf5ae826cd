"""Reports as others read them: mblaze and a list server's parser; texts change while the server runs."""

import email
import email.policy
import shutil
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from kms.cli.sample_report import compose_sample
from kms.config.loader import load_settings
from kms.domain.report_text import ReportKind
from kms.store.report_texts import ReportTexts
from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import CHECKOUT, PASSWORD, Kms
from tests.e2e.peers.postfix import Postfix
from tests.e2e.peers.process import run, wait_until

ALICE = "alice@example.test"
LANGUAGES = sorted(path.name for path in (CHECKOUT / "reports").iterdir())
TYPES = ("text/plain", "message/delivery-status", "text/rfc822-headers")
UTF_8 = {"LC_ALL": "C.UTF-8"}
BOUNCING = "nobody@far.test"
BOUNCE_PARSER = """
use Mail::DeliveryStatus::BounceParser;
my $report = Mail::DeliveryStatus::BounceParser->new(do { local $/; <STDIN> });
print join(" ", $report->is_bounce ? "bounce" : $report->{type} // "none",
    map { join "=", map { $_ // "" } $_->get("email"), $_->get("std_reason"), $_->get("status") } $report->reports);
"""


@pytest.fixture
def kms(start_kms: StartKms, tmp_path: Path) -> Kms:
    """A server whose texts may be edited."""
    shutil.copytree(CHECKOUT / "reports", tmp_path / "reports")
    return start_kms({"server": {"reports_dir": str(tmp_path / "reports")}})


def read(*words: str, mail: Path) -> str:
    result = run([*words, mail], environment=UTF_8)
    assert result.returncode == 0, result.stderr
    return result.stdout.decode()


def compose_all(folder: Path, language: str) -> dict[ReportKind, bytes]:
    (folder / "kms.ini").write_text("[server]\nhostname = mail.a.test\n[domains]\nlocal = a.test\n")
    settings, texts = load_settings(folder / "kms.ini"), ReportTexts(CHECKOUT / "reports")
    now = datetime(2026, 11, 24, 13, tzinfo=UTC)
    return {kind: compose_sample(settings, texts, language, kind, now) for kind in ReportKind}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_list_server_understands_each_dsn_in_each_language(tmp_path: Path, language: str) -> None:
    """BounceParser unsubscribes dead addresses by reports; it must take nothing but a failure for one."""
    understood = {}
    for kind, data in compose_all(tmp_path, language).items():
        if kind in (ReportKind.QUOTA, ReportKind.ALARM):
            continue  # these are no reports about a message
        mail = data.replace(b"\r\n", b"\n")  # as it stands in a mailbox
        result = run(["perl", "-e", BOUNCE_PARSER], stdin=mail, environment=UTF_8)
        assert (result.returncode, result.stderr) == (0, b"")
        understood[kind] = result.stdout.decode().split()
    assert understood.pop(ReportKind.FAILED) == [
        "bounce",
        "bob@example.com=user_unknown=5.1.1",
        "ann@example.com=over_quota=5.2.2",
    ]
    assert understood == {
        ReportKind.DELAYED: ["delivery-status", "delayed"],
        ReportKind.DELIVERED: ["delivery-status", "delivered"],
        ReportKind.RELAYED: ["delivery-status", "relayed"],
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_mblaze_reads_each_kind_in_each_language(tmp_path: Path, language: str) -> None:
    for kind, data in compose_all(tmp_path, language).items():
        message = email.message_from_bytes(data, policy=email.policy.default)
        parts = [part for part in message.walk() if part.get_content_type() in TYPES]
        mail = tmp_path / kind.value
        mail.write_bytes(data)
        assert read("mhdr", "-d", "-h", "subject", mail=mail).strip() == message["Subject"]
        structure = read("mshow", "-t", mail=mail)
        assert [part.get_content_type() for part in parts if part.get_content_type() not in structure] == []
        number = "2" if message.is_multipart() else "1"
        shown = run(["mshow", "-O", mail, number], environment=UTF_8).stdout.decode()
        assert isinstance(parts[0], EmailMessage)
        assert shown.split() == parts[0].get_content().split()


def bounce(kms: Kms, clients: Clients, count: int) -> str:
    """Let a message bounce; gives the newest report as mblaze shows it."""
    before = set(kms.messages(ALICE))
    dialogue = clients.swaks(
        kms.submission, BOUNCING, "--from", ALICE, "--tls", "--auth-user", ALICE, "--auth-password", PASSWORD
    )
    assert dialogue.status == 0, dialogue.text
    wait_until(lambda: len(kms.messages(ALICE)) == count, seconds=20, what=kms.everything)
    [report] = set(kms.messages(ALICE)) - before
    mail = kms.folder / "report"
    mail.write_bytes(report)
    return read("mshow", mail=mail)


def test_an_edited_text_and_a_new_language_are_used_by_the_next_report(
    kms: Kms, clients: Clients, far: Postfix, tmp_path: Path
) -> None:
    kms.ctl("user", "set", ALICE, "--language", "cs")
    shown = bounce(kms, clients, 1)
    assert "Subject: Vaši zprávu se nepodařilo doručit" in shown
    assert "Taková schránka neexistuje." in shown
    assert "odpověděl: 550 5.1.1" in shown

    text = tmp_path / "reports" / "cs" / "failed.txt"
    text.write_text(text.read_text().replace("se nepodařilo doručit\n", "bohužel nikdo nechce\n", 1))
    assert "Subject: Vaši zprávu bohužel nikdo nechce" in bounce(kms, clients, 2)

    swedish = tmp_path / "reports" / "sv"
    swedish.mkdir()
    (swedish / "failed.txt").write_text("Subject: Ditt brev kom inte fram\n\nTill:\n$recipients\n")
    (swedish / "status.txt").write_text("5.1.1 = Brevlådan finns inte.\nsaid = $server svarade: $words\n")
    kms.ctl("user", "set", ALICE, "--language", "sv")
    shown = bounce(kms, clients, 3)
    assert "Subject: Ditt brev kom inte fram" in shown
    assert "Brevlådan finns inte." in shown

    (swedish / "failed.txt").write_bytes(b"Subject: \xff\n")
    assert "Subject: Your message could not be delivered" in bounce(kms, clients, 4)
