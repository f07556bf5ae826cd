from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kms.domain.dns_answer import TextAnswer
from kms.domain.published_tls import StsMode, StsPolicy
from kms.service import sts_policies
from kms.service.clock import ClockOf
from kms.service.https_fetch import FetchError
from kms.service.sts_policies import (
    IN_USE,
    PATH,
    PAUSE_SECONDS,
    RENEWALS_AT_ONCE,
    SHORTEST_LIFE,
    StsPolicies,
)
from kms.store.schema import StoreError
from kms.store.sts_policies import load_live
from tests.support.fakes import FakeResolver
from tests.support.log_events import logged
from tests.support.policy_owners import FakeFetch
from tests.support.results import result_of
from tests.support.synchronous_database import SynchronousDatabase

DAY = timedelta(days=1)
ENFORCE = b"version: STSv1\nmode: enforce\nmx: mx.far.test\nmax_age: 864000\n"
TESTING = ENFORCE.replace(b"enforce", b"testing")
POLICY = StsPolicy(StsMode.ENFORCE, 10 * DAY, ("mx.far.test",))
RECORD = "_mta-sts.far.test"


class Rig:
    """Policies on a fake world; `restart` makes them anew on the same database."""

    def __init__(self, *answers: bytes | Exception | Deferred[bytes]) -> None:
        self.time = Clock()
        self.time.advance(1_000_000)
        self.clock = ClockOf(self.time)
        self.database = SynchronousDatabase()
        self.resolver = FakeResolver()
        self.resolver.texts[RECORD] = [b"v=STSv1; id=1;"]
        self.fetch = FakeFetch(*answers)
        self.restart()

    def restart(self) -> None:
        self.policies = StsPolicies(self.database, self.resolver, self.fetch, self.clock)
        self.policies.take(load_live(self.database.connection, self.clock.now(), 10))

    def begin(self, domain: str = "far.test") -> Deferred[StsPolicy | None]:
        return Deferred.fromCoroutine(self.policies.find(domain))

    def find(self) -> StsPolicy | None:
        return result_of(self.begin())

    def sweep(self, may_fetch: bool = True) -> None:
        result_of(Deferred.fromCoroutine(self.policies.sweep(may_fetch)))

    def publish(self, policy_id: str, domain: str = "far.test") -> None:
        self.resolver.texts[f"_mta-sts.{domain}"] = [f"v=STSv1; id={policy_id};".encode()]


def stale_rig(domains: int) -> tuple[Rig, list[Deferred[bytes]]]:
    """Policies of d0.test, d1.test... that are a day old, and the answers that their renewals will get, in order."""
    answers: list[Deferred[bytes]] = [Deferred() for _ in range(domains)]
    rig = Rig(*[ENFORCE] * domains, *answers)
    for number in range(domains):
        rig.publish("1", f"d{number}.test")
        result_of(rig.begin(f"d{number}.test"))
    rig.time.advance(DAY.total_seconds())
    return rig, answers


def kept_uses(rig: Rig) -> list[datetime]:
    return [one.used_at for one in load_live(rig.database.connection, rig.clock.now(), 10)]


def mode_of(policy: StsPolicy | None) -> StsMode | None:
    return None if policy is None else policy.mode


def test_a_domain_without_a_record_has_no_policy_and_its_server_is_not_asked() -> None:
    rig = Rig(ENFORCE)
    rig.resolver.texts.clear()
    assert rig.find() is None
    assert rig.fetch.asked == []


def test_a_policy_is_fetched_once_and_kept() -> None:
    rig = Rig(ENFORCE)
    assert rig.find() == POLICY
    assert rig.find() == POLICY
    assert rig.fetch.asked == [("mta-sts.far.test", PATH, 65536)]


def test_a_policy_survives_a_restart() -> None:
    rig = Rig(ENFORCE)
    rig.find()
    rig.restart()
    assert rig.find() == POLICY
    assert len(rig.fetch.asked) == 1


