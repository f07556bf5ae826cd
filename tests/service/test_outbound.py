from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from twisted.logger import capturedLogs

from kms.domain import reply
from kms.domain.address import Mailbox
from kms.domain.content import InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import NextHop
from kms.domain.outcome import Deferred, Failed, Outcome
from kms.domain.queue_entry import QueueEntry
from kms.policy.routing import RoutingRules
from kms.ports import Sender
from kms.service.outbound import Outbound, OutboundRules, Transmission
from kms.service.route_finder import RouteFinder
from tests.support.delivery_side import SMARTHOST, START, AnyDomain
from tests.support.senders import BUSY, TAKEN, AddressedSender, HeldSender

CONTENT = InlineContent(b"\r\n")


class Rig:
    """Outbound with a world in which every domain has a server."""

    def __init__(
        self, sender: Sender, tasks: int = 32, each: int = 5, smarthosts: tuple[NextHop, ...] = ()
    ) -> None:
        self.resolver = AnyDomain()
        self.routes = RouteFinder(self.resolver, RoutingRules(smarthosts=smarthosts), Random(1))
        self.outbound = Outbound(OutboundRules(tasks, each), self.routes, sender)
        self.outcomes: list[tuple[str, dict[int, Outcome], bool]] = []
        self.commits_at_once = False
        self.on_done: Callable[[], object] = lambda: None

    def submit(self, domain: str, destination: str | None = None) -> None:
        place = self.outbound.destination_of(domain) if destination is None else destination

        def done(outcomes: dict[int, Outcome], through_smarthost: bool) -> None:
            self.outcomes.append((domain, outcomes, through_smarthost))
            self.on_done()
            if self.commits_at_once:
                self.outbound.committed(place)

        mailbox = Mailbox("somebody", domain)
        recipients = (Recipient(1, mailbox, mailbox),)
        entry = QueueEntry(1, Envelope(None, recipients), START, 2, START)
        self.outbound.submit(place, Transmission(entry, recipients, CONTENT, done))


class TestLimits:
    def test_of_all_outgoing_transactions_are_never_exceeded(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, tasks=3)
        for number in range(10):
            rig.submit(f"d{number}.test")
        assert rig.outbound.running == len(sender.sendings) == 3
        while sender.sendings:
            sender.finish()
        assert sender.most == 3
        assert len(rig.outcomes) == 10

    def test_of_connections_to_one_destination_are_never_exceeded(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, each=2)
        rig.commits_at_once = True
        for _ in range(10):
            rig.submit("one.test")
        while sender.sendings:
            sender.finish()
        assert sender.most == 2
        assert sender.started == 10

    def test_let_others_go_on_while_one_destination_has_all_it_may(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, each=2)
        for _ in range(5):
            rig.submit("slow.test")
        rig.submit("quick.test")
        assert Counter(sending.domain for sending in sender.sendings) == {"slow.test": 2, "quick.test": 1}

    def test_that_a_reload_raised_count_at_the_next_turn(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, tasks=1)
        for number in range(4):
            rig.submit(f"d{number}.test")
        rig.outbound.rules = OutboundRules(delivery_tasks=4)
        sender.finish()
        assert len(sender.sendings) == 3


class TestUncommittedOutcomes:
    def test_are_two_for_each_connection_at_most(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, each=2)
        for _ in range(10):
            rig.submit("one.test")
        while sender.sendings:
            sender.finish()
        assert len(rig.outcomes) == 4
        assert sender.started == 4

    def test_make_room_once_they_are_committed(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, each=1)
        for _ in range(4):
            rig.submit("one.test")
        sender.finish()
        sender.finish()
        assert not sender.sendings
        rig.outbound.committed("one.test")
        assert len(sender.sendings) == 1

    def test_of_a_destination_that_nobody_knows_any_more_do_no_harm(self) -> None:
        Rig(HeldSender()).outbound.committed("never.test")

    def test_hold_up_no_other_destination(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, each=1)
        for _ in range(3):
            rig.submit("one.test")
        sender.finish()
        sender.finish()
        rig.submit("two.test")
        assert [sending.domain for sending in sender.sendings] == ["two.test"]


