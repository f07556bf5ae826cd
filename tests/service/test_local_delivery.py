from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred as Waiting
from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from kms.config.relay_settings import DomainsSettings
from kms.config.settings import Settings
from kms.domain import reply
from kms.domain.address import Mailbox
from kms.domain.content import Content, FileContent, InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.outcome import Deferred, Delivered, Failed, Handover, Outcome
from kms.domain.queue_entry import QueueEntry, format_queue_id
from kms.service.clock import ClockOf
from kms.service.directory import DirectoryCache
from kms.service.local_delivery import LocalDelivery, LocalRecipient
from kms.service.mailboxes import Mailboxes
from kms.store.maildir import MailboxDelivery
from tests.support.delivery_side import ALICE, BOB, DOMAIN, FAR, MESSAGE, START, accounts
from tests.support.synchronous_database import SynchronousDatabase


class WatchedMailboxes(Mailboxes):
    """Real mailboxes that note the batches; `hold` makes the answers wait, `fault` breaks the next batch."""

    def __init__(self, root: Path, clock: ClockOf) -> None:
        super().__init__(root, clock, None)
        self.batches: list[int] = []
        self.names: list[str] = []
        self.fault: Exception | None = None
        self.is_held = False
        self.held: list[Callable[[], object]] = []

    def deliver(self, items: Sequence[MailboxDelivery]) -> Waiting[list[OSError | None]]:
        self.batches.append(len(items))
        self.names += [item.name for item in items]
        if self.fault is not None:
            fault, self.fault = self.fault, None
            return fail(fault)
        if not self.is_held:
            return super().deliver(items)
        waiting: Waiting[list[OSError | None]] = Waiting()
        real = super().deliver
        self.held.append(lambda: real(items).chainDeferred(waiting))
        return waiting


class Rig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reactor = Clock()
        clock = ClockOf(self.reactor)
        self.mailboxes = WatchedMailboxes(folder / "mailboxes", clock)
        settings = Settings(domains=DomainsSettings(local=(DOMAIN,)))
        self.directory = DirectoryCache(SynchronousDatabase(), settings)
        self.directory.take(accounts("alice", "bob"), {})
        self.local = LocalDelivery(self.mailboxes, self.directory, clock, "mail.example.test")
        self.outcomes: list[tuple[Mailbox, Outcome]] = []

    def deliver(
        self,
        mailbox: Mailbox,
        content: Content | None = None,
        *,
        sender: Mailbox | None = FAR,
        original: Mailbox | None = None,
        number: int = 32,
        fence: int = 0,
    ) -> None:
        recipient = Recipient(1, mailbox, original or mailbox)
        entry = QueueEntry(number, Envelope(sender, (recipient,)), START, 1, START, fence=fence)
        self.local.deliver(
            LocalRecipient(
                entry,
                recipient,
                content or InlineContent(MESSAGE),
                lambda item, outcome: self.outcomes.append((item.recipient.forward_path, outcome)),
            )
        )

    def run(self) -> None:
        self.reactor.pump([0.02] * 3)

    def messages(self, mailbox: Mailbox) -> list[bytes]:
        folder = self.folder / "mailboxes" / mailbox.domain / mailbox.local_part / "Maildir" / "new"
        return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.exists() else []


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


