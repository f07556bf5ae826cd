from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import fail
from twisted.logger import capturedLogs

from kms.domain.account import Account
from kms.domain.address import Mailbox
from kms.domain.content import InlineContent
from kms.domain.dsn_request import MessageRequest, Notify, RecipientRequest
from kms.domain.next_hop import NextHop
from kms.domain.outcome import Handover, Outcome
from kms.policy.retry import RetryRules
from kms.policy.route_table import Refusal, RouteTable
from kms.policy.routing import RoutingRules
from kms.service.outbound import OutboundRules
from kms.store.queue_store import NewEntry, release_leases
from kms.store.schema import StoreError
from tests.support.delivery_side import ALICE, BOB, DOMAIN, FAR, MESSAGE, SMARTHOST, START, DeliverySide
from tests.support.results import result_of
from tests.support.senders import BUSY, REFUSED, TAKEN, AddressedSender, HeldSender

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
GONE = Mailbox("gone", DOMAIN)
OTHER = Mailbox("other", "other.test")

Start = Callable[..., DeliverySide]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def make(sender: object = None, **options: object) -> DeliverySide:
        return DeliverySide(tmp_path, sender or AddressedSender(), **options).start()  # type: ignore[arg-type]

    return make


def far_server(*outcomes: Outcome) -> AddressedSender:
    """Answers for `FAR`, attempt by attempt; the last answer repeats."""
    return AddressedSender({str(FAR): list(outcomes)})