UNREACHED = Deferred(reply.NO_HOST_ANSWERED, "mx.test")


class TestADestinationOutOfReach:
    def test_is_put_off_as_a_whole_after_as_many_failures_as_it_may_have_connections(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, each=2)
        rig.commits_at_once = True
        for _ in range(10):
            rig.submit("far.test")
        rig.submit("near.test")
        sender.of("far.test")[0].finish(UNREACHED)
        assert len(rig.outcomes) == 1
        sender.of("far.test")[1].finish(UNREACHED)
        assert [outcomes for domain, outcomes, _ in rig.outcomes] == [{1: UNREACHED}] * 9
        assert sender.of("near.test")

    def test_is_put_off_without_a_doubt_about_what_was_not_tried(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, each=1)
        rig.commits_at_once = True
        lost = Deferred(reply.NO_HOST_ANSWERED, "mx.test", is_ambiguous=True)
        for _ in range(3):
            rig.submit("far.test")
        sender.finish(lost)
        assert [outcomes[1] for _, outcomes, _ in rig.outcomes].count(UNREACHED) == 2
        assert [outcomes[1] for _, outcomes, _ in rig.outcomes].count(lost) == 1

    def test_is_tried_on_where_a_server_answers_now_and_then(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, each=2)
        rig.commits_at_once = True
        for _ in range(6):
            rig.submit("far.test")
        for outcome in (UNREACHED, BUSY, UNREACHED, TAKEN, UNREACHED):
            sender.finish(outcome)
        assert sender.started == 6
        assert len(rig.outcomes) == 5

    def test_is_put_off_though_one_of_the_outcomes_cannot_be_taken(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, each=1)
        for _ in range(3):
            rig.submit("far.test")
        rig.on_done = lambda: _break() if len(rig.outcomes) == 2 else None
        with capturedLogs() as events:
            sender.finish(UNREACHED)
        assert len(rig.outcomes) == 3
        assert any("could not be recorded" in event["log_format"] for event in events)


class TestTurns:
    def test_go_round_so_that_much_mail_for_one_does_not_hold_up_the_others(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, tasks=1)
        rig.commits_at_once = True
        for _ in range(5):
            rig.submit("much.test")
        rig.submit("little.test")
        rig.submit("few.test")
        order = []
        while sender.sendings:
            order.append(sender.finish().domain)
        assert order[0] == "much.test"
        assert {"little.test", "few.test"} == set(order[1:4]) - {"much.test"}

    def test_keep_the_order_of_a_destinations_own_mail(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, tasks=1, each=1, smarthosts=(SMARTHOST,))
        rig.commits_at_once = True
        names = ["a.test", "b.test", "c.test"]
        for name in names:
            rig.submit(name)
        order = []
        while sender.sendings:
            order.append(sender.finish().domain)
        assert order == names

    def test_pass_from_one_outcome_that_comes_at_once_to_the_next_without_end_of_the_stack(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, tasks=1)
        rig.commits_at_once = True
        rig.submit("slow.test")
        for number in range(3_000):
            rig.submit(f"[10.0.{number // 250}.{number % 250}]")
        sender.finish()
        assert len(rig.outcomes) == 3_001


