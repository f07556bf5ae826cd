"""A recipient that turns out to be an alias, in the queue: it waits, and then gives its place to its targets."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from kms.domain.account import Alias
from kms.domain.address import Mailbox
from tests.support.delivery_side import ALICE, BOB, DOMAIN, FAR, DeliverySide
from tests.support.senders import AddressedSender

STAFF = Mailbox("staff", DOMAIN)
BROKEN = Alias("staff", "", (), "/x cannot be read")


@pytest.fixture
def side(tmp_path: Path) -> DeliverySide:
    side = DeliverySide(tmp_path, AddressedSender())
    side.directory.take_file((BROKEN,))
    return side.start()


def mend(side: DeliverySide, *targets: Mailbox) -> None:
    side.directory.take_file((Alias("staff", "", targets),))
    side.pass_time(timedelta(hours=2), timedelta(minutes=10))


def test_mail_for_an_alias_whose_list_cannot_be_read_waits(side: DeliverySide) -> None:
    side.accept(STAFF, ALICE)
    side.pass_time(timedelta(hours=2), timedelta(minutes=10))
    assert side.waiting() == [("staff@example.test",)]
    assert "451 4.3.0 the alias's list cannot be read now" in side.queued()[0].last_status[1]
    assert len(side.mailbox(ALICE)) == 1


def test_when_it_can_be_read_all_of_its_targets_get_the_mail(side: DeliverySide) -> None:
    side.accept(STAFF, sender=BOB)
    side.advance()
    mend(side, ALICE, BOB)
    assert side.waiting() == []
    assert (len(side.mailbox(ALICE)), len(side.mailbox(BOB))) == (1, 1)


def test_after_a_restart_too(side: DeliverySide, tmp_path: Path) -> None:
    side.accept(STAFF)
    side.advance()
    side.crash()
    again = DeliverySide(tmp_path, AddressedSender(), now=side.clock.now())
    again.directory.take_file((Alias("staff", "", (ALICE, FAR)),))
    again.start()
    again.pass_time(timedelta(hours=2), timedelta(minutes=10))
    assert again.waiting() == []
    assert len(again.mailbox(ALICE)) == 1


def test_who_waits_for_the_same_mail_already_gets_no_second_place(side: DeliverySide) -> None:
    side.accept(STAFF, Mailbox("staff+x", DOMAIN))
    side.advance()
    mend(side, ALICE)
    assert side.waiting() == []
    assert len(side.mailbox(ALICE)) == 1


def test_an_alias_with_nobody_new_behind_it_leaves_the_queue(side: DeliverySide) -> None:
    side.directory.take_file((Alias("staff", "", (ALICE,)),))
    side.accept(STAFF, ALICE)
    side.pass_time(timedelta(hours=2), timedelta(minutes=10))
    assert side.waiting() == []
    assert len(side.mailbox(ALICE)) == 1


def test_a_report_for_such_a_sender_waits_with_it(side: DeliverySide) -> None:
    side.accept(Mailbox("nobody", DOMAIN), sender=STAFF)
    side.advance(timedelta(seconds=5))
    assert side.waiting() == [("staff@example.test",)]
    mend(side, ALICE)
    (report,) = side.reports()
    assert report["To"] == "staff@example.test"