class TestAMessage:
    def test_lies_in_the_mailbox_when_it_is_said_to_be_delivered(self, rig: Rig) -> None:
        rig.deliver(ALICE)
        rig.run()
        assert rig.outcomes == [
            (ALICE, Delivered(reply.DELIVERED_TO_MAILBOX, "local", handover=Handover.FINAL))
        ]
        (data,) = rig.messages(ALICE)
        assert data == (
            b"Return-Path: <far@far.test>\nDelivered-To: alice@example.test\n"
            + MESSAGE.replace(b"\r\n", b"\n")
        )

    def test_with_a_null_reverse_path_says_so(self, rig: Rig) -> None:
        rig.deliver(ALICE, sender=None)
        rig.run()
        assert rig.messages(ALICE)[0].startswith(b"Return-Path: <>\n")

    def test_names_the_address_that_rcpt_named_where_that_is_wanted(self, rig: Rig) -> None:
        rig.local.adds_envelope_to = True
        rig.deliver(ALICE, original=Mailbox("sales", DOMAIN))
        rig.run()
        assert b"\nX-Envelope-To: <sales@example.test>\n" in rig.messages(ALICE)[0]

    def test_is_never_answered_before_it_was_taken(self, rig: Rig) -> None:
        rig.deliver(Mailbox("nobody", DOMAIN))
        assert not rig.outcomes
        rig.run()
        assert len(rig.outcomes) == 1

    def test_that_comes_again_after_a_crash_finds_its_own_file(self, rig: Rig) -> None:
        rig.deliver(ALICE)
        rig.run()
        rig.deliver(ALICE, fence=2)
        rig.run()
        assert [type(outcome) for _, outcome in rig.outcomes] == [Delivered, Delivered]
        assert len(rig.messages(ALICE)) == 1

    def test_that_comes_again_after_its_reader_has_seen_it_is_not_delivered_twice(self, rig: Rig) -> None:
        rig.deliver(ALICE)
        rig.run()
        new = rig.folder / "mailboxes" / DOMAIN / "alice" / "Maildir" / "new"
        (file,) = new.iterdir()
        file.rename(new.with_name("cur") / f"{file.name}:2,S")
        rig.deliver(ALICE, fence=2)
        rig.run()
        assert isinstance(rig.outcomes[-1][1], Delivered)
        assert not rig.messages(ALICE)

    def test_has_a_file_name_of_queue_id_and_recipient(self, rig: Rig) -> None:
        rig.deliver(ALICE, number=33)
        rig.run()
        assert rig.mailboxes.names == [f"{int(START.timestamp())}.{format_queue_id(33)}R1.mail.example.test"]


class TestRefusals:
    def test_an_account_that_is_gone_is_a_failure(self, rig: Rig) -> None:
        rig.deliver(Mailbox("nobody", DOMAIN))
        rig.run()
        assert rig.outcomes[0][1] == Failed(reply.UNKNOWN_RECIPIENT, "local")

    def test_an_account_that_is_disabled_is_a_failure(self, rig: Rig) -> None:
        disabled = {
            login: attrs.evolve(account, is_enabled=False) for login, account in accounts("alice").items()
        }
        rig.directory.take(disabled, {})
        rig.deliver(ALICE)
        rig.run()
        assert rig.outcomes[0][1] == Failed(reply.MAILBOX_DISABLED, "local")

    @pytest.mark.parametrize("value", [b"alice@example.test", b" Alice@EXAMPLE.test "])
    def test_a_message_that_was_in_the_mailbox_already_is_a_loop(self, rig: Rig, value: bytes) -> None:
        rig.deliver(ALICE, InlineContent(b"delivered-to:" + value + b"\r\n" + MESSAGE), fence=1)
        rig.run()
        assert rig.outcomes[0][1] == Failed(reply.DELIVERED_TO_LOOP, "local")
        assert not rig.messages(ALICE)

    def test_a_message_that_was_in_another_mailbox_is_none(self, rig: Rig) -> None:
        rig.deliver(ALICE, InlineContent(b"Delivered-To: bob@example.test\r\n" + MESSAGE), fence=1)
        rig.run()
        assert isinstance(rig.outcomes[0][1], Delivered)

    def test_a_body_that_quotes_such_a_line_is_none(self, rig: Rig) -> None:
        rig.deliver(ALICE, InlineContent(MESSAGE + b"Delivered-To: alice@example.test\r\n"), fence=1)
        rig.run()
        assert isinstance(rig.outcomes[0][1], Delivered)


class TestTrouble:
    def test_with_one_mailbox_defers_that_recipient_alone(self, rig: Rig) -> None:
        place = rig.folder / "mailboxes" / DOMAIN / "alice"
        place.parent.mkdir(parents=True)
        place.write_text("a file where a folder should be")
        with capturedLogs() as events:
            rig.deliver(ALICE)
            rig.deliver(BOB)
            rig.run()
        assert dict(rig.outcomes) == {
            ALICE: Deferred(reply.MAILBOX_TROUBLE, "local"),
            BOB: Delivered(reply.DELIVERED_TO_MAILBOX, "local", handover=Handover.FINAL),
        }
        assert any(event.get("recipient") == ALICE for event in events)

    def test_with_a_whole_batch_defers_all_of_it_and_the_next_is_written(self, rig: Rig) -> None:
        rig.mailboxes.fault = RuntimeError("the thread is gone")
        with capturedLogs():
            rig.deliver(ALICE)
            rig.deliver(BOB)
            rig.run()
        assert [outcome for _, outcome in rig.outcomes] == [Deferred(reply.MAILBOX_TROUBLE, "local")] * 2
        rig.deliver(ALICE)
        rig.run()
        assert isinstance(rig.outcomes[-1][1], Delivered)

    def test_with_reading_the_body_file_defers(self, rig: Rig) -> None:
        with capturedLogs():
            rig.deliver(ALICE, FileContent(str(rig.folder / "gone"), 10))
            rig.run()
        assert rig.outcomes == [(ALICE, Deferred(reply.MAILBOX_TROUBLE, "local"))]


