from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from kms.config.delivery_settings import QueueSettings
from kms.config.relay_settings import DomainsSettings
from kms.config.server_settings import ServerSettings
from kms.config.settings import Settings
from kms.domain.address import Mailbox
from kms.domain.queue_entry import QueueEntry
from kms.policy.retry import RetryRules
from kms.service.queue_control import QueueControl
from kms.store.administration import NotFound
from kms.store.bodies import body_path
from kms.store.queue_query import QueryError
from kms.store.queue_work import QueueOrder
from tests.support.delivery_side import ALICE, DOMAIN, FAR, SMARTHOST, DeliverySide
from tests.support.results import result_of
from tests.support.senders import BUSY, TAKEN, AddressedSender, HeldSender

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
OTHER = Mailbox("other", "other.test")
BY = "uid 7, joe"


class OperatedSide(DeliverySide):
    """A delivery side with an operator."""

    def operate(self) -> "OperatedSide":
        self.settings = Settings(
            domains=DomainsSettings(local=(DOMAIN,)), server=ServerSettings(data_dir=self.folder)
        )
        self.control = QueueControl(self)
        self.control.load(self.database.connection)
        self.start()
        return self

    def order(self, order: QueueOrder, *ids: str, **more: Any) -> dict[str, Any]:
        asked = {"ids": list(ids), **more}
        facts = result_of(self.control.order(order, asked, BY))
        self.advance()
        return facts

    def rows(self, *query: str, is_trash: bool = False) -> list[dict[str, Any]]:
        return list(result_of(self.control.list(query, "", 100, is_trash)))

    def states(self) -> list[str]:
        return [row["state"] for row in self.rows()]

    def show(self, entry: QueueEntry) -> dict[str, Any]:
        return result_of(self.control.show(entry.queue_id))


Start = Callable[..., OperatedSide]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return lambda sender=None, **options: OperatedSide(
        tmp_path, sender or AddressedSender({str(FAR): [BUSY]}), **options
    ).operate()


def deferred(side: OperatedSide, *recipients: Mailbox) -> QueueEntry:
    entry = side.accept(*(recipients or (FAR,)))
    side.advance()
    return entry


