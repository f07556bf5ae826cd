from __future__ import annotations

from datetime import timedelta

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kms.domain.dns_answer import TextAnswer
from kms.domain.published_tls import StsMode, StsPolicy
from kms.service import sts_policies
from kms.service.clock import ClockOf
from kms.service.https_fetch import FetchError
from kms.service.sts_policies import PATH, PAUSE_SECONDS, SHORTEST_LIFE, StsPolicies
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

    def sweep(self) -> None:
        result_of(Deferred.fromCoroutine(self.policies.sweep()))

    def publish(self, policy_id: str) -> None:
        self.resolver.texts[RECORD] = [f"v=STSv1; id={policy_id};".encode()]


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

    def test_leaves_what_nobody_has_used_since_the_start_to_its_end(self) -> None:
        rig = Rig(ENFORCE)
        rig.find()
        rig.restart()
        rig.time.advance(DAY.total_seconds())
        rig.sweep()
        assert len(rig.fetch.asked) == 1

    def test_renews_also_where_the_record_is_gone_and_keeps_what_it_has_where_that_fails(self) -> None:
        rig = Rig(ENFORCE)
        rig.find()
        rig.resolver.texts.clear()
        rig.time.advance(DAY.total_seconds())
        rig.sweep()
        rig.sweep()
        assert len(rig.fetch.asked) == 2
        assert rig.find() == POLICY

    def test_asks_few_servers_at_a_time(self) -> None:
        rig = Rig(*[ENFORCE] * 30)
        for number in range(15):
            rig.resolver.texts[f"_mta-sts.d{number}.test"] = [b"v=STSv1; id=1;"]
            result_of(rig.begin(f"d{number}.test"))
        rig.time.advance(DAY.total_seconds())
        rig.sweep()
        assert len(rig.fetch.asked) == 25

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