class TestAMessage:
    def test_for_a_mailbox_is_delivered_at_once_and_leaves_the_queue(self, start: Start) -> None:
        side = start()
        entry = side.accept(ALICE)
        side.advance()
        assert len(side.mailbox(ALICE)) == 1
        assert not side.queued()
        assert side.runner.attempts == 0
        log = side.log_text()
        assert f"{entry.queue_id}: to=<alice@example.test>, relay=local" in log
        assert f"{entry.queue_id}: removed" in log

    def test_for_another_server_is_sent_at_once_and_leaves_the_queue(self, start: Start) -> None:
        sender = AddressedSender()
        side = start(sender)
        side.accept(FAR)
        side.advance()
        assert sender.sent == [("far@far.test",)]
        assert not side.queued()

    def test_for_many_at_one_destination_is_one_transaction(self, start: Start) -> None:
        sender = AddressedSender()
        side = start(sender)
        people = [Mailbox(f"p{number}", "far.test") for number in range(3)]
        side.accept(*people, OTHER)
        side.advance()
        assert sorted(sender.sent) == [("other@other.test",), tuple(map(str, people))]

    def test_for_several_domains_is_one_transaction_where_a_smarthost_takes_all(self, start: Start) -> None:
        sender = AddressedSender()
        side = start(sender, smarthosts=(SMARTHOST,))
        side.accept(FAR, OTHER, ALICE)
        side.advance()
        assert sender.sent == [("far@far.test", "other@other.test")]
        assert len(side.mailbox(ALICE)) == 1

    def test_is_held_in_memory_only_until_its_outcome_stands_in_the_store(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kms.service.queue._MOST_HELD", 1)
        side = start()
        side.accept(ALICE)
        assert not side.queue.has_room
        side.advance()
        assert side.queue.has_room

    def test_whose_body_is_a_file_takes_its_file_with_it(self, start: Start) -> None:
        side = start()
        _, content = side.accept_file(ALICE)
        side.advance()
        assert side.removed_bodies == [content.path]
        assert not Path(content.path).exists()
        assert len(side.mailbox(ALICE)) == 1


class TestRoutes:
    HOP = NextHop("hop.test", ("192.0.2.77",), 24, is_lmtp=True)

    def test_for_a_local_domain_take_the_maildirs_place(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender, table=RouteTable({DOMAIN: self.HOP}, frozenset([DOMAIN])))
        side.accept(ALICE, BOB)
        side.advance()
        [sending] = sender.sendings
        assert sending.hops == (self.HOP,)
        assert len(sending.recipients) == 2
        assert side.mailbox(ALICE) == []
        sender.finish()
        side.advance()
        assert not side.queued()

    def test_for_a_sender_leave_the_local_mailboxes_alone(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender, table=RouteTable({f"@{DOMAIN}": self.HOP}, frozenset([DOMAIN])))
        side.accept(BOB, FAR, OTHER)
        side.advance()
        assert len(side.mailbox(BOB)) == 1
        [sending] = sender.sendings
        assert sending.hops == (self.HOP,)
        assert len(sending.recipients) == 2

    def test_are_no_smarthost_so_mail_expires(self, start: Start) -> None:
        table = RouteTable({FAR.domain: self.HOP})
        side = start(
            far_server(BUSY), table=table, smarthosts=(SMARTHOST,), rules=RetryRules(bounce_after=HOUR)
        )
        side.accept(FAR)
        side.pass_time(2 * HOUR, 10 * MINUTE)
        assert not side.queued()
        [report] = side.reports()
        assert "5.4.7" in report.as_string()

    def test_of_error_go_back_to_the_sender_with_the_text(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender, table=RouteTable({FAR.domain: Refusal("We do not write to them")}))
        side.accept(FAR)
        side.advance()
        side.advance()
        assert not sender.sendings
        [report] = side.reports()
        assert "We do not write to them" in report.as_string()

    def test_that_a_reload_changed_while_mail_waited_defer_it(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender, limits=OutboundRules(1, 1))
        side.accept(FAR)
        side.accept(FAR)
        side.advance()
        side.routes.rules = RoutingRules(table=RouteTable({FAR.domain: self.HOP}))
        with capturedLogs():
            sender.finish()
            side.advance()
        assert not sender.sendings
        side.advance(HOUR)
        [sending] = sender.sendings
        assert sending.hops == (self.HOP,)


class TestRetries:
    def test_come_at_the_given_time_and_not_before(self, start: Start) -> None:
        sender = far_server(BUSY, TAKEN)
        side = start(sender)
        side.accept(FAR)
        side.advance()
        (entry,) = side.queued()
        assert entry.due_at - START == pytest.approx(timedelta(minutes=30), abs=timedelta(seconds=1))
        side.pass_time(timedelta(minutes=29), MINUTE)
        assert len(sender.sent) == 1
        side.advance(MINUTE)
        assert len(sender.sent) == 2
        assert not side.queued()

    def test_follow_the_list_of_waits_and_its_last_one_repeats(self, start: Start) -> None:
        sender = far_server(BUSY)
        times = []
        side = start(sender, rules=RetryRules((MINUTE, 5 * MINUTE, 20 * MINUTE)))
        sender.watch = lambda: times.append(round((side.clock.now() - START) / MINUTE))
        side.accept(FAR)
        side.pass_time(timedelta(minutes=70), MINUTE / 2)
        assert times == [0, 1, 6, 26, 46, 66]

    def test_count_the_attempts_and_keep_the_last_words(self, start: Start) -> None:
        side = start(far_server(BUSY))
        side.accept(FAR)
        side.advance()
        (entry,) = side.queued()
        assert entry.attempts == 1
        assert entry.last_status == {1: "mx.test: 451 4.7.1 greylisted"}

    def test_obey_rules_that_a_reload_changed(self, start: Start) -> None:
        side = start(far_server(BUSY))
        side.runner.rules = RetryRules((timedelta(hours=9),))
        side.accept(FAR)
        side.advance()
        assert side.queued()[0].due_at >= START + timedelta(hours=9)

    def test_of_many_come_in_the_order_of_their_times(self, start: Start) -> None:
        sender = AddressedSender({"far@far.test": [BUSY, TAKEN], "other@other.test": [BUSY, TAKEN]})
        side = start(sender)
        side.accept(FAR)
        side.advance(10 * MINUTE)
        side.accept(OTHER)
        side.pass_time(timedelta(minutes=32), MINUTE)
        assert sender.sent[2:] == [("far@far.test",), ("other@other.test",)]

    def test_come_though_the_wall_clock_jumped_ahead(self, start: Start) -> None:
        sender = far_server(BUSY, TAKEN)
        side = start(sender)
        side.accept(FAR)
        side.advance()
        side.advance(3 * DAY)
        assert not side.queued()

    def test_of_a_body_in_a_file_send_the_same_again(self, start: Start) -> None:
        side = start(far_server(BUSY, TAKEN))
        side.accept_file(FAR)
        side.advance()
        assert not side.removed_bodies
        side.advance(HOUR)
        assert len(side.removed_bodies) == 1
        assert not side.queued()

    def test_come_where_a_mailbox_could_not_be_written(self, start: Start) -> None:
        side = start()
        place = side.folder / "mailboxes" / DOMAIN
        place.mkdir(parents=True)
        (place / "alice").write_text("no folder")
        with capturedLogs():
            side.accept(ALICE)
            side.advance()
        assert side.waiting() == [("alice@example.test",)]
        (place / "alice").unlink()
        side.advance(HOUR)
        assert len(side.mailbox(ALICE)) == 1
        assert not side.queued()


class TestExpiry:
    RULES = RetryRules((HOUR,), bounce_after=2 * DAY, warn_after=4 * HOUR)

    def test_warns_once_and_gives_up_once(self, start: Start) -> None:
        side = start(far_server(BUSY), rules=self.RULES)
        side.accept(FAR)
        side.pass_time(timedelta(hours=3), HOUR / 2)
        assert not side.mailbox(ALICE)
        side.pass_time(timedelta(hours=40), HOUR / 2)
        assert len(side.reports()) == 1
        side.pass_time(timedelta(hours=10), HOUR / 2)
        assert len(side.reports()) == 2
        texts = [report.as_string() for report in side.reports()]
        assert [("Action: delayed" in text, "Action: failed" in text) for text in texts] == [
            (True, False),
            (False, True),
        ]
        assert not side.queued()

    def test_is_counted_from_the_arrival_also_over_restarts(self, tmp_path: Path) -> None:
        first = DeliverySide(tmp_path, far_server(BUSY), rules=self.RULES).start()
        first.accept(FAR)
        first.advance(5 * HOUR)
        first.crash()
        second = DeliverySide(tmp_path, far_server(BUSY), rules=self.RULES, now=START + 3 * DAY).start()
        second.advance()
        assert len(second.reports()) == 2
        assert not second.queued()

    def test_warns_not_again_after_a_restart(self, tmp_path: Path) -> None:
        first = DeliverySide(tmp_path, far_server(BUSY), rules=self.RULES).start()
        first.accept(FAR)
        first.pass_time(timedelta(hours=6), HOUR)
        first.crash()
        second = DeliverySide(tmp_path, far_server(BUSY), rules=self.RULES, now=START + 7 * HOUR).start()
        second.pass_time(timedelta(hours=6), HOUR)
        assert len(second.reports()) == 1

    def test_is_tried_a_last_time_when_the_time_is_up(self, start: Start) -> None:
        sender = far_server(BUSY)
        side = start(sender, rules=RetryRules((5 * HOUR,), bounce_after=6 * HOUR))
        side.accept(FAR)
        side.pass_time(timedelta(hours=6, minutes=1), MINUTE * 20)
        side.advance(MINUTE)
        assert len(sender.sent) == 3
        assert not side.queued()

    def test_of_a_null_reverse_path_is_only_logged(self, start: Start) -> None:
        side = start(far_server(BUSY), rules=self.RULES)
        side.accept(FAR, sender=None)
        side.pass_time(timedelta(hours=50), HOUR)
        assert not side.queued()
        assert not side.mailbox(ALICE)
        assert side.log_text().count("no notification: the reverse-path is null") == 2


class TestBehindASmarthost:
    RULES = TestExpiry.RULES

    def test_nothing_expires_but_the_warning_stays(self, start: Start) -> None:
        side = start(far_server(BUSY), rules=self.RULES, smarthosts=(SMARTHOST,))
        side.accept(FAR)
        side.pass_time(timedelta(days=5), 2 * HOUR)
        assert len(side.queued()) == 1
        (warning,) = side.reports()
        assert "Action: delayed" in warning.as_string()

    def test_a_refusal_is_reported(self, start: Start) -> None:
        side = start(far_server(REFUSED), rules=self.RULES, smarthosts=(SMARTHOST,))
        side.accept(FAR)
        side.advance()
        assert "Action: failed" in side.reports()[0].as_string()
        assert not side.queued()

    def test_the_time_counts_where_the_rules_say_so(self, start: Start) -> None:
        rules = attrs.evolve(self.RULES, limits_apply_to_smarthost=True)
        side = start(far_server(BUSY), rules=rules, smarthosts=(SMARTHOST,))
        side.accept(FAR)
        side.pass_time(timedelta(hours=50), 2 * HOUR)
        assert not side.queued()
        assert len(side.reports()) == 2


class TestMixedOutcomes:
    A, B, C = (Mailbox(name, "far.test") for name in "abc")

    def sender(self) -> AddressedSender:
        return AddressedSender({"b@far.test": [BUSY, BUSY, TAKEN], "c@far.test": [REFUSED]})

    def test_serve_each_recipient_exactly_once(self, start: Start) -> None:
        sender = self.sender()
        side = start(sender)
        side.accept(self.A, self.B, self.C)
        side.advance()
        assert side.waiting() == [("b@far.test",)]
        side.pass_time(timedelta(hours=2), MINUTE * 10)
        assert sender.sent == [("a@far.test", "b@far.test", "c@far.test"), ("b@far.test",), ("b@far.test",)]
        assert sender.taken == {"a@far.test": 1, "b@far.test": 1}
        assert not side.queued()

    def test_make_one_report_that_names_only_the_failed_one(self, start: Start) -> None:
        side = start(self.sender())
        side.accept(self.A, self.B, self.C)
        side.pass_time(timedelta(hours=2), MINUTE * 10)
        (report,) = side.reports()
        text = report.as_string()
        assert text.count("Final-Recipient:") == 1
        assert "c@far.test" in text
        assert "a@far.test" not in text
        assert "b@far.test" not in text

    def test_never_tell_the_target_behind_an_alias(self, start: Start) -> None:
        side = start(self.sender())
        side.accept(self.A, self.C, originals=(self.A, Mailbox("sales", DOMAIN)))
        side.advance()
        text = side.reports()[0].as_string()
        assert "sales@example.test" in text
        assert "c@far.test" not in text
        assert "orig_to=<sales@example.test>" in side.log_text()

    def test_of_mailbox_and_server_are_settled_as_each_is_done(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        side.accept(ALICE, FAR)
        side.advance()
        assert len(side.mailbox(ALICE)) == 1
        assert side.waiting() == [("far@far.test",)]
        sender.finish()
        assert not side.queued()

    def test_of_a_part_that_cannot_be_recorded_are_recorded_with_the_rest(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        side.accept(ALICE, FAR)
        side.database.failures.append(StoreError("disk full"))
        with capturedLogs() as events:
            side.advance()
        assert events
        assert len(side.waiting()[0]) == 2
        sender.finish()
        assert not side.queued()
        assert len(side.mailbox(ALICE)) == 1

    def test_that_a_part_failed_is_recorded_with_the_report_and_not_before(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        side.accept(GONE, FAR)
        side.advance()
        assert side.waiting() == [("gone@example.test", "far@far.test")]
        sender.finish()
        side.advance()
        assert not side.queued()
        assert "gone@example.test" in side.reports()[0].as_string()

    def test_hold_the_warning_back_when_there_is_a_report_and_send_it_with_the_next_attempt(
        self, start: Start
    ) -> None:
        sender = AddressedSender({"b@far.test": [BUSY], "c@far.test": [BUSY, REFUSED]})
        side = start(sender, rules=RetryRules((5 * HOUR,), warn_after=4 * HOUR))
        side.accept(self.B, self.C)
        side.advance()
        side.advance(5 * HOUR)
        assert len(side.reports()) == 1
        side.advance(5 * HOUR)
        assert len(side.reports()) == 2


class TestReports:
    def test_to_a_foreign_sender_are_sent_with_a_null_reverse_path(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        side.accept(GONE, sender=OTHER)
        side.advance()
        (sending,) = sender.sendings
        assert sending.envelope.reverse_path is None
        assert [str(recipient.forward_path) for recipient in sending.recipients] == ["other@other.test"]

    def test_that_cannot_be_delivered_are_dropped_with_a_line_in_the_log(self, start: Start) -> None:
        sender = AddressedSender({"other@other.test": [REFUSED]})
        side = start(sender)
        side.accept(GONE, sender=OTHER)
        side.advance()
        assert sender.sent == [("other@other.test",)]
        assert not side.queued()
        assert "no notification: the reverse-path is null" in side.log_text()

    def test_to_a_sender_that_does_not_exist_here_are_not_made_and_the_log_says_so(
        self, start: Start
    ) -> None:
        side = start(far_server(REFUSED))
        side.accept(FAR, sender=GONE)
        side.advance()
        assert not side.queued()
        assert "the sender gone@example.test does not exist" in side.log_text()

    def test_stand_in_the_store_in_the_moment_the_failed_recipient_goes(self, start: Start) -> None:
        side = start(far_server(REFUSED))
        side.database.is_held = True
        accepted = side.queue.accept(side.entry(FAR), InlineContent(MESSAGE))
        side.database.release(most=2)
        assert accepted.called
        side.database.release(most=1)
        assert side.waiting() == [("alice@example.test",)]
        assert side.queued()[0].reverse_path is None

    def test_that_cannot_be_made_now_are_made_later_and_nothing_is_sent_again(self, start: Start) -> None:
        sender = far_server(REFUSED)
        side = start(sender)
        faults = [RuntimeError("no report today")]
        real = side.bounces._read_head

        async def read_head(content: object, octets: int) -> bytes:
            if faults:
                raise faults.pop()
            return await real(content, octets)  # type: ignore[arg-type]

        side.bounces._read_head = read_head
        with capturedLogs() as events:
            side.accept(FAR)
            side.advance()
        assert events
        assert side.waiting() == [("far@far.test",)]
        side.advance(timedelta(seconds=5))
        assert len(side.reports()) == 1
        assert len(sender.sent) == 1
        assert not side.queued()


class TestFaults:
    def test_in_the_sender_defer_and_lose_nothing(self, start: Start) -> None:
        sender = AddressedSender()
        sender.faults.append(RuntimeError("a fault of ours"))
        side = start(sender)
        with capturedLogs():
            side.accept(FAR)
            side.advance()
        assert side.waiting() == [("far@far.test",)]
        side.advance(HOUR)
        assert sender.taken == {"far@far.test": 1}
        assert not side.queued()

    def test_of_a_sender_that_forgets_a_recipient_defer_it(self, start: Start) -> None:
        class Forgetful(AddressedSender):
            async def send(self, hops, envelope, recipients, content):  # type: ignore[no-untyped-def]
                outcomes = await super().send(hops, envelope, recipients, content)
                return {number: outcome for number, outcome in outcomes.items() if number != 2} | {99: TAKEN}

        side = start(Forgetful())
        side.accept(FAR, Mailbox("second", "far.test"), ALICE)
        side.advance()
        assert side.waiting() == [("second@far.test",)]

    def test_in_local_delivery_defer_and_lose_nothing(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        side = start()
        monkeypatch.setattr(side.mailboxes, "deliver", lambda items: fail(RuntimeError("a fault of ours")))
        with capturedLogs():
            side.accept(ALICE)
            side.advance()
        assert side.waiting() == [("alice@example.test",)]
        monkeypatch.undo()
        side.advance(HOUR)
        assert len(side.mailbox(ALICE)) == 1

    def test_before_local_delivery_do_not_undo_the_acceptance(self, start: Start) -> None:
        side = start()
        broken = Account("alice", DOMAIN)
        object.__setattr__(broken, "is_enabled", _Breaks())
        side.directory.take({broken.login: broken}, {})
        with capturedLogs():
            side.accept(ALICE)
            side.advance()
        assert side.waiting() == [("alice@example.test",)]
        assert side.runner.attempts == 0


class TestAnOutcomeThatCannotBeRecorded:
    def test_is_tried_until_it_is_and_nothing_is_sent_twice(self, start: Start) -> None:
        sender = AddressedSender()
        side = start(sender)
        side.database.failures.extend([None, *[StoreError("disk full")] * 3])
        with capturedLogs() as events:
            side.accept(FAR)
            side.advance()
            assert side.waiting() == [("far@far.test",)]
            side.pass_time(timedelta(seconds=16), timedelta(seconds=5))
        assert len(events) == 3
        assert sender.taken == {"far@far.test": 1}
        assert not side.queued()

    def test_counts_as_uncommitted_so_that_no_more_is_sent_there(self, start: Start) -> None:
        sender = AddressedSender()
        side = start(sender, limits=OutboundRules(per_destination=1))
        side.database.is_held = True
        for _ in range(4):
            side.queue.accept(side.entry(FAR), InlineContent(MESSAGE))
        side.database.release(most=4)
        assert len(sender.sent) == 2
        side.database.is_held = False
        side.database.release()
        side.advance()
        assert len(sender.sent) == 4
        assert not side.queued()

    def test_is_not_taken_where_the_lease_was_lost_and_the_log_says_so(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        side.accept(FAR)
        release_leases(side.database.connection)
        with capturedLogs() as events:
            sender.finish()
        assert any("lease was lost" in str(event.get("log_format")) for event in events)
        assert len(side.queued()) == 1
        assert side.runner.attempts == 0


class TestARestart:
    def test_frees_the_leases_and_tries_again(self, tmp_path: Path) -> None:
        first = DeliverySide(tmp_path, HeldSender()).start()
        first.accept(FAR)
        first.crash()
        sender = AddressedSender()
        second = DeliverySide(tmp_path, sender, now=START + MINUTE).start()
        second.advance()
        assert sender.sent == [("far@far.test",)]
        assert not second.queued()

    def test_after_the_mailbox_has_the_message_and_before_the_queue_knows_delivers_it_once(
        self, tmp_path: Path
    ) -> None:
        first = DeliverySide(tmp_path, AddressedSender()).start()
        first.accept(ALICE)
        first.database.failures.append(StoreError("the machine dies here"))
        with capturedLogs():
            first.advance()
        assert len(first.mailbox(ALICE)) == 1
        assert len(first.queued()) == 1
        first.crash()
        second = DeliverySide(tmp_path, AddressedSender(), now=START + MINUTE).start()
        second.advance()
        assert len(second.mailbox(ALICE)) == 1
        assert not second.queued()

    def test_after_the_reader_has_seen_the_message_does_not_deliver_it_again(self, tmp_path: Path) -> None:
        first = DeliverySide(tmp_path, AddressedSender()).start()
        first.accept(ALICE)
        first.database.failures.append(StoreError("the machine dies here"))
        with capturedLogs():
            first.advance()
        first.crash()
        new = Path(first.mailboxes.folder(Account("alice", DOMAIN))) / "new"
        (file,) = new.iterdir()
        file.rename(new.with_name("cur") / f"{file.name}:2,S")
        second = DeliverySide(tmp_path, AddressedSender(), now=START + MINUTE).start()
        second.advance()
        assert not second.mailbox(ALICE)
        assert not second.queued()

    def test_with_much_that_waits_does_not_try_what_is_not_due(self, tmp_path: Path) -> None:
        first = DeliverySide(tmp_path, AddressedSender({"far@far.test": [BUSY]})).start()
        for _ in range(20):
            first.accept(FAR)
        first.advance()
        first.crash()
        sender = AddressedSender()
        second = DeliverySide(tmp_path, sender, now=START + MINUTE).start()
        second.advance(5 * MINUTE)
        assert not sender.sent
        second.pass_time(timedelta(minutes=30), MINUTE)
        assert len(sender.sent) == 20

    def test_makes_numbers_above_those_of_before(self, tmp_path: Path) -> None:
        first = DeliverySide(tmp_path, AddressedSender({"far@far.test": [BUSY]})).start()
        before = first.accept(FAR).number
        first.crash()
        second = DeliverySide(tmp_path, AddressedSender(), now=START - DAY).start()
        assert second.accept(ALICE).number > before


ASKED = RecipientRequest(Notify.SUCCESS | Notify.FAILURE | Notify.DELAY)


def actions_of(reports: list[EmailMessage]) -> list[list[tuple[str, str]]]:
    """Of each report, address and action of each recipient."""
    found = []
    for report in reports:
        status = list(report.walk())[2]
        blocks = [part for part in status.walk() if part["Action"]]
        found.append([(str(block["Final-Recipient"])[8:], str(block["Action"])) for block in blocks])
    return sorted(found)


class TestReportsOfSuccess:
    def test_come_for_what_is_in_a_mailbox_and_at_a_hop_that_reports_nothing(self, start: Start) -> None:
        side = start()
        side.accept(BOB, FAR, requests=(ASKED, ASKED), request=MessageRequest(None, "QQ+2B1"))
        side.advance()
        side.advance()
        assert actions_of(side.reports()) == [
            [("bob@example.test", "delivered")],
            [("far@far.test", "relayed")],
        ]
        assert all("Original-Envelope-Id: QQ+1" in report.as_string() for report in side.reports())
        assert not side.queued()
        assert side.log_text().count("sender delivery status notification") == 2

    def test_are_left_to_a_hop_that_was_told_what_is_asked(self, start: Start) -> None:
        side = start(far_server(attrs.evolve(TAKEN, handover=Handover.REPORTING)))
        side.accept(FAR, requests=(ASKED,))
        side.advance()
        assert not side.queued()
        assert not side.reports()

    @pytest.mark.parametrize("request_", [None, RecipientRequest(), RecipientRequest(Notify.NEVER)])
    def test_come_to_nobody_who_has_not_asked(self, start: Start, request_: RecipientRequest | None) -> None:
        side = start()
        side.accept(BOB, FAR, requests=(request_, request_))
        side.advance()
        assert not side.queued()
        assert not side.reports()

    def test_come_never_about_a_report(self, start: Start) -> None:
        side = start()
        side.accept(BOB, FAR, sender=None, requests=(ASKED, ASKED))
        side.advance()
        assert not side.queued()
        assert len(side.mailbox(BOB)) == 1
        assert "no notification: the reverse-path is null" in side.log_text()

    def test_wait_until_the_whole_attempt_is_over(self, start: Start) -> None:
        """So that the recipients are in one report, and it is stored as they are removed."""
        sender = HeldSender()
        side = start(sender)
        side.accept(ALICE, BOB, FAR, requests=(None, ASKED, ASKED))
        side.advance()
        assert side.waiting() == [("bob@example.test", "far@far.test")]
        sender.finish()
        side.advance()
        side.advance()
        assert not side.queued()
        assert len(side.reports()) == 3  # the message, and two reports

    def test_name_all_recipients_of_a_kind_in_one(self, start: Start) -> None:
        side = start()
        side.accept(*(Mailbox(f"r{number}", "far.test") for number in range(3)), requests=(ASKED,) * 3)
        side.advance()
        side.advance()
        ((*rows,),) = actions_of(side.reports())
        assert [action for _, action in rows] == ["relayed"] * 3

    def test_of_an_address_for_several_come_once_and_name_no_target(self, start: Start) -> None:
        side = start(far_server(BUSY, TAKEN))
        sales = Mailbox("sales", DOMAIN)
        targets = (BOB, FAR)
        side.accept(*targets, originals=(sales, sales), requests=(ASKED.expand(),) * 2)
        side.advance()
        side.pass_time(timedelta(hours=1), 10 * MINUTE)
        assert not side.queued()
        assert actions_of(side.reports()) == [[("sales@example.test", "expanded")]]
        assert "far@far.test" not in side.reports()[0].as_string()

    def test_and_of_failure_about_one_message_come_together(self, start: Start) -> None:
        side = start(far_server(REFUSED))
        side.accept(BOB, FAR, requests=(ASKED, RecipientRequest(Notify.FAILURE)))
        side.advance()
        side.advance()
        assert actions_of(side.reports()) == [
            [("bob@example.test", "delivered")],
            [("far@far.test", "failed")],
        ]


class TestACrash:
    @pytest.mark.parametrize("is_committed", [False, True])
    def test_around_the_commit_gives_neither_two_reports_nor_none(
        self, tmp_path: Path, is_committed: bool
    ) -> None:
        first = DeliverySide(tmp_path, far_server(REFUSED)).start()
        first.accept(BOB, FAR, requests=(ASKED, ASKED))
        if not is_committed:
            first.database.failures += [StoreError("the machine dies here")] * 2
        with capturedLogs():
            first.reactor.pump([0.02] * 2)
        assert len(first.queued()) == (0 if is_committed else 1)
        first.crash()
        second = DeliverySide(tmp_path, far_server(REFUSED), now=START + MINUTE).start()
        second.advance()
        second.advance()
        assert not second.queued()
        assert len(second.mailbox(BOB)) == 1
        assert actions_of(second.reports()) == [
            [("bob@example.test", "delivered")],
            [("far@far.test", "failed")],
        ]

    def test_before_the_commit_of_an_expansion_still_tells_it(self, tmp_path: Path) -> None:
        first = DeliverySide(tmp_path, AddressedSender()).start()
        sales = Mailbox("sales", DOMAIN)
        first.accept(BOB, FAR, originals=(sales, sales), requests=(ASKED.expand(),) * 2)
        first.database.failures.append(StoreError("the machine dies here"))
        with capturedLogs():
            first.advance()
        first.crash()
        second = DeliverySide(tmp_path, AddressedSender(), now=START + MINUTE).start()
        second.advance()
        second.advance()
        assert actions_of(second.reports()) == [[("sales@example.test", "expanded")]]


class TestWhatWasNotAsked:
    def test_is_not_reported_though_it_fails(self, start: Start) -> None:
        side = start(far_server(REFUSED))
        side.accept(FAR, requests=(RecipientRequest(Notify.NEVER),))
        side.advance()
        assert not side.queued()
        assert not side.reports()
        assert "status=bounced" in side.log_text()

    def test_is_not_reported_though_it_is_late(self, start: Start) -> None:
        side = start(far_server(BUSY), rules=TestExpiry.RULES)
        side.accept(FAR, OTHER, requests=(RecipientRequest(Notify.FAILURE), None))
        side.pass_time(timedelta(hours=6), HOUR)
        assert len(side.queued()) == 1
        assert not side.reports()
        side.pass_time(timedelta(hours=43), HOUR)
        assert actions_of(side.reports()) == [[("far@far.test", "failed")]]


class TestMoreThanMemoryHolds:
    def test_is_claimed_later(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kms.service.queue._MOST_HELD", 3)
        sender = HeldSender()
        side = start(sender)
        for number in range(8):
            side.accept(Mailbox("far", f"d{number}.test"))
        assert len(sender.sendings) == 3
        assert side.runner.attempts == 3
        while sender.sendings:
            sender.finish()
        assert sender.started == 8
        assert not side.queued()

    def test_is_claimed_a_hundred_at_a_time(self, start: Start) -> None:
        side = start()
        content = InlineContent(MESSAGE)
        for _ in range(250):
            new = NewEntry(side.entry(ALICE), content, is_leased=False)
            result_of(side.database.run_batched(side.queue._store.add, new))
        side.runner.wake()
        side.advance()
        assert not side.queued()
        assert len(side.mailbox(ALICE)) == 250

    def test_is_looked_for_again_though_nobody_says_that_there_is_room(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kms.service.queue._MOST_HELD", 2)
        side = start()
        side.database.is_held = True
        lost = [side.queue.accept(side.entry(ALICE), InlineContent(MESSAGE)) for _ in range(2)]
        side.database.is_held = False
        side.accept(BOB)
        side.advance()
        assert not side.mailbox(BOB)
        side.database.failures.extend([StoreError("disk full")] * 2)
        for accepted in lost:
            accepted.addErrback(lambda failure: failure.trap(StoreError))
        side.database.release()
        side.advance(MINUTE)
        assert len(side.mailbox(BOB)) == 1


class TestDamagedEntries:
    def test_are_set_aside_and_logged_and_stop_nobody(self, start: Start) -> None:
        side = start(far_server(BUSY))
        damaged = side.accept(FAR)
        side.accept(FAR)
        side.advance()
        side.database.connection.execute("DELETE FROM content WHERE number = ?", (damaged.number,))
        with capturedLogs() as events:
            side.advance(HOUR)
        assert f"{damaged.queue_id}: set aside: the content is missing" in side.log_text()
        assert any(event.get("queue_id") == damaged.queue_id for event in events)
        assert len(side.queued()) == 1
        assert side.queued()[0].attempts == 2
        (count,) = side.database.connection.execute(
            "SELECT count(*) FROM message WHERE set_aside_reason IS NOT NULL"
        ).fetchone()
        assert count == 1


class TestTheClock:
    def test_is_left_alone_while_the_queue_is_empty(self, start: Start) -> None:
        side = start()
        side.advance()
        assert not side.reactor.getDelayedCalls()

    def test_wakes_the_runner_not_more_often_than_there_is_something_to_do(self, start: Start) -> None:
        side = start(far_server(BUSY))
        side.accept(FAR)
        side.advance()
        calls = side.database.calls
        side.pass_time(timedelta(minutes=20), timedelta(seconds=1))
        assert side.database.calls - calls <= 2 * 25

    def test_does_not_run_in_circles_for_an_entry_that_is_due_and_already_tried(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        side.accept(FAR)
        release_leases(side.database.connection)
        side.runner.wake()
        calls = side.database.calls
        side.pass_time(timedelta(minutes=2), timedelta(seconds=1))
        assert side.database.calls - calls <= 6
        assert len(sender.sendings) == 1
        sender.finish()
        assert not side.queued()
        assert side.queue._held == 0

    def test_keeps_the_earlier_of_two_times(self, start: Start) -> None:
        sender = AddressedSender({"far@far.test": [BUSY, TAKEN], "other@other.test": [BUSY, TAKEN]})
        side = start(sender, rules=RetryRules((timedelta(seconds=20),)))
        side.accept(FAR)
        side.advance()
        side.runner.rules = RetryRules((timedelta(seconds=40),))
        side.accept(OTHER)
        side.advance(timedelta(seconds=21))
        assert sender.sent[2:] == [("far@far.test",)]

    def test_lets_the_store_rest_after_it_failed(self, start: Start) -> None:
        side = start()
        side.database.failures.append(StoreError("no disk"))
        with capturedLogs() as events:
            side.runner.wake()
        assert len(events) == 1
        new = NewEntry(side.entry(ALICE), InlineContent(MESSAGE), is_leased=False)
        result_of(side.database.run_batched(side.queue._store.add, new))
        side.advance(timedelta(seconds=4))
        assert not side.mailbox(ALICE)
        side.advance(timedelta(seconds=2))
        assert len(side.mailbox(ALICE)) == 1

    def test_does_not_make_two_claims_at_one_time(self, start: Start) -> None:
        side = start()
        side.database.is_held = True
        side.runner.wake()
        side.runner.wake()
        side.runner.wake()
        assert side.database.pending == 1
        side.database.release(most=1)
        assert side.database.pending == 1
        side.database.release()
        assert side.database.pending == 0


class TestStopping:
    def test_claims_nothing_more(self, start: Start) -> None:
        sender = far_server(BUSY, TAKEN)
        side = start(sender)
        side.accept(FAR)
        side.advance()
        side.runner.stop()
        side.advance(HOUR)
        side.runner.wake()
        assert len(sender.sent) == 1
        assert not side.reactor.getDelayedCalls()

    def test_begins_nothing_of_what_was_claimed_in_that_moment(self, start: Start) -> None:
        side = start(far_server(BUSY, TAKEN))
        side.accept(FAR)
        side.advance()
        side.database.is_held = True
        side.advance(HOUR)
        side.runner.stop()
        side.database.is_held = False
        side.database.release()
        assert side.runner.attempts == 0
        assert side.queue._held == 0
        assert len(side.queued()) == 1

    def test_keeps_what_is_still_accepted_for_the_next_start(self, start: Start) -> None:
        side = start()
        side.runner.stop()
        side.accept(ALICE)
        side.advance()
        assert not side.mailbox(ALICE)
        assert len(side.queued()) == 1
        assert side.queue._held == 0
        side.start()
        side.advance()
        assert len(side.mailbox(ALICE)) == 1

    def test_lets_what_is_under_way_end_and_be_recorded(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        side.accept(FAR)
        side.runner.stop()
        sender.finish()
        assert result_of(side.runner.idle()) is None
        assert not side.queued()

    def test_is_over_when_every_known_outcome_is_recorded(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        side.accept(FAR)
        side.runner.stop()
        side.database.is_held = True
        sender.finish()
        idle = side.runner.idle()
        assert not idle.called
        side.database.release()
        assert idle.called

    def test_does_not_wait_for_deliveries_that_have_no_outcome(self, start: Start) -> None:
        side = start(HeldSender())
        side.accept(FAR)
        side.runner.stop()
        assert side.runner.idle().called

    def test_leaves_the_report_of_a_last_failure_for_the_next_start(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        side.accept(FAR)
        side.runner.stop()
        sender.finish(REFUSED)
        side.advance(MINUTE)
        assert side.waiting() == [("alice@example.test",)]
        side.start()
        side.advance()
        assert len(side.reports()) == 1

    def test_leaves_what_waits_for_its_next_attempt_without_a_timer(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        side.accept(FAR)
        side.runner.stop()
        sender.finish(BUSY)
        side.log.lines.flush()
        assert not side.reactor.getDelayedCalls()


class _Breaks:
    def __bool__(self) -> bool:
        raise RuntimeError("a fault of ours")
