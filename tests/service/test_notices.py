"""The notice about a full mailbox, from the quota to the mailboxes it reaches."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import attrs
import pytest
from twisted.logger import LogLevel, capturedLogs

from kms.domain.account import Account, Alias
from kms.domain.address import Mailbox
from kms.domain.alarm_sentence import Alarm
from kms.domain.queue_entry import QueueEntry
from kms.service.notices import Notices
from kms.service.quota import Quota
from kms.store.report_texts import ReportTexts
from kms.store.schema import StoreError
from tests.support.delivery_side import ALICE, BOB, DOMAIN, FAR, HOST, DeliverySide
from tests.support.results import result_of
from tests.support.senders import AddressedSender

FULL_BOB = Account("bob", DOMAIN, quota_messages=1)
POSTMASTER = Mailbox("postmaster", DOMAIN)


@attrs.frozen
class Office:
    """A delivery side whose Bob has a mailbox for one message, and what tells of it."""

    side: DeliverySide
    notices: Notices
    quota: Quota

    def fill(self) -> None:
        """One message for Bob."""
        self.side.accept(BOB, sender=FAR)
        self.side.advance()

    def is_full(self) -> bool:
        """Ask as RCPT does, and let follow from the answer what follows from that of RCPT."""
        is_full = result_of(self.quota.is_full(self.bob))
        if is_full:
            self.quota.was_full(self.bob)
        else:
            self.quota.had_room(self.bob.login)
        return is_full

    @property
    def bob(self) -> Account:
        return self.side.directory.current.accounts[f"bob@{DOMAIN}"]

    def use(self, *accounts: Account, alias: Alias | None = None) -> None:
        aliases: dict[str, tuple[Alias, ...]] = {DOMAIN: (alias,)} if alias else {}
        self.side.directory.take({account.login: account for account in accounts}, aliases)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    side = DeliverySide(tmp_path, AddressedSender()).start()
    texts = ReportTexts(tmp_path / "reports")
    notices = Notices(HOST, "en", texts, side.directory, side.mailboxes, side.queue, side.log)
    office = Office(side, notices, Quota(side.mailboxes, notices.tell_full))
    office.use(Account("alice", DOMAIN), FULL_BOB)
    return office


def notices_of(office: Office, mailbox: Mailbox) -> list[EmailMessage]:
    office.side.advance()
    return [mail for mail in office.side.reports(mailbox) if "is full" in mail["Subject"]]


def accepted(office: Office, account: Account | None = None) -> QueueEntry:
    """Tell, and give the entry of the notice."""
    entries: list[QueueEntry] = []
    office.side.queue.on_accepted = lambda entry, content: entries.append(entry)
    result_of(office.notices.tell_full(account or office.bob))
    (entry,) = entries
    return entry


class TestAFullMailbox:
    def test_is_told_to_its_account_although_it_is_full_and_to_the_postmaster(self, office: Office) -> None:
        office.fill()
        assert office.is_full()
        for mailbox in (ALICE, BOB):
            (mail,) = notices_of(office, mailbox)
            assert mail["To"] == "bob@example.test, postmaster@example.test"
            assert mail["Return-Path"] == "<>"
            assert mail["Auto-Submitted"] == "auto-generated"
            assert "messages: 1, allowed: 1" in mail.get_content()

    def test_is_told_once_until_there_was_room_again(self, office: Office) -> None:
        office.fill()
        for _ in range(3):
            assert office.is_full()
        assert len(notices_of(office, ALICE)) == 1
        opened = result_of(office.side.mailboxes.open(office.bob))
        assert result_of(opened.delete(range(1, len(opened.messages) + 1)))
        opened.close()
        assert not office.is_full()
        office.fill()
        assert office.is_full()
        assert len(notices_of(office, ALICE)) == 2

    def test_is_noted_in_the_logs(self, office: Office) -> None:
        with capturedLogs() as events:
            entry = accepted(office)
        assert f"{entry.queue_id}: from=<>, size=" in office.side.log_text()
        assert [event["log_level"] for event in events] == [LogLevel.warn]

    def test_is_told_at_the_next_chance_where_the_store_fails(self, office: Office) -> None:
        office.fill()
        office.side.database.failures.append(StoreError("disk full"))
        with capturedLogs() as events:
            assert office.is_full()
        assert any("log_failure" in event for event in events)
        assert notices_of(office, ALICE) == []
        assert office.is_full()
        assert len(notices_of(office, ALICE)) == 1

    def test_that_cannot_be_measured_any_more_is_told_of_in_the_log_only(self, office: Office) -> None:
        office.fill()
        folder = Path(office.side.mailboxes.folder(office.bob))
        usage = result_of(office.side.mailboxes.usage(office.bob))
        assert usage.messages == 1
        (folder / "cur").rmdir()
        (folder / "cur").write_text("no folder")
        with capturedLogs() as events, pytest.raises(NotADirectoryError):
            result_of(office.notices.tell_full(office.bob))
        assert any("log_failure" in event for event in events)


class TestTheNotice:
    def test_has_the_null_reverse_path_and_names_each_reader_once(self, office: Office) -> None:
        entry = accepted(office)
        assert entry.reverse_path is None
        assert [(r.forward_path, r.original) for r in entry.envelope.recipients] == [
            (BOB, BOB),
            (ALICE, POSTMASTER),
        ]

    def test_of_the_postmasters_own_mailbox_goes_there_once(self, office: Office) -> None:
        office.use(FULL_BOB)
        entry = accepted(office)
        assert [recipient.forward_path for recipient in entry.envelope.recipients] == [BOB]

    def test_goes_to_all_who_are_postmaster_and_to_nobody_twice(self, office: Office) -> None:
        alias = Alias("postmaster", DOMAIN, (BOB, ALICE, FAR))
        office.use(Account("alice", DOMAIN), FULL_BOB, alias=alias)
        entry = accepted(office)
        assert [recipient.forward_path for recipient in entry.envelope.recipients] == [BOB, ALICE, FAR]

    def test_goes_to_the_mailbox_alone_where_nobody_is_postmaster(self, office: Office) -> None:
        office.use(alias=Alias("postmaster", DOMAIN, (POSTMASTER,)))
        entry = accepted(office, FULL_BOB)
        assert [recipient.forward_path for recipient in entry.envelope.recipients] == [BOB]

    @pytest.mark.parametrize(("own", "servers"), [("xx", "en"), ("", "xx")])
    def test_speaks_the_accounts_language_else_the_servers(
        self, office: Office, own: str, servers: str
    ) -> None:
        folder = office.side.folder / "reports" / "xx"
        folder.mkdir(parents=True)
        (folder / "quota.txt").write_text("Subject: Hoppla, $account is full\n\n$account $quota_messages\n")
        office.use(Account("alice", DOMAIN), attrs.evolve(FULL_BOB, language=own))
        office.notices.language = servers
        result_of(office.notices.tell_full(office.bob))
        (mail,) = notices_of(office, ALICE)
        assert mail["Subject"] == "Hoppla, bob@example.test is full"


ALARM = Alarm("messages_per_hour", "192.0.2.7", "what.once", ("advice.messages_per_hour",))


class TestAnAlarm:
    def test_reaches_the_postmasters_mailbox_with_what_to_do(self, office: Office) -> None:
        with capturedLogs() as events:
            result_of(office.notices.tell_alarm(ALARM))
        office.side.advance()
        (mail,) = office.side.reports(ALICE)
        assert (
            mail["Subject"] == "Alarm: The limit messages_per_hour has stopped 192.0.2.7 once within an hour"
        )
        assert mail["To"] == "postmaster@example.test"
        assert mail["Return-Path"] == "<>"
        text = mail.get_content()
        assert "What to do: If you know this client" in text
        assert "The setting is messages_per_hour." in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 78
        assert [event["log_level"] for event in events] == [LogLevel.warn]

    def test_speaks_the_servers_language_and_the_log_english(self, office: Office) -> None:
        folder = office.side.folder / "reports" / "xx"
        folder.mkdir(parents=True)
        (folder / "alarm.txt").write_text("Subject: $what!\n\n$what, $advice\n")
        (folder / "situations.txt").write_text("what.once = Hoppla $client\n")
        office.notices.language = "xx"
        with capturedLogs() as events:
            result_of(office.notices.tell_alarm(ALARM))
        office.side.advance()
        (mail,) = office.side.reports(ALICE)
        assert mail["Subject"] == "Hoppla 192.0.2.7!"
        assert "Hoppla 192.0.2.7, If you know this client" in mail.get_content()
        assert events[0]["what"].startswith("The limit messages_per_hour")

    def test_is_in_the_log_alone_where_nobody_is_postmaster(self, office: Office) -> None:
        office.use()
        with capturedLogs() as events:
            result_of(office.notices.tell_alarm(ALARM))
        assert [event["log_level"] for event in events] == [LogLevel.warn]
        assert "look for what sends there" in events[0]["advice"]

    def test_is_in_the_log_where_the_store_fails(self, office: Office) -> None:
        office.side.database.failures.append(StoreError("disk full"))
        with capturedLogs() as events, pytest.raises(StoreError):
            result_of(office.notices.tell_alarm(ALARM))
        assert any("log_failure" in event for event in events)