def test_another_id_brings_another_policy() -> None:
    rig = Rig(ENFORCE, TESTING)
    rig.find()
    rig.publish("2")
    assert mode_of(rig.find()) is StsMode.TESTING
    assert mode_of(rig.find()) is StsMode.TESTING
    assert len(rig.fetch.asked) == 2


@pytest.mark.parametrize("answer", [FetchError("no"), b"<html>", RuntimeError("a fault of ours")])
def test_a_fetch_that_fails_leaves_the_policy_that_is_kept(answer: bytes | Exception) -> None:
    with logged("kms.delivery") as texts:
        rig = Rig(ENFORCE, answer)
        rig.find()
        rig.publish("2")
        assert rig.find() == POLICY
        assert rig.find() == POLICY
        assert len(rig.fetch.asked) == 2
    assert any("far.test" in text for text in texts)


def test_without_one_mail_goes_on_without_and_the_server_is_asked_again_after_some_minutes() -> None:
    rig = Rig(FetchError("no"), ENFORCE)
    assert rig.find() is None
    assert rig.find() is None
    assert len(rig.fetch.asked) == 1
    rig.time.advance(PAUSE_SECONDS)
    assert rig.find() == POLICY


def test_another_id_is_not_held_back_by_a_failure_of_the_last() -> None:
    rig = Rig(FetchError("no"), ENFORCE)
    rig.find()
    rig.publish("2")
    assert rig.find() == POLICY


def test_what_becomes_of_the_record_changes_nothing_of_a_policy_that_is_kept() -> None:
    rig = Rig(ENFORCE)
    rig.find()
    rig.resolver.texts.clear()
    assert rig.find() == POLICY
    rig.resolver.failing.add(RECORD)
    assert rig.find() == POLICY


def test_a_policy_ends_after_its_life() -> None:
    rig = Rig(ENFORCE)
    rig.find()
    rig.time.advance(POLICY.life.total_seconds())
    assert rig.find() is None
    assert len(rig.fetch.asked) == 2


def test_a_policy_of_no_life_is_kept_for_minutes_so_that_its_server_has_rest() -> None:
    rig = Rig(ENFORCE.replace(b"864000", b"0"))
    rig.find()
    rig.time.advance(SHORTEST_LIFE.total_seconds() - 1)
    assert mode_of(rig.find()) is StsMode.ENFORCE
    assert len(rig.fetch.asked) == 1


def test_messages_that_come_together_share_one_fetch() -> None:
    answer: Deferred[bytes] = Deferred()
    rig = Rig(answer)
    waiting = [rig.begin() for _ in range(3)]
    assert not any(one.called for one in waiting)
    answer.callback(ENFORCE)
    assert [result_of(one) for one in waiting] == [POLICY] * 3
    assert len(rig.fetch.asked) == 1


def test_a_store_that_fails_fails_no_mail() -> None:
    with logged("kms.delivery") as texts:
        rig = Rig(ENFORCE)
        rig.database.failures.append(StoreError("disk full"))
        assert rig.find() == POLICY
        assert rig.find() == POLICY
    assert any("could not be stored" in text for text in texts)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sts_policies, "MAX_POLICIES", 2)
    rig = Rig(ENFORCE, ENFORCE, ENFORCE)
    for domain in ("a.test", "b.test", "a.test", "far.test", "c.test", "d.test", "e.test"):
        rig.resolver.texts[f"_mta-sts.{domain}"] = [b"v=STSv1; id=1;"]
        result_of(rig.begin(domain))
    assert list(rig.policies._entries) == ["a.test", "far.test"]
    assert len(rig.policies._paused) <= 2
    rig.restart()
    assert list(rig.policies._entries) == ["a.test", "far.test"]


def test_a_policy_that_is_dropped_while_its_record_is_asked_for_still_counts() -> None:
    rig = Rig(ENFORCE)
    rig.find()
    waiting: Deferred[None] = Deferred()
    look_up = rig.resolver.lookup_texts

    async def look_up_later(name: str) -> TextAnswer:
        await waiting
        return await look_up(name)

    rig.resolver.lookup_texts = look_up_later  # type: ignore[method-assign]
    finding = rig.begin()
    rig.policies.take([])
    waiting.callback(None)
    assert result_of(finding) == POLICY


