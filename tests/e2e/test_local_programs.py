"""Programs that send through sendmail(1): cron, mutt, s-nail, git, PHP; and pflogsumm, which reads the mail log."""

import shlex
import sys
from collections.abc import Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.e2e.conftest import StartKms
from tests.e2e.peers.clients import Clients
from tests.e2e.peers.kms_server import CHECKOUT, Kms
from tests.e2e.peers.process import Program, run, wait_until

ALICE, BOB = "alice@example.test", "bob@example.test"
BODY = "Grüße\n.\nafter a lonely dot\n"
PRIVATE_CRON = """
mount --bind {sendmail} /usr/sbin/sendmail
mount --bind {crontabs} /var/spool/cron/crontabs
mount --bind {empty} /etc/cron.d
mount --bind /dev/null /etc/crontab
mount -t tmpfs tmpfs /run
exec cron -f
"""
"""cron with one crontab and our sendmail, in a mount namespace of its own: it sees no job of this machine."""


@pytest.fixture
def kms(start_kms: StartKms) -> Kms:
    return start_kms()


@pytest.fixture
def sendmail(kms: Kms) -> Path:
    """The command as an installed system has it, but with this server's configuration."""
    path = kms.folder / "sendmail"
    words = [sys.executable, "-c", "from kms.cli.sendmail import main; main()", "-C", str(kms.configuration)]
    path.write_text(f'#!/bin/sh\ncd {shlex.quote(str(CHECKOUT))}\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o755)
    return path


def call(kms: Kms, command: Sequence[str | Path], stdin: str = BODY) -> None:
    surroundings = {"HOME": str(kms.folder), "LC_ALL": "C.UTF-8", "EMAIL": BOB}
    done = run(command, stdin=stdin.encode(), environment=surroundings, cwd=kms.folder)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def received(kms: Kms) -> EmailMessage:
    wait_until(lambda: len(kms.messages(ALICE)) == 1, what=kms.everything)
    message = message_from_bytes(kms.messages(ALICE)[0], policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert all(message[name] for name in ("From", "Date", "Message-ID"))
    return message


def text_of(message: EmailMessage) -> str:
    text: str = message.get_content().replace("\r\n", "\n")
    return text


def test_mutt_sends(kms: Kms, sendmail: Path) -> None:
    settings = f'set sendmail="{sendmail} -oem -oi" use_envelope_from=yes copy=no'
    call(kms, ["mutt", "-n", "-F", "/dev/null", "-e", settings, "-s", "from mütt", "--", ALICE])
    message = received(kms)
    assert message["Return-Path"] == f"<{BOB}>"
    assert message["Subject"] == "from mütt"
    assert text_of(message) == BODY


def test_s_nail_sends(kms: Kms, sendmail: Path) -> None:
    settings = ["-S", f"mta=file://{sendmail}", "-S", "sendwait", "-S", "ttycharset=utf-8"]
    call(kms, ["s-nail", "-:/", *settings, "-r", BOB, "-s", "from s-näil", "-c", BOB, ALICE])
    message = received(kms)
    assert message["Return-Path"] == f"<{BOB}>"
    assert message["Subject"] == "from s-näil"
    assert text_of(message) == BODY
    wait_until(lambda: len(kms.messages(BOB)) == 1)


def test_git_sends_a_patch(kms: Kms, sendmail: Path) -> None:
    (kms.folder / "file").write_text("first\n")
    author = ["-c", "user.name=Bob", "-c", f"user.email={BOB}"]
    for words in (["init", "-q"], ["add", "file"], [*author, "commit", "-q", "-m", "Say: first"]):
        call(kms, ["git", *words])
    call(kms, ["git", "format-patch", "-q", "--root", "-o", kms.folder, "HEAD"])
    [patch] = kms.folder.glob("0001-*.patch")
    options = [
        "--confirm=never",
        "--envelope-sender=auto",
        f"--smtp-server={sendmail}",
        f"--from={BOB}",
        f"--to={ALICE}",
    ]
    call(kms, ["git", *author, "send-email", "--suppress-cc=all", *options, patch])
    message = received(kms)
    assert message["Return-Path"] == f"<{BOB}>"
    assert message["Subject"] == "[PATCH] Say: first"
    assert "\n+first\n" in text_of(message)


def test_the_mail_function_of_php_sends(kms: Kms, sendmail: Path) -> None:
    code = f'exit(mail("{ALICE}", "from PHP", "Hello\\nthere\\n.\\nend", "From: {BOB}\\r\\nBcc: {BOB}") ? 0 : 1);'
    call(kms, ["php", "-n", "-d", f"sendmail_path={sendmail} -t -i", "-r", code])
    message = received(kms)
    assert (message["Subject"], message["From"], message["Bcc"]) == ("from PHP", BOB, None)
    assert text_of(message).splitlines() == ["Hello", "there", ".", "end"]
    wait_until(lambda: len(kms.messages(BOB)) == 1)


def test_cron_sends_what_a_job_prints(kms: Kms, sendmail: Path, tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("crontabs", "empty")}
    for place in places.values():
        place.mkdir()
    crontab = places["crontabs"] / "root"
    crontab.write_text(f"MAILTO={ALICE}\nLC_ALL=C.UTF-8\n@reboot printf 'Grüße\\n.\\nend\\n'\n")
    crontab.chmod(0o600)
    script = PRIVATE_CRON.format(sendmail=sendmail, **places)
    cron = Program(["unshare", "--mount", "sh", "-ec", script], tmp_path / "cron.log")
    try:
        message = received(kms)
    finally:
        cron.stop() if cron.is_running() else None
    assert b"\nFrom: root (Cron Daemon)" in kms.messages(ALICE)[0]
    assert message["Subject"].startswith("Cron <root@")
    assert text_of(message) == "Grüße\n.\nend\n"


def test_pflogsumm_counts_what_the_mail_log_tells(kms: Kms, sendmail: Path, clients: Clients) -> None:
    call(kms, [sendmail, "-f", BOB, ALICE, BOB])
    received(kms)
    assert clients.swaks(kms.smtp, "nobody@example.test").status != 0
    assert clients.swaks(kms.smtp, "far@elsewhere.test").status != 0
    assert clients.swaks(kms.smtp, ALICE).status == 0
    wait_until(lambda: len(kms.messages(ALICE)) == 2)
    wait_until(lambda: kms.log().count(": removed") == 2)
    done = run(["pflogsumm", "--syslog-name=kms", kms.data_dir / "log" / "mail.log"])
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    counts = {words[1]: words[0] for words in lines if len(words) >= 2 and words[0].isdigit()}
    assert {name: counts[name] for name in ("received", "delivered", "deferred", "bounced", "rejected")} == {
        "received": "2",
        "delivered": "3",
        "deferred": "0",
        "bounced": "0",
        "rejected": "2",
    }
