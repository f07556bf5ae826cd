from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from kms.domain.account import Account
from kms.service.mailboxes import MailboxUsage
from kms.service.quota import Quota
from tests.support.results import result_of
from tests.support.smtp_parts import FakeMailboxes

FRITZ = Account("fritz", "example.org", quota_octets=1000, quota_messages=10)


class Rig:
    """A quota, and who was told."""

    def __init__(self) -> None:
        self.mailboxes = FakeMailboxes()
        self.told: list[Account] = []
        self.telling: list[Deferred[None]] = []
        self.quota = Quota(cast(Any, self.mailboxes), self.tell)

    def tell(self, account: Account) -> Deferred[None]:
        self.told.append(account)
        self.telling.append(Deferred())
        return self.telling[-1]

    def is_full(self, octets: int, messages: int, account: Account = FRITZ) -> bool:
        self.mailboxes.usages[account.login] = MailboxUsage(octets, messages)
        return result_of(self.quota.is_full(account))


@pytest.mark.parametrize(
    ("octets", "messages", "is_full"),
    [(0, 0, False), (999, 9, False), (1000, 1, True), (5000, 1, True), (1, 10, True), (1, 11, True)],
)
def test_a_mailbox_is_full_when_it_has_reached_either_quota(
    octets: int, messages: int, is_full: bool
) -> None:
    assert Rig().is_full(octets, messages) is is_full


def test_an_account_without_quota_is_never_full() -> None:
    assert not Rig().is_full(1 << 50, 1 << 30, Account("anna", "example.org"))


def test_of_a_full_mailbox_is_told_once_each_time_it_becomes_full() -> None:
    rig = Rig()
    for _ in range(3):
        rig.quota.was_full(FRITZ)
    assert rig.told == [FRITZ]
    rig.quota.had_room(FRITZ.login)
    rig.quota.was_full(FRITZ)
    assert rig.told == [FRITZ, FRITZ]


def test_who_could_not_be_told_is_told_at_the_next_chance() -> None:
    rig = Rig()
    rig.quota.was_full(FRITZ)
    rig.telling[0].errback(RuntimeError("the queue takes nothing"))
    rig.quota.was_full(FRITZ)
    rig.telling[1].callback(None)
    rig.quota.was_full(FRITZ)
    assert rig.told == [FRITZ, FRITZ]


def test_measuring_tells_nobody() -> None:
    rig = Rig()
    assert rig.is_full(1000, 1)
    assert rig.told == []


def test_a_mailbox_that_cannot_be_measured_is_neither_full_nor_not() -> None:
    rig = Rig()
    rig.mailboxes.failure = OSError(5, "Input/output error")
    with pytest.raises(OSError, match="Input/output"):
        rig.is_full(0, 0)
    assert rig.told == []