class TestSweep:
    def test_forgets_what_has_ended(self) -> None:
        rig = Rig(ENFORCE)
        rig.find()
        rig.time.advance(POLICY.life.total_seconds())
        rig.sweep()
        assert rig.policies._entries == {}
        assert rig.database.connection.execute("SELECT count(*) FROM sts_policy").fetchone() == (0,)
        assert len(rig.fetch.asked) == 1

    def test_renews_after_a_day_what_is_in_use(self) -> None:
        rig = Rig(ENFORCE, TESTING)
        rig.find()
        rig.sweep()
        assert len(rig.fetch.asked) == 1
        rig.time.advance(DAY.total_seconds())
        rig.sweep()
        assert len(rig.fetch.asked) == 2
        assert mode_of(rig.find()) is StsMode.TESTING

    def test_renews_after_a_restart_too(self) -> None:
        rig = Rig(ENFORCE, TESTING)
        rig.find()
        rig.restart()
        rig.time.advance(DAY.total_seconds())
        rig.sweep()
        assert mode_of(rig.find()) is StsMode.TESTING

    def test_fetches_nothing_where_policies_are_not_obeyed(self) -> None:
        rig = Rig(ENFORCE)
        rig.find()
        rig.time.advance(DAY.total_seconds())
        rig.sweep(may_fetch=False)
        assert len(rig.fetch.asked) == 1

    @pytest.mark.parametrize("restarts", [False, True])
    def test_renews_for_five_weeks_what_nobody_uses_then_it_ends_and_the_next_mail_fetches_it(
        self, restarts: bool
    ) -> None:
        rig = Rig(*[ENFORCE] * 100)
        rig.find()
        days = 0
        while rig.policies._entries:
            days += 1
            rig.time.advance(DAY.total_seconds())
            if restarts:
                rig.restart()
            rig.sweep()
        renewals = IN_USE // DAY - 1
        assert len(rig.fetch.asked) == 1 + renewals
        assert days == renewals + POLICY.life // DAY
        assert rig.find() == POLICY
        assert len(rig.fetch.asked) == 2 + renewals

    @pytest.mark.parametrize(("life", "renewals_a_day"), [(b"86400", 2), (b"864000", 1)])
    def test_never_ends_where_one_mail_a_month_goes(self, life: bytes, renewals_a_day: int) -> None:
        rig = Rig(*[ENFORCE.replace(b"864000", life)] * 300)
        for day in range(125):
            if day % 31 == 0:
                fetches = len(rig.fetch.asked)
                assert mode_of(rig.find()) is StsMode.ENFORCE
                assert day == 0 or len(rig.fetch.asked) == fetches
            if day % 7 == 0:
                rig.restart()
            for _ in range(2):
                rig.time.advance(DAY.total_seconds() / 2)
                rig.sweep()
        assert len(rig.fetch.asked) == 1 + 125 * renewals_a_day

    def test_a_renewal_is_no_use_but_mail_during_it_is_one(self) -> None:
        answer: Deferred[bytes] = Deferred()
        rig = Rig(ENFORCE, ENFORCE, answer)
        begun = rig.clock.now()
        rig.find()
        rig.time.advance(DAY.total_seconds())
        rig.sweep()
        assert kept_uses(rig) == [begun]
        rig.time.advance(DAY.total_seconds())
        rig.sweep()
        rig.find()
        rig.time.advance(5)
        answer.callback(ENFORCE)
        assert kept_uses(rig) == [begun + 2 * DAY]

    def test_a_message_writes_nothing(self) -> None:
        rig = Rig(ENFORCE)
        rig.find()
        changes = rig.database.connection.total_changes
        rig.time.advance(DAY.total_seconds())
        rig.find()
        assert rig.database.connection.total_changes == changes

    def test_renews_also_where_the_record_is_gone_and_keeps_what_it_has_where_that_fails(self) -> None:
        rig = Rig(ENFORCE)
        rig.find()
        rig.resolver.texts.clear()
        rig.time.advance(DAY.total_seconds())
        rig.sweep()
        rig.sweep()
        assert len(rig.fetch.asked) == 2
        assert rig.find() == POLICY

    def test_asks_few_servers_at_a_time_and_does_not_await_them(self) -> None:
        rig, answers = stale_rig(15)
        rig.sweep()
        assert len(rig.fetch.asked) == 15 + RENEWALS_AT_ONCE
        rig.sweep()
        assert len(rig.fetch.asked) == 15 + RENEWALS_AT_ONCE
        answers[2].callback(ENFORCE)
        answers[0].errback(FetchError("no"))
        assert len(rig.fetch.asked) == 15 + RENEWALS_AT_ONCE + 2

    def test_a_slow_server_delays_only_itself(self) -> None:
        rig, (slow, *others) = stale_rig(40)
        rig.sweep()
        for answer in others:
            rig.time.advance(1)
            answer.callback(ENFORCE)
        assert len({host for host, *_ in rig.fetch.asked[40:]}) == 40
        stale = [
            domain
            for domain, entry in rig.policies._entries.items()
            if entry.kept.fetched_at < rig.clock.now() - timedelta(hours=1)
        ]
        assert stale == ["d0.test"]
        slow.callback(ENFORCE)
        rig.sweep()
        assert len(rig.fetch.asked) == 80

    def test_four_slow_servers_end_before_the_next_sweep_goes_on(self) -> None:
        rig, answers = stale_rig(12)
        rig.sweep()
        for answer in answers[:4]:
            answer.errback(FetchError("no answer in time"))
        for answer in answers[4:]:
            answer.callback(ENFORCE)
        assert len(rig.fetch.asked) == 24

    def test_takes_no_more_than_so_many_at_a_sweep(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sts_policies, "RENEWALS_AT_A_SWEEP", 10)
        rig, answers = stale_rig(15)
        for answer in answers:
            answer.callback(ENFORCE)
        rig.sweep()
        assert len(rig.fetch.asked) == 25
        rig.sweep()
        assert len(rig.fetch.asked) == 30

    def test_passes_over_what_was_dropped_or_fetched_since_and_what_is_being_fetched(self) -> None:
        rig, answers = stale_rig(8)
        rig.sweep()
        rig.publish("2", "d4.test")
        result_of_mail = rig.begin("d4.test")
        assert len(rig.fetch.asked) == 13
        rig.policies.take(
            [one.kept for one in rig.policies._entries.values() if one.kept.domain != "d5.test"]
        )
        for answer in answers[:4]:
            answer.callback(ENFORCE)
        assert [host for host, *_ in rig.fetch.asked[13:]] == ["mta-sts.d6.test", "mta-sts.d7.test"]
        answers[4].callback(TESTING)
        assert mode_of(result_of(result_of_mail)) is StsMode.TESTING

    def test_a_fault_of_ours_is_logged_and_the_next_sweep_renews(self) -> None:
        with logged("kms.delivery") as texts:
            rig = Rig(ENFORCE, TESTING)
            rig.find()
            rig.time.advance(DAY.total_seconds())
            rig.resolver.texts[RECORD] = 7  # type: ignore[assignment]
            rig.sweep()
            assert any("could not be renewed" in text for text in texts)
            rig.publish("1")
            rig.sweep()
        assert mode_of(rig.find()) is StsMode.TESTING

    def test_gives_each_its_turn_though_the_servers_of_others_are_gone(self) -> None:
        rig = Rig(*[ENFORCE] * 11)
        domains = [f"d{number}.test" for number in range(11)]
        for domain in domains:
            rig.resolver.texts[f"_mta-sts.{domain}"] = [b"v=STSv1; id=1;"]
            result_of(rig.begin(domain))
        rig.time.advance(DAY.total_seconds())
        rig.sweep()
        rig.time.advance(2 * PAUSE_SECONDS)
        rig.sweep()
        assert {host for host, *_ in rig.fetch.asked[11:]} == {f"mta-sts.{domain}" for domain in domains}
