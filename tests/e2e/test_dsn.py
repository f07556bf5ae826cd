"""Reports that a sender asked for: Postfix's sendmail asks, kms reports or passes it on to another Postfix."""

import email
import email.policy
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.e2e.conftest import DIRECT_PORT, StartKms, unused
from tests.e2e.peers.kms_server import Kms
from tests.e2e.peers.postfix import Postfix, PostfixSettings
from tests.e2e.peers.process import free_port, run, wait_until
from tests.e2e.peers.world import DOWN_HOST, OFFICE

ALICE = "alice@example.test"
MESSAGE = b"From: <alice@example.test>\nTo: <box@down.test>\nSubject: going out\n\nwords of the body\n"


def parts_of(message: EmailMessage) -> list[EmailMessage]:
    payload = message.get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, EmailMessage)]


class World:
    """kms between two Postfixes: the office's, and the MX of down.test, which may be without DSN."""

    def __init__(self, kms: Kms, ground: Path, has_dsn: bool) -> None:
        self.kms = kms
        towards_kms = {"relayhost": f"[127.0.0.1]:{kms.smtp}", "disable_dns_lookups": "yes"}
        more = {} if has_dsn else {"smtpd_discard_ehlo_keywords": "dsn, silent-discard"}
        self.far = Postfix(
            unused(ground, "test_dsn_far"),
            PostfixSettings(
                hostname="mx.down.test",
                host=DOWN_HOST,
                port=DIRECT_PORT,
                mailboxes=["box@down.test"],
                domains=["down.test"],
                more={**towards_kms, **more, "smtp_bind_address": DOWN_HOST},
            ),
        )
        self.office = Postfix(
            unused(ground, "test_dsn_office"),
            PostfixSettings(
                hostname="office.example.test",
                host=OFFICE,
                port=free_port(OFFICE),
                more={**towards_kms, "smtp_bind_address": OFFICE},
            ),
        )
        self.far.start()
        self.office.start()

    def stop(self) -> None:
        self.office.stop()
        self.far.stop()

    def everything(self) -> str:
        return self.kms.everything() + self.far.log() + self.office.log()

    def send(self, to: str, *words: str) -> None:
        """Give a message to Postfix's sendmail."""
        command: list[str | Path] = ["sendmail", "-C", self.office.configuration, "-f", ALICE, *words, to]
        result = run(command, stdin=MESSAGE)
        assert result.returncode == 0, result.stderr

    def only_report(self) -> tuple[EmailMessage, EmailMessage, EmailMessage]:
        """The one message that alice gets, and in it the fields about the message and about the recipient."""
        wait_until(lambda: len(self.kms.messages(ALICE)) == 1, seconds=20, what=self.everything)
        self.wait_for_quiet()
        [raw] = self.kms.messages(ALICE)
        report = email.message_from_bytes(raw, policy=email.policy.default)
        assert report.get_content_type() == "multipart/report"
        assert report["Return-Path"] == "<>"
        status = list(report.walk())[2]
        about_message, about_recipient = parts_of(status)
        return report, about_message, about_recipient

    def wait_for_quiet(self) -> None:
        servers = (self.office, self.far)
        wait_until(
            lambda: not self.kms.queue_length() and not any(server.queue_length() for server in servers),
            seconds=20,
            what=self.everything,
        )


@pytest.fixture(params=[True, False], ids=["a hop with DSN", "a hop without DSN"])
def has_dsn(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def world(start_kms: StartKms, ground: Path, has_dsn: bool) -> Iterator[World]:
    made = World(start_kms(), ground, has_dsn)
    yield made
    made.stop()


def test_a_success_is_reported_by_the_last_server_that_can(world: World, has_dsn: bool) -> None:
    world.send("box@down.test", "-N", "success,failure", "-V", "my+id 7")
    report, about_message, about_recipient = world.only_report()
    assert len(world.far.messages("box@down.test")) == 1
    assert about_message["Original-Envelope-Id"] == "my+id 7"
    assert about_recipient["Original-Recipient"] == "rfc822;box@down.test" or not has_dsn
    assert str(about_recipient["Final-Recipient"]).replace(" ", "") == "rfc822;box@down.test"
    reporter, action = ("mx.down.test", "delivered") if has_dsn else ("kms.example.test", "relayed")
    assert about_message["Reporting-MTA"] == f"dns; {reporter}"
    assert about_recipient["Action"] == action
    assert str(about_recipient["Status"]).startswith("2.")
    assert "words of the body" not in report.as_string()


def test_a_failure_brings_the_whole_message_back_where_that_is_asked(world: World) -> None:
    world.send("nobody@down.test", "-N", "success,failure", "-R", "full", "-V", "QQ1")
    report, about_message, about_recipient = world.only_report()
    assert about_message["Reporting-MTA"] == "dns; kms.example.test"
    assert about_message["Original-Envelope-Id"] == "QQ1"
    assert about_recipient["Original-Recipient"] == "rfc822; nobody@down.test"
    assert about_recipient["Action"] == "failed"
    assert str(about_recipient["Diagnostic-Code"]).startswith("smtp; 550 5.1.1 ")
    assert about_recipient["Remote-MTA"] == "dns; mx.down.test"
    [original] = [part for part in report.walk() if part.get_content_type() == "message/rfc822"]
    [inner] = parts_of(original)
    assert inner["Subject"] == "going out"
    assert "words of the body" in inner.get_content()


@pytest.mark.parametrize("to", ["nobody@down.test", "box@down.test", "bob@example.test"])
def test_never_is_silent(world: World, to: str) -> None:
    world.send(to, "-N", "never")
    world.kms.wait_for_log("mail", f"to=<{to}>")
    world.wait_for_quiet()
    assert world.kms.messages(ALICE) == []


def test_a_mailbox_and_an_alias_of_ours_are_reported_by_their_own_names(start_kms: StartKms) -> None:
    kms = start_kms()
    kms.ctl("alias", "add", "sales@example.test", "bob@example.test", "dave@elsewhere.invalid")
    with smtplib.SMTP("127.0.0.1", kms.smtp, source_address=(OFFICE, 0)) as client:
        client.ehlo("client.example.test")
        assert client.has_extn("dsn")
        client.sendmail(
            ALICE,
            ["bob@example.test", "sales@example.test"],
            MESSAGE.replace(b"\n", b"\r\n"),
            mail_options=["RET=HDRS", "ENVID=QQ+2B1"],
            rcpt_options=["NOTIFY=SUCCESS"],
        )
    wait_until(lambda: len(kms.messages(ALICE)) == 2, seconds=20, what=kms.everything)
    reports = [email.message_from_bytes(raw, policy=email.policy.default) for raw in kms.messages(ALICE)]
    rows = [[part for part in report.walk() if part["Action"]] for report in reports]
    assert sorted([(row["Final-Recipient"], row["Action"]) for row in found] for found in rows) == [
        [("rfc822; bob@example.test", "delivered")],
        [("rfc822; sales@example.test", "expanded")],
    ]
    assert all("Original-Envelope-Id: QQ+1" in report.as_string() for report in reports)
    assert all("elsewhere" not in report.as_string() for report in reports)