class TestBatches:
    def test_are_gathered_for_a_moment(self, rig: Rig) -> None:
        rig.deliver(ALICE)
        rig.deliver(BOB, number=33)
        rig.run()
        assert rig.mailboxes.batches == [2]

    def test_are_gathered_while_one_is_written(self, rig: Rig) -> None:
        rig.mailboxes.is_held = True
        rig.deliver(ALICE)
        rig.run()
        for number in range(33, 36):
            rig.deliver(BOB, number=number)
        rig.run()
        assert rig.mailboxes.batches == [1]
        rig.mailboxes.held.pop()()
        assert rig.mailboxes.batches == [1, 3]

    def test_come_less_often_while_much_mail_comes_in(self, rig: Rig) -> None:
        rig.mailboxes.is_held = True
        for number in range(1, 21):
            rig.deliver(ALICE, number=number)
        rig.reactor.advance(0.01)
        rig.deliver(BOB, number=21)
        rig.mailboxes.is_held = False
        rig.mailboxes.held.pop()()
        assert rig.mailboxes.batches == [20]
        rig.reactor.advance(0.09)
        rig.deliver(BOB, number=22)
        assert rig.mailboxes.batches == [20]
        rig.reactor.advance(0.02)
        assert rig.mailboxes.batches == [20, 2]
        assert len(rig.outcomes) == 22

    def test_have_a_greatest_size(self, rig: Rig) -> None:
        for number in range(501):
            rig.deliver(Mailbox("alice", DOMAIN), number=number + 1)
        rig.mailboxes.is_held = True
        rig.run()
        assert rig.mailboxes.batches == [500]
        rig.mailboxes.held.pop()()
        rig.reactor.advance(0.1)
        assert rig.mailboxes.batches == [500, 1]

    def test_tell_everybody_else_when_one_outcome_cannot_be_taken(self, rig: Rig) -> None:
        def fail(_: LocalRecipient, outcome: Outcome) -> None:
            raise RuntimeError("a fault of ours")

        recipient = Recipient(1, ALICE, ALICE)
        entry = QueueEntry(31, Envelope(FAR, (recipient,)), START, 1, START)
        rig.local.deliver(LocalRecipient(entry, recipient, InlineContent(MESSAGE), fail))
        rig.deliver(BOB)
        with capturedLogs() as logs:
            rig.run()
        assert "could not be recorded" in str(logs)
        assert [mailbox for mailbox, _ in rig.outcomes] == [BOB]
        rig.deliver(ALICE, number=33)
        rig.run()
        assert [mailbox for mailbox, _ in rig.outcomes] == [BOB, ALICE]


class TestDraining:
    def test_of_an_idle_server_ends_at_once(self, rig: Rig) -> None:
        assert rig.local.drain().called

    def test_waits_for_the_batch_that_is_written_and_writes_no_other(self, rig: Rig) -> None:
        rig.mailboxes.is_held = True
        rig.deliver(ALICE)
        rig.run()
        rig.deliver(BOB)
        drained = rig.local.drain()
        assert not drained.called
        rig.mailboxes.held.pop()()
        assert drained.called
        assert [mailbox for mailbox, _ in rig.outcomes] == [ALICE]
        rig.run()
        assert rig.mailboxes.batches == [1]

    def test_that_is_cut_short_lets_the_batch_end_later(self, rig: Rig) -> None:
        rig.mailboxes.is_held = True
        rig.deliver(ALICE)
        rig.run()
        drained = rig.local.drain()
        drained.addErrback(lambda _: None)
        drained.cancel()
        rig.mailboxes.held.pop()()
        assert len(rig.outcomes) == 1
