"""An /etc/aliases file with newaliases, and SMTP over `sendmail -bs`, with a running server and with none."""

import json
import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.peers.kms_server import CHECKOUT, Kms
from tests.e2e.peers.process import run, wait_until

ANNA, BOB = "anna@example.test", "bob@example.test"
DIALOGUE = (
    b"EHLO localhost\r\nMAIL FROM:<anna@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
    b"Subject: over a pipe\r\n\r\nhello\r\n.\r\n"
)


@pytest.fixture
def kms(tmp_path: Path) -> Iterator[Kms]:
    server = Kms(tmp_path, {"domains": {"aliases_file": "aliases"}})
    aliases(server).write_text("# of the old server\npostmaster: root\nroot: anna,\n  bob\n")
    server.start()
    for user in (ANNA, BOB):
        server.add_user(user)
    yield server
    server.stop()


def aliases(kms: Kms) -> Path:
    return kms.folder / "aliases"


def call(kms: Kms, name: str, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    code = f"import sys; sys.argv[0] = '{name}'; from kms.cli.sendmail import main; main()"
    return run([sys.executable, "-c", code, "-C", kms.configuration, *words], stdin=stdin, cwd=CHECKOUT)


def send(kms: Kms, recipient: str) -> None:
    with smtplib.SMTP(kms.host, kms.smtp) as client:
        client.sendmail("x@far.test", [recipient], b"Subject: hello\r\n\r\nhello\r\n")


def test_mail_for_an_alias_of_the_file_reaches_all_of_its_targets(kms: Kms) -> None:
    send(kms, "Root@example.test")
    wait_until(lambda: bool(kms.messages(ANNA)) and bool(kms.messages(BOB)))


def test_newaliases_is_silent_and_acts_at_once(kms: Kms) -> None:
    aliases(kms).write_text("root: bob\nsales: anna\n")
    for name, words in (("newaliases", ()), ("sendmail", ("-bi",)), ("sendmail", ("-I",))):
        done = call(kms, name, *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert call(kms, "newaliases", "-v").stdout == f"{aliases(kms)}: 2 aliases\n".encode()
    send(kms, "sales@example.test")
    wait_until(lambda: bool(kms.messages(ANNA)))
    assert not kms.messages(BOB)
    assert kms.ctl("alias", "load") == f"{aliases(kms)}: 2 aliases are in force\n"


def test_a_wrong_file_is_refused_with_its_lines_and_the_old_aliases_stay(kms: Kms) -> None:
    aliases(kms).write_text("root: bob\nsales: |/bin/cat\nx\n")
    done = call(kms, "newaliases")
    assert done.returncode == 65
    assert done.stderr.decode().splitlines() == [
        f"newaliases: {aliases(kms)}:2: |/bin/cat: kms runs no programs for aliases",
        f'newaliases: {aliases(kms)}:3: "x" is no alias; write name: target, target',
    ]
    assert kms.program is not None
    kms.program.process.send_signal(signal.SIGHUP)
    kms.wait_for_log("operations", "reload: ")
    send(kms, "root@example.test")
    wait_until(lambda: bool(kms.messages(ANNA)))
    assert "pid: " in kms.ctl("status")
    assert call(kms, "sendmail", "bob", stdin=b"of cron\n").returncode == 0
    wait_until(lambda: len(kms.messages(BOB)) == 2)


def test_a_reload_reads_the_file_too(kms: Kms) -> None:
    aliases(kms).write_text("sales: bob\n")
    kms.ctl("reload")
    send(kms, "sales@example.test")
    wait_until(lambda: bool(kms.messages(BOB)))
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(kms, "root@example.test")


def test_without_a_server_newaliases_checks_and_a_server_with_a_wrong_file_does_not_start(kms: Kms) -> None:
    kms.stop()
    assert call(kms, "newaliases").returncode == 0
    aliases(kms).write_text("root\n")
    assert call(kms, "newaliases").returncode == 65
    done = run(kms.command(), cwd=CHECKOUT, environment=kms.environment())
    assert done.returncode == 78
    assert f"{aliases(kms)}:1: ".encode() in done.stderr
    aliases(kms).write_text("root: bob\n")
    kms.start()


def test_a_list_that_has_vanished_defers_its_alias_and_nothing_else(kms: Kms) -> None:
    members = kms.folder / "staff.list"
    aliases(kms).write_text(f"root: anna\nstaff: :include:{members}\nall: bob, staff\n")
    kms.stop()
    kms.start()
    kms.wait_for_log("operations", f"the alias staff is deferred: {members} cannot be read")
    send(kms, "root@example.test")
    wait_until(lambda: bool(kms.messages(ANNA)))
    for name in ("staff", "all"):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            send(kms, f"{name}@example.test")
        ((code, text),) = caught.value.recipients.values()
        assert (code, text[:5]) == (451, b"4.3.0")
    checked = kms.ctl("check")
    assert f"warning: [domains] aliases_file: mail for the alias staff is deferred: {members}" in checked
    assert "mail for the alias all is deferred, for it needs staff@example.test" in checked
    done = call(kms, "newaliases")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"newaliases: warning: [domains] aliases_file: mail for the alias staff is deferred" in done.stderr
    assert call(kms, "sendmail", "staff", stdin=b"of cron\n").returncode == 0
    members.write_text("bob\n")
    assert call(kms, "newaliases").stderr == b""
    send(kms, "staff@example.test")
    wait_until(lambda: bool(kms.messages(BOB)))


def test_what_programs_have_sent_to_such_an_alias_arrives_when_the_list_is_back(kms: Kms) -> None:
    members = kms.folder / "staff.list"
    aliases(kms).write_text(f"staff: :include:{members}\n")
    kms.ctl("reload")
    kms.stop()
    assert call(kms, "sendmail", "staff", stdin=b"of cron\n").returncode == 0
    kms.start()
    wait_until(lambda: "staff@example.test" in kms.ctl("mailq"))
    members.write_text("bob, anna\n")
    kms.ctl("reload")
    kms.ctl("queue", "retry", json.loads(kms.ctl("--json", "queue", "list"))["queue_id"])
    wait_until(lambda: bool(kms.messages(ANNA)) and bool(kms.messages(BOB)))


def test_without_a_file_newaliases_says_so(kms: Kms) -> None:
    kms.configure({"domains": {"aliases_file": ""}})
    done = call(kms, "newaliases")
    assert done.returncode == 78
    assert b"aliases_file is not set" in done.stderr


@pytest.mark.parametrize("last", [b"QUIT\r\n", b""])
def test_a_mail_reader_speaks_smtp_over_a_pipe(kms: Kms, last: bytes) -> None:
    done = call(kms, "sendmail", "-bs", stdin=DIALOGUE + last)
    replies = [line[:3] for line in done.stdout.splitlines() if line[3:4] == b" "]
    assert done.returncode == 0
    assert replies == [b"220", b"250", b"250", b"250", b"354", b"250", b"221"]
    wait_until(lambda: bool(kms.messages(BOB)))


def test_without_a_server_the_mail_reader_is_told_to_try_again(kms: Kms) -> None:
    kms.stop()
    done = call(kms, "sendmail", "-bs", stdin=DIALOGUE)
    assert (done.returncode, done.stdout[:10]) == (75, b"421 4.3.2 ")


def test_an_address_is_verified_and_nothing_is_sent(kms: Kms) -> None:
    aliases(kms).write_text(f"root: anna, bob\nstaff: :include:{kms.folder}/staff.list\n")
    assert call(kms, "newaliases").returncode == 0
    done = call(kms, "sendmail", "-bv", "root", "Anna@example.test", "x@far.test")
    assert (done.returncode, done.stdout.decode().splitlines()) == (
        0,
        [
            f"root@example.test: deliverable: goes to {ANNA}, {BOB}",
            f"Anna@example.test: deliverable: goes to {ANNA}",
            "x@far.test: deliverable: goes to x@far.test",
        ],
    )
    done = call(kms, "sendmail", "-bv", "root", "staff")
    assert done.returncode == 75
    assert (
        b"staff@example.test: not now: mail is deferred, for staff@example.test cannot be used" in done.stdout
    )
    done = call(kms, "sendmail", "-bv", "nobody", "staff", "a@@b", "root")
    assert done.returncode == 67
    assert b"nobody@example.test: undeliverable: nobody has this address\n" in done.stdout
    assert b"a@@b: undeliverable: 'a@@b' is no address" in done.stdout
    assert call(kms, "sendmail", "-bv").returncode == 64
    assert not kms.messages(ANNA)
    assert not kms.messages(BOB)
    kms.stop()
    done = call(kms, "sendmail", "-bv", "root")
    assert (done.returncode, done.stderr[:30]) == (69, b"sendmail: no server is running")