class TestOrders:
    def test_a_retry_acts_at_once(self, start: Start) -> None:
        sender = AddressedSender({str(FAR): [BUSY, TAKEN]})
        side = start(sender)
        entry = deferred(side)
        assert side.order(QueueOrder.RETRY, entry.queue_id)["count"] == 1
        assert len(sender.sent) == 2
        assert not side.rows()

    def test_what_is_held_is_not_tried_until_its_release(self, start: Start) -> None:
        sender = AddressedSender({str(FAR): [BUSY, TAKEN]})
        side = start(sender)
        entry = deferred(side)
        side.order(QueueOrder.HOLD, entry.queue_id)
        side.pass_time(3 * HOUR, HOUR)
        assert len(sender.sent) == 1
        assert side.order(QueueOrder.RETRY, entry.queue_id)["unfit"] == 1
        side.order(QueueOrder.RELEASE, entry.queue_id)
        assert len(sender.sent) == 2

    def test_a_hold_of_what_is_being_tried_waits_for_its_outcome(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        entry = deferred(side)
        assert side.order(QueueOrder.HOLD, entry.queue_id)["busy"] == []
        sender.finish(BUSY)
        side.pass_time(3 * HOUR, HOUR)
        assert sender.started == 1
        assert side.states() == ["held"]

    def test_what_is_being_tried_is_busy_and_nothing_becomes_of_the_order(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        entry = deferred(side)
        for order in (QueueOrder.REMOVE, QueueOrder.BOUNCE, QueueOrder.REROUTE):
            facts = side.order(order, entry.queue_id, next_hop="b.test")
            assert (facts["count"], facts["busy"]) == (0, [entry.queue_id])
        sender.finish(TAKEN)
        side.advance()
        assert not side.rows()
        assert not side.rows(is_trash=True)

    def test_what_only_waits_for_its_turn_is_taken_back_first(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        entries = [side.accept(FAR) for _ in range(8)]
        side.advance()
        assert sender.started == 5
        facts = side.order(QueueOrder.REMOVE, query=["domain=far.test"])
        assert (facts["count"], len(facts["busy"])) == (3, 5)
        for _ in range(5):
            sender.finish(TAKEN)
        side.advance(HOUR)
        assert sender.started == 5
        assert [row["queue_id"] for row in side.rows(is_trash=True)] == [e.queue_id for e in entries[5:]]

    def test_a_bounce_is_the_normal_report(self, start: Start) -> None:
        side = start()
        entry = deferred(side)
        side.order(QueueOrder.BOUNCE, entry.queue_id)
        side.advance(MINUTE)
        assert not side.rows()
        (report,) = side.reports()
        assert report.get_content_type() == "multipart/report"
        assert "5.3.0" in report.as_string()
        assert "status=bounced" in side.log_text()

    def test_what_was_removed_comes_back_with_its_recipients(self, start: Start) -> None:
        sender = AddressedSender({str(FAR): [BUSY, TAKEN], str(OTHER): [BUSY, TAKEN]})
        side = start(sender)
        entry = deferred(side, FAR, OTHER)
        side.order(QueueOrder.REMOVE, entry.queue_id)
        assert not side.rows()
        assert len(side.rows(is_trash=True)[0]["recipients"]) == 2
        side.pass_time(5 * HOUR, HOUR)
        assert len(sender.sent) == 2
        side.order(QueueOrder.RESTORE, entry.queue_id)
        assert len(sender.sent) == 4
        assert not side.rows()

    def test_the_trash_is_emptied_in_its_time_and_body_files_with_it(self, start: Start) -> None:
        side = start()
        entry, content = side.accept_file(FAR)
        side.advance()
        side.order(QueueOrder.REMOVE, entry.queue_id)
        side.advance(23 * HOUR)
        result_of(side.control.sweep())
        assert side.rows(is_trash=True)
        side.advance(2 * HOUR)
        result_of(side.control.sweep())
        assert not side.rows(is_trash=True)
        assert side.removed_bodies == [content.path]
        assert not body_path(side.spool, entry.number).exists()

    def test_a_reroute_goes_another_way_also_after_a_restart(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        entry = deferred(side)
        sender.finish(BUSY)
        side.advance()
        side.order(QueueOrder.REROUTE, entry.queue_id, next_hop="192.0.2.9:2525")
        assert (sender.sendings[0].hops[0].host, sender.sendings[0].hops[0].port) == ("192.0.2.9", 2525)
        sender.finish(BUSY)
        side.advance()
        assert side.show(entry)["next_hop"] == "192.0.2.9:2525"
        side.crash()
        again = start(sender)
        again.order(QueueOrder.RETRY, entry.queue_id)
        assert sender.sendings[0].hops[0].host == "192.0.2.9"

    def test_a_dry_run_counts_and_changes_nothing(self, start: Start) -> None:
        side = start()
        entry = deferred(side)
        facts = side.order(QueueOrder.REMOVE, query=["age>0"], dry_run=True)
        assert (facts["count"], facts["sample"], facts["recipients"]) == (1, [entry.queue_id], 1)
        assert len(side.rows()) == 1

    def test_an_id_that_is_not_there_hinders_the_whole_order(self, start: Start) -> None:
        side = start()
        entry = deferred(side)
        with pytest.raises(NotFound):
            side.order(QueueOrder.REMOVE, entry.queue_id, "1234")
        assert len(side.rows()) == 1

    @pytest.mark.parametrize(
        "asked", [{}, {"ids": ["1"], "query": ["age>1"]}, {"query": ["to:x"]}, {"query": ["age=1"]}]
    )
    def test_what_makes_no_sense_is_refused(self, start: Start, asked: dict[str, Any]) -> None:
        with pytest.raises(QueryError):
            result_of(start().control.order(QueueOrder.HOLD, asked, BY))

    def test_each_order_stands_in_the_life_of_the_message(self, start: Start) -> None:
        side = start()
        entry = deferred(side)
        side.order(QueueOrder.HOLD, entry.queue_id)
        assert (side.show(entry)["events"][-1]["order"], side.show(entry)["events"][-1]["by"]) == ("hold", BY)


class TestWithholding:
    def test_offline_holds_what_leaves_and_delivers_to_mailboxes(self, start: Start) -> None:
        sender = AddressedSender()
        side = start(sender)
        result_of(side.control.go_offline(True, False, BY))
        side.accept(FAR, ALICE)
        side.pass_time(9 * 24 * HOUR, 24 * HOUR)
        assert sender.sent == []
        assert len(side.mailbox(ALICE)) == 1, "neither a warning nor a bounce came"
        assert side.states() == ["offline"]
        result_of(side.control.go_offline(False, False, BY))
        side.advance()
        assert sender.sent == [("far@far.test",)]

    def test_a_configured_offline_cannot_be_ended_by_word_but_by_a_reload(self, start: Start) -> None:
        sender = AddressedSender()
        side = start(sender)
        side.control.use(attrs.evolve(side.settings, queue=QueueSettings(offline=True)))
        side.accept(FAR)
        side.advance()
        assert side.states() == ["offline"]
        with pytest.raises(QueryError, match="configuration"):
            result_of(side.control.go_offline(False, False, BY))
        side.control.use(side.settings)
        side.advance()
        assert not side.rows()

    def test_a_suspended_destination_waits_and_others_do_not(self, start: Start) -> None:
        sender = AddressedSender()
        side = start(sender)
        result_of(side.control.suspend("FAR.test", True, False, BY))
        side.accept(FAR)
        side.accept(OTHER)
        side.accept(FAR, OTHER)
        side.advance()
        assert sender.sent == [("other@other.test",)] * 2
        assert side.states() == ["suspended", "suspended"]
        side.crash()
        again = start(sender)
        again.advance(HOUR)
        assert again.control.state()["suspended"] == ["far.test"]
        result_of(again.control.suspend("far.test", False, False, BY))
        again.advance()
        assert not again.rows()

    def test_a_pause_begins_nothing_and_survives_a_restart(self, start: Start) -> None:
        sender = AddressedSender()
        side = start(sender)
        result_of(side.control.pause(True, False, BY))
        side.accept(ALICE)
        side.advance(HOUR)
        side.crash()
        again = start(sender)
        again.advance(HOUR)
        assert not again.mailbox(ALICE)
        result_of(again.control.pause(False, False, BY))
        again.advance()
        assert len(again.mailbox(ALICE)) == 1

    def test_a_pause_takes_back_what_waits_for_its_turn(self, start: Start) -> None:
        sender = HeldSender()
        side = start(sender)
        for _ in range(8):
            side.accept(FAR)
        side.advance()
        result_of(side.control.pause(True, False, BY))
        for _ in range(5):
            sender.finish(TAKEN)
        side.advance(HOUR)
        assert (sender.started, len(side.rows())) == (5, 3)
        result_of(side.control.pause(False, False, BY))
        side.advance()
        assert sender.started == 8

    def test_a_dry_run_withholds_nothing(self, start: Start) -> None:
        side = start()
        assert result_of(side.control.pause(True, True, BY))["paused"]
        assert not side.control.state()["paused"]

    def test_run_tries_all_that_waits_for_its_time(self, start: Start) -> None:
        sender = AddressedSender({str(FAR): [BUSY, TAKEN]})
        side = start(sender)
        deferred(side)
        assert result_of(side.control.run_all(True, BY))["count"] == 1
        assert result_of(side.control.run_all(False, BY))["count"] == 1
        side.advance()
        assert not side.rows()


class TestReading:
    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ("", 2),
            ("from=ALICE@*", 2),
            ("from=<>", 0),
            ("to=far@far.test", 1),
            ("domain=*.test status=deferred", 2),
            ("status=*greylisted*", 1),
            ("status=held", 0),
            ("age>1h", 0),
            ("age<1h,size<1KB", 2),
            ("size>1KB", 0),
        ],
    )
    def test_filters(self, start: Start, query: str, count: int) -> None:
        refused = attrs.evolve(BUSY, reply=attrs.evolve(BUSY.reply, text="busy"))
        side = start(AddressedSender({str(FAR): [BUSY], str(OTHER): [refused]}))
        deferred(side)
        deferred(side, OTHER)
        assert len(side.rows(query)) == count

    def test_the_first_page_reads_no_more_than_its_rows(self, start: Start) -> None:
        side = start()
        plan = side.database.connection.execute(
            "EXPLAIN QUERY PLAN SELECT message.number FROM message WHERE parked IS NOT 'trash'"
            " AND message.number > 0 ORDER BY message.number LIMIT 100"
        ).fetchall()
        assert "PRIMARY KEY" in str(plan)
        assert "TEMP B-TREE" not in str(plan)

    def test_pages_follow_each_other(self, start: Start) -> None:
        side = start()
        entries = [deferred(side) for _ in range(3)]
        page = result_of(side.control.list((), entries[0].queue_id, 1, False))
        assert [row["queue_id"] for row in page] == [entries[1].queue_id]

    def test_counts_by_state(self, start: Start) -> None:
        side = start()
        entries = [deferred(side) for _ in range(3)]
        side.order(QueueOrder.HOLD, entries[0].queue_id)
        side.order(QueueOrder.REMOVE, entries[1].queue_id)
        facts = result_of(side.control.count())
        assert (facts["messages"], facts["trash"]["messages"]) == (2, 1)
        assert {state: found["messages"] for state, found in facts["states"].items()} == {
            "held": 1,
            "waiting": 1,
        }


def test_the_forecast_is_what_the_scheduler_does(start: Start) -> None:
    rules = RetryRules((10 * MINUTE, 20 * MINUTE, HOUR), bounce_after=9 * HOUR, warn_after=4 * HOUR)
    sender = AddressedSender({str(FAR): [BUSY]})
    side = start(sender, rules=rules)
    tries: list[float] = []
    sender.watch = lambda: tries.append((side.clock.now() - began) / MINUTE)
    began = side.clock.now()
    deferred(side)
    tries.clear()
    facts = result_of(side.control.forecast((), timedelta(hours=24)))
    foreseen = {
        kind: [event["at"] for event in facts["events"] if event["kind"] == kind] for kind in ("try", "warn")
    }
    warned: list[float] = []
    bounced: list[float] = []
    for _ in range(24 * 60):
        side.advance(MINUTE)
        reports = len(side.reports())
        warned += [(side.clock.now() - began) / MINUTE] * (reports == 1 and not warned)
        bounced += [(side.clock.now() - began) / MINUTE] * (reports == 2 and not bounced)
    expected = [hour["from"] for hour in facts["hours"]]
    assert expected
    assert len(tries) == len(foreseen["try"])
    sent_at = [_minutes(at, began) for at in foreseen["try"]]
    assert tries == pytest.approx(sent_at, abs=1.5)
    assert warned == pytest.approx([_minutes(at, began) for at in foreseen["warn"]], abs=3)
    assert bounced == pytest.approx([tries[-1]], abs=3)
    assert [hour["bounce"] for hour in facts["hours"]][-1] == 1


def test_the_forecast_knows_who_waits_for_the_rate_and_no_attempt_is_counted(start: Start) -> None:
    sender = AddressedSender()
    side = start(sender)
    side.runner.withholding.set_rate(2)
    began = side.clock.now()
    tries: list[float] = []
    sender.watch = lambda: tries.append((side.clock.now() - began) / MINUTE)
    for _ in range(5):
        side.accept(FAR, OTHER)
        side.advance(10 * MINUTE)
    assert tries == pytest.approx([0, 0, 10, 10], abs=0.5)
    assert [(entry.attempts, entry.last_status) for entry in side.queued()] == [(0, {})] * 3
    facts = result_of(side.control.forecast((), timedelta(hours=3)))
    first = {event["queue_id"]: event["at"] for event in reversed(facts["events"]) if event["kind"] == "try"}
    foreseen = sorted(_minutes(at, began) for at in first.values())
    assert foreseen == pytest.approx([60, 70, 120], abs=1)
    side.pass_time(3 * HOUR, MINUTE)
    assert tries[4:] == pytest.approx([60, 60, 70, 70, 120, 120], abs=1.5)
    assert not side.queued()
    assert "status=deferred" not in side.log_text()


def test_a_rate_holds_one_domain_of_a_message_back_and_not_the_other(start: Start) -> None:
    sender = AddressedSender({str(OTHER): [BUSY, TAKEN]})
    side = start(sender, rules=RetryRules((10 * MINUTE,)))
    side.runner.withholding.set_rate(1)
    side.accept(FAR)
    side.advance()
    side.accept(FAR, OTHER)
    side.advance()
    assert side.waiting() == [(str(FAR), str(OTHER))]
    side.pass_time(HOUR + 2 * MINUTE, MINUTE)
    assert side.waiting() == []
    assert sender.sent == [
        ("far@far.test",), ("other@other.test",), ("far@far.test",), ("other@other.test",)
    ]  # fmt: skip


def test_a_rate_of_a_reload_counts_from_the_next_attempt_on(start: Start) -> None:
    sender = AddressedSender()
    side = start(sender)
    for rate, sent in ((0, 2), (1, 3), (0, 5)):
        delivery = attrs.evolve(side.settings.delivery, rate_per_destination=rate)
        side.control.use(attrs.evolve(side.settings, delivery=delivery))
        side.accept(FAR)
        side.accept(FAR)
        side.advance()
        assert len(sender.sent) == sent


def test_a_restart_keeps_the_times_of_those_who_wait(start: Start) -> None:
    sender = AddressedSender()
    side = start(sender)
    side.runner.withholding.set_rate(1)
    for _ in range(3):
        side.accept(FAR)
    side.advance()
    waits = [(entry.due_at - side.clock.now()) / MINUTE for entry in side.queued()]
    assert waits == pytest.approx([60, 120], abs=1)


def _minutes(at: str, began: datetime) -> float:
    return (datetime.fromisoformat(at) - began) / MINUTE


def test_changed_rules_apply_to_what_is_queued_already(start: Start) -> None:
    side = start()
    entry = deferred(side)
    side.runner.rules = RetryRules((MINUTE,), bounce_after=2 * HOUR, warn_after=HOUR)
    assert side.show(entry)["bounce_at"] is not None
    side.pass_time(3 * HOUR, 10 * MINUTE)
    assert not side.rows()
    assert len(side.reports()) == 2, "one warning and one bounce"


def test_a_new_smarthost_takes_what_is_queued_already(start: Start) -> None:
    sender = HeldSender()
    side = start(sender)
    deferred(side)
    sender.finish(BUSY)
    side.advance()
    side.routes.rules = attrs.evolve(side.routes.rules, smarthosts=(SMARTHOST,))
    side.advance(HOUR)
    assert sender.sendings[0].hops[0].host == "smart.test"
