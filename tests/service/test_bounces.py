import email
import email.policy
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from twisted.logger import capturedLogs

from kms.domain.account import Account, Alias
from kms.domain.address import Mailbox
from kms.domain.content import Content, FileContent, InlineContent
from kms.domain.dsn import MAX_RETURNED_OCTETS, RecipientReport
from kms.domain.dsn_request import MessageRequest, Returned
from kms.domain.outcome import Deferred, Failed
from kms.domain.queue_entry import QueueEntry
from kms.domain.reply import DELIVERY_EXPIRED, Reply
from kms.domain.report_text import ReportKind
from kms.domain.status import EnhancedStatus
from kms.store.queue_store import NewEntry
from tests.support.delivery_side import ALICE, BOB, DOMAIN, FAR, HOST, MESSAGE, START, DeliverySide, accounts
from tests.support.results import result_of
from tests.support.senders import BUSY, REFUSED, AddressedSender

LIST = Mailbox("sales", DOMAIN)


def failed(original: Mailbox, outcome: Failed | Deferred = REFUSED) -> RecipientReport:
    """The row of one recipient; a deferral stands for one that expired."""
    if isinstance(outcome, Failed):
        return RecipientReport(original, outcome.reply, outcome.where)
    return RecipientReport(original, DELIVERY_EXPIRED, outcome.where, str(outcome.reply))


@pytest.fixture
def side(tmp_path: Path) -> DeliverySide:
    return DeliverySide(tmp_path, AddressedSender())


def report_failure(
    side: DeliverySide, *rows: RecipientReport, sender: Mailbox | None = ALICE
) -> NewEntry | None:
    return make(side, side.entry(FAR, sender=sender), InlineContent(MESSAGE), rows)


def make(
    side: DeliverySide,
    entry: QueueEntry,
    content: Content,
    rows: tuple[RecipientReport, ...],
    kind: ReportKind = ReportKind.FAILED,
) -> NewEntry | None:
    reports = result_of(side.bounces.make(entry, content, {kind: rows}))
    assert len(reports) <= 1
    return reports[0] if reports else None


def text_of(report: NewEntry | None) -> str:
    return message_of(report).as_string()


