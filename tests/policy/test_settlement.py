"""What becomes of an entry after an attempt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs

from kms.domain import reply, status
from kms.domain.address import Mailbox
from kms.domain.envelope import Envelope, Recipient
from kms.domain.outcome import Deferred, Delivered, Failed, Outcome
from kms.domain.queue_entry import QueueEntry
from kms.domain.reply import Reply
from kms.policy.retry import RetryRules
from kms.policy.settlement import SettlementPlan, TriedRecipient, Undelivered, plan_settlement

ARRIVED = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RULES = RetryRules(intervals=(15 * MINUTE, HOUR))
RECIPIENTS = tuple(
    Recipient(number, Mailbox(f"r{number}", "far.test"), Mailbox(f"o{number}", "local.test"))
    for number in (1, 2, 3)
)
ENTRY = QueueEntry(
    number=1,
    envelope=Envelope(Mailbox("anna", "local.test"), RECIPIENTS),
    arrived_at=ARRIVED,
    content_octets=10,
    due_at=ARRIVED,
)
BUSY = Reply(451, status.OTHER_SYSTEM_TROUBLE, "busy")
GONE = Reply(550, status.BAD_MAILBOX, "gone")
DELIVERED = Delivered(Reply(250, status.OK, "ok"), "mx.far.test[192.0.2.1]")
DEFERRED = Deferred(BUSY, "mx.far.test[192.0.2.1]")
FAILED = Failed(GONE, "mx.far.test[192.0.2.1]")


def plan(
    *outcomes: Outcome, age: timedelta = MINUTE, entry: QueueEntry = ENTRY, smarthosts: tuple[int, ...] = ()
) -> SettlementPlan:
    tried = [
        TriedRecipient(recipient, outcome, recipient.recipient_id in smarthosts)
        for recipient, outcome in zip(RECIPIENTS, outcomes, strict=False)
    ]
    return plan_settlement(tried, entry, RULES, ARRIVED + age)


def test_an_entry_whose_recipients_all_have_it_is_done() -> None:
    done = SettlementPlan(failed=(), deferred=(), due_at=None, warn=False, finished=(1, 2))
    assert plan(DELIVERED, DELIVERED) == done


def test_each_recipient_gets_its_own_outcome() -> None:
    settled = plan(DELIVERED, DEFERRED, FAILED)
    assert settled.failed == (Undelivered(RECIPIENTS[2], GONE, GONE, FAILED.where),)
    assert settled.deferred == (Undelivered(RECIPIENTS[1], BUSY, BUSY, DEFERRED.where),)
    assert settled.due_at == ARRIVED + 16 * MINUTE
    assert settled.finished == (1, 3)


def test_the_attempt_just_made_counts() -> None:
    assert plan(DEFERRED, entry=attrs.evolve(ENTRY, attempts=1)).due_at == ARRIVED + MINUTE + HOUR


def test_an_expired_recipient_fails_with_the_last_words_of_the_hop() -> None:
    settled = plan(DEFERRED, age=4 * DAY)
    assert settled.failed == (Undelivered(RECIPIENTS[0], reply.DELIVERY_EXPIRED, BUSY, DEFERRED.where),)
    assert settled.due_at is None


def test_a_plan_says_when_the_attempts_end() -> None:
    assert plan(DEFERRED).until == ARRIVED + 4 * DAY
    assert plan(DEFERRED, DEFERRED, smarthosts=(2,)).until == ARRIVED + 4 * DAY
    assert plan(DEFERRED, DEFERRED, smarthosts=(1, 2)).until is None
    endless = attrs.evolve(RULES, limits_apply_to_smarthost=True)
    tried = [TriedRecipient(RECIPIENTS[0], DEFERRED, True)]
    assert plan_settlement(tried, ENTRY, endless, ARRIVED).until == ARRIVED + 4 * DAY


def test_mail_through_a_smarthost_does_not_expire_with_the_rest() -> None:
    settled = plan(DEFERRED, DEFERRED, age=5 * DAY, smarthosts=(2,))
    assert [item.recipient.recipient_id for item in settled.failed] == [1]
    assert [item.recipient.recipient_id for item in settled.deferred] == [2]
    assert settled.due_at == ARRIVED + 5 * DAY + 15 * MINUTE


def test_the_earliest_time_counts_for_all() -> None:
    settled = plan(DEFERRED, DEFERRED, age=4 * DAY - MINUTE, smarthosts=(1,))
    assert settled.due_at == ARRIVED + 4 * DAY


class TestWarning:
    def test_is_due_once_the_time_is_reached(self) -> None:
        assert not plan(DEFERRED, age=3 * HOUR).warn
        assert plan(DEFERRED, age=4 * HOUR).warn

    def test_is_not_given_twice(self) -> None:
        warned = attrs.evolve(ENTRY, warned_at=ARRIVED + 4 * HOUR)
        assert not plan(DEFERRED, age=5 * HOUR, entry=warned).warn

    def test_waits_when_a_failure_is_reported_in_the_same_attempt(self) -> None:
        assert not plan(DEFERRED, FAILED, age=5 * HOUR).warn


class TestStatusText:
    def test_names_the_hop(self) -> None:
        text = Undelivered(RECIPIENTS[0], GONE, BUSY, "mx.far.test").status_text
        assert text == "mx.far.test: 451 4.3.0 busy"

    def test_names_no_hop_where_none_was_reached(self) -> None:
        assert Undelivered(RECIPIENTS[0], BUSY, BUSY, "none").status_text == "451 4.3.0 busy"
