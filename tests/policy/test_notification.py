"""NOTIFY × outcome × next hop: who is told of what (edge case 12)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kms.domain import reply
from kms.domain.address import Mailbox
from kms.domain.dsn_request import Notify, RecipientRequest
from kms.domain.envelope import Envelope, Recipient
from kms.domain.outcome import Deferred, Delivered, Failed, Handover, Outcome
from kms.domain.queue_entry import QueueEntry
from kms.domain.reply import Reply
from kms.domain.report_text import ReportKind
from kms.domain.status import OK, EnhancedStatus
from kms.policy.notification import WantedReports, choose_reports, may_ask_of_success
from kms.policy.retry import RetryRules
from kms.policy.settlement import TriedRecipient, plan_settlement

ARRIVED = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RULES = RetryRules((HOUR,), bounce_after=4 * DAY, warn_after=4 * HOUR)
FAR = Mailbox("far", "far.test")
LIST = Mailbox("sales", "example.test")
SECRETS = (Mailbox("secret", "hidden.test"), Mailbox("hidden", "hidden.test"))
TAKEN, WHERE = Reply(250, OK, "taken"), "mx.far.test[192.0.2.1]:25"
BUSY = Reply(451, EnhancedStatus(4, 3, 0), "busy")
GONE = Reply(550, EnhancedStatus(5, 1, 1), "gone")

IN_MAILBOX = Delivered(TAKEN, "local", handover=Handover.FINAL)
HOP_WITH_DSN = Delivered(TAKEN, WHERE, handover=Handover.REPORTING)
HOP_WITHOUT_DSN = Delivered(TAKEN, WHERE)
REFUSED = Failed(GONE, WHERE)
DEFERRED = Deferred(BUSY, WHERE)

NEVER, SUCCESS, FAILURE, DELAY = Notify.NEVER, Notify.SUCCESS, Notify.FAILURE, Notify.DELAY
ALL = SUCCESS | FAILURE | DELAY


def choose(*tried: tuple[Recipient, Outcome], age: timedelta = HOUR, attempts: int = 0) -> WantedReports:
    entry = QueueEntry(
        1,
        Envelope(Mailbox("anna", "local.test"), tuple(recipient for recipient, _ in tried)),
        ARRIVED,
        10,
        ARRIVED,
        attempts=attempts,
    )
    items = [TriedRecipient(recipient, outcome, False) for recipient, outcome in tried]
    return choose_reports(items, plan_settlement(items, entry, RULES, ARRIVED + age), attempts)


def recipient(notify: Notify | None = None, number: int = 1, original: Mailbox = FAR) -> Recipient:
    request = None if notify is None else RecipientRequest(notify)
    return Recipient(number, original, original, request)


OUTCOMES: dict[str, tuple[Outcome, timedelta]] = {
    "in its mailbox": (IN_MAILBOX, HOUR),
    "a hop with DSN": (HOP_WITH_DSN, HOUR),
    "a hop without DSN": (HOP_WITHOUT_DSN, HOUR),
    "refused": (REFUSED, HOUR),
    "expired": (DEFERRED, 4 * DAY),
    "deferred": (DEFERRED, HOUR),
    "late": (DEFERRED, 4 * HOUR),
}
DELIVERED, RELAYED = ReportKind.DELIVERED, ReportKind.RELAYED
FAILED, DELAYED = ReportKind.FAILED, ReportKind.DELAYED
REPORTED: dict[Notify | None, dict[str, ReportKind]] = {
    None: {"refused": FAILED, "expired": FAILED, "late": DELAYED},
    NEVER: {},
    SUCCESS: {"in its mailbox": DELIVERED, "a hop without DSN": RELAYED},
    FAILURE: {"refused": FAILED, "expired": FAILED},
    DELAY: {"late": DELAYED},
    SUCCESS | FAILURE: {
        "in its mailbox": DELIVERED,
        "a hop without DSN": RELAYED,
        "refused": FAILED,
        "expired": FAILED,
    },
    SUCCESS | DELAY: {"in its mailbox": DELIVERED, "a hop without DSN": RELAYED, "late": DELAYED},
    FAILURE | DELAY: {"refused": FAILED, "expired": FAILED, "late": DELAYED},
    ALL: {
        "in its mailbox": DELIVERED,
        "a hop without DSN": RELAYED,
        "refused": FAILED,
        "expired": FAILED,
        "late": DELAYED,
    },
}


@pytest.mark.parametrize("notify", REPORTED, ids=lambda notify: getattr(notify, "name", None) or str(notify))
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_is_reported_is_what_was_asked(notify: Notify | None, outcome: str) -> None:
    came, age = OUTCOMES[outcome]
    wanted = choose((recipient(notify), came), age=age)
    kind = REPORTED[notify].get(outcome)
    assert list(wanted) == ([] if kind is None else [kind])


def test_a_request_without_notify_is_the_default() -> None:
    silent = Recipient(1, FAR, FAR, RecipientRequest(None, "rfc822;a@b.test"))
    assert list(choose((silent, IN_MAILBOX))) == []
    assert list(choose((silent, REFUSED))) == [FAILED]


def test_a_row_has_the_facts_of_its_recipient() -> None:
    asked = Recipient(1, FAR, LIST, RecipientRequest(ALL, "rfc822;a+2Bb@c.test"))
    (row,) = choose((asked, DEFERRED), age=4 * HOUR)[DELAYED]
    assert row.original == LIST
    assert row.original_recipient == "rfc822;a+2Bb@c.test"
    assert (row.reply, row.where, row.last_status) == (BUSY, WHERE, "")
    assert row.will_retry_until == ARRIVED + 4 * DAY
    (row,) = choose((asked, DEFERRED), age=4 * DAY)[FAILED]
    assert (row.reply, row.last_status, row.will_retry_until) == (
        reply.DELIVERY_EXPIRED,
        "451 4.3.0 busy",
        None,
    )


def test_several_recipients_stand_in_one_report_of_a_kind() -> None:
    others = [recipient(ALL, number, Mailbox(f"r{number}", "far.test")) for number in range(1, 6)]
    outcomes: tuple[Outcome, ...] = (IN_MAILBOX, HOP_WITHOUT_DSN, REFUSED, REFUSED, IN_MAILBOX)
    wanted = choose(*zip(others, outcomes, strict=True))
    assert {kind: [row.original.local_part for row in rows] for kind, rows in wanted.items()} == {
        FAILED: ["r3", "r4"],
        DELIVERED: ["r1", "r5"],
        RELAYED: ["r2"],
    }


class TestAnAddressThatStandsForSeveral:
    TARGETS = tuple(
        Recipient(number, target, LIST, RecipientRequest(ALL).expand())
        for number, target in enumerate(SECRETS, 1)
    )

    def test_is_reported_as_expanded_once_whatever_becomes_of_its_targets(self) -> None:
        wanted = choose((self.TARGETS[0], HOP_WITHOUT_DSN), (self.TARGETS[1], DEFERRED))
        assert list(wanted) == [RELAYED]
        (row,) = wanted[RELAYED]
        assert (row.original, row.is_expanded, row.reply) == (LIST, True, reply.ADDRESS_EXPANDED)

    def test_is_not_reported_again_by_a_later_attempt(self) -> None:
        assert not choose((self.TARGETS[1], IN_MAILBOX), attempts=1)

    def test_is_not_reported_where_success_was_not_asked(self) -> None:
        request = RecipientRequest(FAILURE).expand()
        assert request == RecipientRequest(FAILURE)
        assert not choose((Recipient(1, SECRETS[0], LIST, request), IN_MAILBOX))

    def test_tells_its_failures_in_one_row_that_names_no_target(self) -> None:
        (row,) = choose(*((target, REFUSED) for target in self.TARGETS))[FAILED]
        assert row.original == LIST


def test_a_servers_words_do_not_tell_the_target_behind_an_alias() -> None:
    target = Recipient(1, SECRETS[0], LIST)
    words = Reply(550, GONE.status, "<Secret@hidden.test>: nobody here")
    (row,) = choose((target, Failed(words, WHERE)))[FAILED]
    assert row.reply == Reply(550, GONE.status, "<sales@example.test>: nobody here")
    late = Deferred(Reply(451, BUSY.status, "secret@hidden.test is busy"), WHERE)
    (row,) = choose((target, late), age=4 * DAY)[FAILED]
    assert row.last_status == "451 4.3.0 sales@example.test is busy"


@pytest.mark.parametrize(
    ("request_of", "wanted"),
    [
        (None, False),
        (RecipientRequest(None, "rfc822;a@b"), False),
        (RecipientRequest(FAILURE | DELAY), False),
        (RecipientRequest(NEVER), False),
        (RecipientRequest(SUCCESS), True),
        (RecipientRequest(SUCCESS).expand(), True),
    ],
)
def test_only_who_asks_of_success_may_have_to_be_told(
    request_of: RecipientRequest | None, wanted: bool
) -> None:
    assert may_ask_of_success(Recipient(1, FAR, FAR, request_of)) is wanted