def message_of(report: NewEntry | None) -> EmailMessage:
    assert report is not None
    assert isinstance(report.content, InlineContent)
    message = email.message_from_bytes(report.content.data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


class TestAReport:
    def test_goes_to_the_sender_with_a_null_reverse_path(self, side: DeliverySide) -> None:
        report = report_failure(side, failed(FAR))
        assert report is not None
        assert report.entry.reverse_path is None
        assert [recipient.forward_path for recipient in report.entry.envelope.recipients] == [ALICE]
        assert report.entry.content_octets == report.content.octets
        assert not report.is_leased

    def test_is_a_delivery_status_notification(self, side: DeliverySide) -> None:
        message = message_of(report_failure(side, failed(FAR)))
        assert message.get_content_type() == "multipart/report"
        assert message["To"] == "alice@example.test"
        assert "Action: failed" in message.as_string()

    def test_names_all_that_failed(self, side: DeliverySide) -> None:
        others = Mailbox("other", "far.test")
        text = text_of(report_failure(side, failed(FAR), failed(others)))
        assert text.count("Final-Recipient:") == 2

    def test_tells_the_last_words_of_the_server_for_what_expired(self, side: DeliverySide) -> None:
        text = text_of(report_failure(side, failed(FAR, BUSY)))
        assert "greylisted" in text
        assert "5.4.7" in text

    def test_shows_the_header_of_the_message_and_not_its_body(self, side: DeliverySide) -> None:
        text = text_of(report_failure(side, failed(FAR)))
        assert "Subject: hello" in text
        assert "world" not in text

    def test_goes_without_that_header_where_it_cannot_be_read(self, side: DeliverySide) -> None:
        content = FileContent(str(side.spool / "gone"), 100)
        with capturedLogs() as events:
            report = make(side, side.entry(FAR), content, (failed(FAR),))
        assert "far@far.test" in text_of(report)
        assert events

    def test_is_noted_in_the_log_with_both_queue_ids(self, side: DeliverySide) -> None:
        report = report_failure(side, failed(FAR))
        assert report is not None
        assert f"sender non-delivery notification: {report.entry.queue_id}" in side.log_text()

    def test_speaks_the_language_of_a_local_sender(self, side: DeliverySide) -> None:
        folder = side.folder / "reports" / "xx"
        folder.mkdir(parents=True)
        (folder / "failed.txt").write_text("Subject: Hoppla\n\n$recipients\n$hostname\n")
        side.directory.take({"alice@example.test": Account("alice", DOMAIN, language="xx")}, {})
        assert message_of(report_failure(side, failed(FAR)))["Subject"] == "Hoppla"

    def test_to_a_foreign_sender_speaks_the_servers_language(self, side: DeliverySide) -> None:
        folder = side.folder / "reports" / "xx"
        folder.mkdir(parents=True)
        (folder / "failed.txt").write_text("Subject: Hoppla\n\n$recipients\n$hostname\n")
        side.bounces.language = "xx"
        message = message_of(report_failure(side, failed(ALICE), sender=FAR))
        assert message["Subject"] == "Hoppla"
        assert message["To"] == "far@far.test"

    @pytest.mark.parametrize("sender", [ALICE, Mailbox("rita", "far.test")])
    def test_names_a_postmaster_whose_mail_is_taken(self, side: DeliverySide, sender: Mailbox) -> None:
        text = text_of(report_failure(side, failed(FAR), sender=sender))
        assert f"postmaster@{DOMAIN}" in text
        assert f"postmaster@{HOST}" not in text

    def test_comes_from_this_server(self, side: DeliverySide) -> None:
        assert HOST in str(message_of(report_failure(side, failed(FAR)))["From"])


class TestAWarning:
    def test_says_until_when_it_is_tried(self, side: DeliverySide) -> None:
        until = START + timedelta(days=2)
        late = RecipientReport(FAR, BUSY.reply, BUSY.where, will_retry_until=until)
        report = make(side, side.entry(FAR), InlineContent(MESSAGE), (late,), ReportKind.DELAYED)
        text = text_of(report)
        assert "Action: delayed" in text
        assert f"Will-Retry-Until: {until:%a, %d %b %Y}" in text
        assert "sender delay notification" in side.log_text()

    def test_promises_no_end_where_there_is_none(self, side: DeliverySide) -> None:
        late = RecipientReport(FAR, BUSY.reply, BUSY.where)
        report = make(side, side.entry(FAR), InlineContent(MESSAGE), (late,), ReportKind.DELAYED)
        assert "Will-Retry-Until" not in text_of(report)


class TestNobodyIsTold:
    def test_about_a_null_reverse_path_but_the_log_is(self, side: DeliverySide) -> None:
        assert report_failure(side, failed(FAR), sender=None) is None
        assert "no notification: the reverse-path is null" in side.log_text()

    def test_where_the_sender_does_not_exist_here_but_the_log_is(self, side: DeliverySide) -> None:
        assert report_failure(side, failed(FAR), sender=Mailbox("gone", DOMAIN)) is None
        assert "no notification: the sender gone@example.test does not exist" in side.log_text()


class TestTheSenderOfALocalDomain:
    def test_that_is_an_alias_is_told_at_its_targets(self, side: DeliverySide) -> None:
        alias = Alias("sales", DOMAIN, (ALICE, BOB))
        side.directory.take(accounts("alice", "bob"), {DOMAIN: (alias,)})
        report = report_failure(side, failed(FAR), sender=LIST)
        assert report is not None
        assert [recipient.forward_path for recipient in report.entry.envelope.recipients] == [ALICE, BOB]
        assert {recipient.original for recipient in report.entry.envelope.recipients} == {LIST}


def test_a_reply_of_several_lines_stays_in_one_field(side: DeliverySide) -> None:
    refusal = Failed(Reply(550, EnhancedStatus(5, 7, 1), "no\nX-Forged: yes"), "mx.test")
    message = message_of(report_failure(side, failed(FAR, refusal)))
    assert message["X-Forged"] is None
    assert "\nX-Forged:" not in message.as_string()


class TestWhatComesBackOfTheMessage:
    FULL = MessageRequest(Returned.FULL)

    def report(
        self, side: DeliverySide, data: bytes, kind: ReportKind = ReportKind.FAILED, sender: Mailbox = ALICE
    ) -> bytes:
        entry = side.entry(FAR, sender=sender, request=self.FULL)
        report = make(side, entry, InlineContent(data), (failed(FAR),), kind)
        assert report is not None
        assert isinstance(report.content, InlineContent)
        assert report.entry.envelope.is_8bit is not report.content.data.isascii()
        return report.content.data

    def test_is_all_where_that_is_asked_of_a_failure(self, side: DeliverySide) -> None:
        assert MESSAGE in self.report(side, MESSAGE)

    @pytest.mark.parametrize("kind", [ReportKind.DELIVERED, ReportKind.RELAYED, ReportKind.DELAYED])
    def test_is_the_header_of_anything_else(self, side: DeliverySide, kind: ReportKind) -> None:
        assert b"world" not in self.report(side, MESSAGE, kind)

    def test_is_the_header_of_a_large_message(self, side: DeliverySide) -> None:
        large = MESSAGE + b"x" * 70 + b"\r\n"
        large *= MAX_RETURNED_OCTETS // len(large) + 1
        assert b"world" not in self.report(side, large)
        assert b"world" in self.report(side, large[:MAX_RETURNED_OCTETS])

    def test_is_8bit_only_to_a_mailbox_of_ours_or_where_smtputf8_is_needed_anyhow(
        self, side: DeliverySide
    ) -> None:
        data = MESSAGE + "Grüße\r\n".encode()
        assert data in self.report(side, data)
        assert data in self.report(side, data, sender=Mailbox("jürgen", "far.test"))
        assert self.report(side, data, sender=Mailbox("joe", "far.test")).isascii()


def test_nothing_wanted_is_nothing_made(side: DeliverySide) -> None:
    assert result_of(side.bounces.make(side.entry(FAR, sender=None), InlineContent(MESSAGE), {})) == ()
    assert "no notification" not in side.log_text()