class TestOutcomes:
    def test_are_those_of_the_sender(self) -> None:
        rig = Rig(AddressedSender({"somebody@far.test": [BUSY]}))
        rig.submit("far.test")
        assert rig.outcomes == [("far.test", {1: BUSY}, False)]

    def test_are_those_of_the_route_where_there_is_none(self) -> None:
        sender = AddressedSender()
        rig = Rig(sender)
        rig.resolver.failing = {"far.test"}
        rig.submit("far.test")
        ((_, outcomes, _),) = rig.outcomes
        assert outcomes == {1: Deferred(reply.DOMAIN_LOOKUP_FAILED, "none")}
        assert not sender.sent

    def test_of_a_domain_that_takes_no_mail_are_failures(self) -> None:
        rig = Rig(AddressedSender())
        rig.resolver.mx["far.test"] = [(0, "")]
        rig.submit("far.test")
        ((_, outcomes, _),) = rig.outcomes
        assert isinstance(outcomes[1], Failed)

    def test_are_deferrals_where_the_sender_breaks(self) -> None:
        sender = AddressedSender()
        sender.faults.append(RuntimeError("a fault of ours"))
        rig = Rig(sender)
        with capturedLogs() as events:
            rig.submit("far.test")
        assert rig.outcomes == [("far.test", {1: Deferred(reply.TROUBLE, "none")}, False)]
        assert rig.outbound.running == 0
        assert any("a fault of ours" in str(event.get("log_failure")) for event in events)

    def test_that_cannot_be_taken_stop_nobody_else(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, tasks=1)
        rig.submit("one.test")
        rig.submit("two.test")
        rig.on_done = _break
        with capturedLogs() as events:
            sender.finish()
        assert events
        assert [sending.domain for sending in sender.sendings] == ["two.test"]


class TestSmarthost:
    def test_is_one_destination_for_everything(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, each=1, smarthosts=(SMARTHOST,))
        rig.submit("one.test")
        rig.submit("two.test")
        assert rig.outbound.destination_of("one.test") == ""
        (sending,) = sender.sendings
        assert sending.hops[0].host == "smart.test"

    def test_is_said_to_be_the_way_also_when_the_sender_breaks(self) -> None:
        sender = AddressedSender()
        sender.faults.append(RuntimeError())
        rig = Rig(sender, smarthosts=(SMARTHOST,))
        with capturedLogs():
            rig.submit("one.test")
        rig.submit("two.test")
        assert [through for _, _, through in rig.outcomes] == [True, True]

    def test_that_a_reload_took_away_defers_what_waited_for_it_and_fails_nobody(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, each=1, smarthosts=(SMARTHOST,))
        rig.submit("one.test")
        rig.submit("two.test")
        rig.routes.rules = RoutingRules()
        with capturedLogs():
            sender.finish(TAKEN)
        assert [outcomes for _, outcomes, _ in rig.outcomes] == [
            {1: TAKEN},
            {1: Deferred(reply.TROUBLE, "none")},
        ]


class TestDraining:
    def test_of_an_idle_server_ends_at_once(self) -> None:
        assert Rig(HeldSender()).outbound.drain().called

    def test_waits_for_what_is_under_way(self) -> None:
        sender = HeldSender()
        rig = Rig(sender)
        rig.submit("one.test")
        rig.submit("two.test")
        drained = rig.outbound.drain()
        sender.finish()
        assert not drained.called
        sender.finish()
        assert drained.called
        assert len(rig.outcomes) == 2

    def test_starts_nothing_more(self) -> None:
        sender = HeldSender()
        rig = Rig(sender, tasks=1)
        rig.submit("one.test")
        rig.submit("two.test")
        rig.outbound.drain()
        rig.submit("three.test")
        sender.finish()
        assert sender.started == 1

    def test_that_is_cut_short_lets_the_rest_end_later(self) -> None:
        sender = HeldSender()
        rig = Rig(sender)
        rig.submit("one.test")
        drained = rig.outbound.drain()
        drained.addErrback(lambda _: None)
        drained.cancel()
        sender.finish()
        assert len(rig.outcomes) == 1


@pytest.mark.parametrize("commits_at_once", [True, False])
def test_nothing_is_kept_of_a_destination_whose_mail_is_done(commits_at_once: bool) -> None:
    rig = Rig(AddressedSender())
    rig.commits_at_once = commits_at_once
    for number in range(3):
        rig.submit(f"d{number}.test")
    if not commits_at_once:
        for number in range(3):
            rig.outbound.committed(f"d{number}.test")
    assert not rig.outbound._destinations
    assert not rig.outbound._turn


def _break() -> None:
    raise RuntimeError("a fault of ours")
