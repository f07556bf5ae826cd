"""sendmail(1) as programs call it, with a running server and with none."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.peers.kms_server import CHECKOUT, Kms
from tests.e2e.peers.process import run, wait_until

ANNA, BOB = "anna@example.test", "bob@example.test"
MAIL = b"To: anna@example.test\nBcc: bob@example.test\nSubject: hello\n\nfirst\n..\n.\nsecond\n"


@pytest.fixture
def kms(tmp_path: Path) -> Iterator[Kms]:
    server = Kms(tmp_path)
    server.start()
    for user in (ANNA, BOB):
        server.add_user(user)
    yield server
    server.stop()


def sendmail(kms: Kms, *words: str, mail: bytes = MAIL, status: int = 0) -> str:
    code = "import sys; from kms.cli.sendmail import main; main()"
    command = [sys.executable, "-c", code, "-C", str(kms.configuration), *words]
    result = run(command, stdin=mail, cwd=CHECKOUT)
    assert result.returncode == status, result.stderr
    return (result.stdout + result.stderr).decode()


def messages(kms: Kms, address: str) -> list[bytes]:
    wait_until(lambda: bool(kms.messages(address)))
    return kms.messages(address)


def test_a_message_with_t_reaches_all_and_names_no_bcc(kms: Kms) -> None:
    sendmail(kms, "-t", "-i")
    (found,) = messages(kms, BOB)
    assert found == messages(kms, ANNA)[0].replace(b"Delivered-To: anna", b"Delivered-To: bob")
    assert b"Bcc" not in found
    assert b"second" in found
    assert all(name in found for name in (b"From: ", b"Date: ", b"Message-ID: ", b"from userid 0"))
    kms.wait_for_log("mail", "kms/pickup[")


def test_a_dot_ends_the_input_and_f_is_the_sender(kms: Kms) -> None:
    sendmail(kms, "-fbob@example.test", "-FBob B", "anna")
    (found,) = messages(kms, ANNA)
    assert b"second" not in found
    assert b"Return-Path: <bob@example.test>" in found
    assert b"From: Bob B <bob@example.test>" in found


@pytest.mark.parametrize(
    ("words", "status"),
    [(("nobody@example.test", ANNA), 67), ((), 64), (("-Z",), 64), (("a@b@c",), 65)],
)
def test_what_cannot_be_sent_ends_with_a_status(kms: Kms, words: tuple[str, ...], status: int) -> None:
    assert "sendmail: " in sendmail(kms, *words, status=status)
    assert not kms.messages(ANNA)


def test_mail_waits_in_the_maildrop_for_the_server_and_unknown_recipients_bounce(kms: Kms) -> None:
    kms.stop()
    sendmail(kms, "-i", "-f", ANNA, BOB, mail=b"Subject: large\n\n" + b"x" * 70 * 1000 + b"\n")
    sendmail(kms, "-i", "-f", ANNA, "nobody@example.test")
    assert len(list((kms.folder / "run" / "maildrop").iterdir())) == 2
    kms.start()
    assert len(messages(kms, BOB)[0]) > 70 * 1000
    assert b"5.1.1" in messages(kms, ANNA)[0]
    wait_until(lambda: not list((kms.folder / "run" / "maildrop").iterdir()))


def test_mailq_prints_the_queue(kms: Kms) -> None:
    assert sendmail(kms, "-bp") == "Mail queue is empty\n"
