import random
from collections.abc import Callable

from twisted.internet.defer import Deferred as Awaited
from twisted.internet.task import Clock

from kms.domain import reply
from kms.domain.dns_answer import AddressAnswer, Addresses, MxAnswer, NoRecords
from kms.domain.next_hop import NextHop
from kms.domain.outcome import Deferred, Failed
from kms.domain.published_tls import PublishedTls, StsMode
from kms.policy.route_table import RouteTable
from kms.policy.routing import Route, RoutingRules
from kms.service.clock import ClockOf
from kms.service.route_finder import LOOKUPS_AT_ONCE, RouteFinder, is_machine_address
from kms.service.sts_policies import StsPolicies
from tests.support.fakes import FakeResolver
from tests.support.policy_owners import FakeFetch
from tests.support.results import result_of
from tests.support.synchronous_database import SynchronousDatabase


def find(
    resolver: FakeResolver,
    domain: str = "far.test",
    rules: RoutingRules | None = None,
    is_own_address: Callable[[str], bool] = lambda address: False,
) -> list[tuple[str, tuple[str, ...]]] | Deferred | Failed:
    finder = RouteFinder(resolver, rules or RoutingRules(), random.Random(1), is_own_address)
    route = result_of(finder.find(domain))
    return [(hop.host, hop.addresses) for hop in route.hops] if isinstance(route, Route) else route


def test_the_mail_exchangers_of_a_domain_are_its_hops_in_order() -> None:
    resolver = FakeResolver(
        mx={"far.test": [(20, "b.far.test"), (10, "a.far.test")]},
        addresses={"a.far.test": ["192.0.2.1", "2001:db8::1"], "b.far.test": ["192.0.2.2"]},
    )
    assert find(resolver) == [
        ("a.far.test", ("2001:db8::1", "192.0.2.1")),
        ("b.far.test", ("192.0.2.2",)),
    ]


def test_a_domain_without_mail_exchangers_is_its_own_host() -> None:
    assert find(FakeResolver(addresses={"far.test": ["192.0.2.1"]})) == [("far.test", ("192.0.2.1",))]


def test_a_domain_that_does_not_exist_fails_and_no_address_is_asked_for() -> None:
    resolver = FakeResolver()
    assert find(resolver) == Failed(reply.NO_SUCH_DOMAIN, "none")
    assert resolver.asked == [("mx", "far.test")]


def test_trouble_with_the_mail_exchangers_defers_though_there_is_an_address() -> None:
    resolver = FakeResolver(addresses={"far.test": ["192.0.2.1"]}, failing=[("mx", "far.test")])
    assert find(resolver) == Deferred(reply.DOMAIN_LOOKUP_FAILED, "none")
    assert resolver.asked == [("mx", "far.test")]


def test_a_null_mx_fails_and_no_address_is_asked_for() -> None:
    resolver = FakeResolver(mx={"far.test": [(0, "")]})
    assert find(resolver) == Failed(reply.DOMAIN_TAKES_NO_MAIL, "none")
    assert resolver.asked == [("mx", "far.test")]


def test_a_host_that_two_records_name_is_looked_up_once() -> None:
    resolver = FakeResolver(
        mx={"far.test": [(20, "a.far.test"), (10, "a.far.test")]}, addresses={"a.far.test": ["192.0.2.1"]}
    )
    assert find(resolver) == [("a.far.test", ("192.0.2.1",))]
    assert len(resolver.asked) == 2


def test_a_smarthost_needs_no_dns() -> None:
    resolver = FakeResolver()
    rules = RoutingRules(smarthosts=(NextHop("smart.test", (), 25),))
    assert find(resolver, rules=rules) == [("smart.test", ())]
    assert resolver.asked == []


def test_only_where_we_listen_at_every_address_it_matters_which_ones_we_have() -> None:
    resolver = FakeResolver(mx={"far.test": [(10, "a.test")]}, addresses={"a.test": ["192.0.2.1"]})
    wildcard = RoutingRules(own_wildcard_ports=frozenset({25}))
    assert find(resolver, rules=wildcard, is_own_address=lambda address: True) == Failed(
        reply.LOOPS_BACK, "none"
    )
    assert find(resolver, rules=wildcard) == [("a.test", ("192.0.2.1",))]
    assert find(resolver, is_own_address=lambda address: True) == [("a.test", ("192.0.2.1",))]


def test_a_host_without_address_is_not_asked_whether_it_is_ours() -> None:
    resolver = FakeResolver(mx={"far.test": [(10, "a.test")]})
    rules = RoutingRules(own_wildcard_ports=frozenset({25}))
    assert find(resolver, rules=rules) == Failed(reply.HOSTS_WITHOUT_ADDRESS, "none")


def test_of_many_hosts_few_are_looked_up_at_once() -> None:
    class SlowResolver(FakeResolver):
        def __init__(self) -> None:
            super().__init__(mx={"far.test": [(number, f"mx{number}.test") for number in range(12)]})
            self.waiting: list[Awaited[AddressAnswer]] = []

        async def lookup_addresses(self, host: str) -> AddressAnswer:
            self.waiting.append(Awaited())
            return await self.waiting[-1]

    resolver = SlowResolver()
    finder = RouteFinder(resolver, RoutingRules(), random.Random(1))
    finding = Awaited.fromCoroutine(finder.find("far.test"))
    counts = []
    while resolver.waiting:
        batch, resolver.waiting = resolver.waiting, []
        counts.append(len(batch))
        for waiting in batch:
            waiting.callback(Addresses(("192.0.2.1",)))
    assert max(counts) == LOOKUPS_AT_ONCE
    assert sum(counts) == 12
    assert isinstance(result_of(finding), Route)


def test_changed_rules_count_for_the_next_question() -> None:
    class NothingResolver(FakeResolver):
        async def lookup_mx(self, domain: str) -> MxAnswer:
            return NoRecords()

    finder = RouteFinder(NothingResolver(), RoutingRules(), random.Random(1))
    assert isinstance(result_of(finder.find("far.test")), Failed)
    assert not finder.may_be_private()
    finder.rules = RoutingRules(allow_private_hosts=True, smarthosts=(NextHop("smart.test", (), 25),))
    assert isinstance(result_of(finder.find("far.test")), Route)
    assert finder.may_be_private()


def test_loopback_is_an_address_of_this_machine_and_a_documentation_address_is_none() -> None:
    assert is_machine_address("127.0.0.1")
    assert not is_machine_address("192.0.2.1")
    assert not is_machine_address("2001:db8::1")
    assert not is_machine_address("no address")


POLICY = b"version: STSv1\nmode: enforce\nmx: a.far.test\nmax_age: 86400\n"


def published(
    *, mta_sts: bool = False, dane: bool = False, has_mx: bool = True, is_secure: bool = False
) -> list[PublishedTls | None]:
    """What is noted at the hops of far.test, which has an MTA-STS policy; one of its hosts is not in it."""
    resolver = FakeResolver(
        mx={"far.test": [(10, "a.far.test"), (20, "b.far.test")]} if has_mx else {},
        addresses={name: ["192.0.2.1"] for name in ("far.test", "a.far.test", "b.far.test")},
    )
    resolver.texts["_mta-sts.far.test"] = [b"v=STSv1; id=1;"]
    if is_secure:
        resolver.secure.add("far.test")
    finder = RouteFinder(resolver, RoutingRules(mta_sts=mta_sts, dane=dane), random.Random(1))
    finder.sts = StsPolicies(SynchronousDatabase(), resolver, FakeFetch(POLICY), ClockOf(Clock()))
    route = result_of(finder.find("far.test"))
    assert isinstance(route, Route)
    return [hop.published for hop in route.hops]


def test_nothing_is_noted_where_neither_mta_sts_nor_dane_is_wanted() -> None:
    assert published(is_secure=True) == [None, None]


def test_a_policy_is_noted_with_the_hosts_that_it_names() -> None:
    assert published(mta_sts=True) == [
        PublishedTls("far.test", False, StsMode.ENFORCE, is_listed=True),
        PublishedTls("far.test", False, StsMode.ENFORCE, is_listed=False),
    ]


def test_dane_is_possible_only_where_the_mx_records_are_proved() -> None:
    assert published(dane=True) == [None, None]
    assert published(dane=True, is_secure=True) == [PublishedTls("far.test", may_have_dane=True)] * 2


def test_a_domain_without_mx_records_leaves_the_proof_to_its_addresses() -> None:
    assert published(dane=True, has_mx=False) == [PublishedTls("far.test", may_have_dane=True)]


def test_both_are_noted_together() -> None:
    both = published(dane=True, mta_sts=True, is_secure=True)
    assert both[0] == PublishedTls("far.test", True, StsMode.ENFORCE, is_listed=True)


def test_without_a_policy_there_is_nothing_of_it_to_note() -> None:
    resolver = FakeResolver(addresses={"far.test": ["192.0.2.1"]})
    finder = RouteFinder(resolver, RoutingRules(mta_sts=True), random.Random(1))
    for sts in (None, StsPolicies(SynchronousDatabase(), resolver, FakeFetch(), ClockOf(Clock()))):
        finder.sts = sts
        route = result_of(finder.find("far.test"))
        assert isinstance(route, Route)
        assert route.hops[0].published is None


def test_a_host_that_an_administrator_names_may_have_dane_and_never_mta_sts() -> None:
    smart, mailstore = NextHop("smart.test", (), 587), NextHop("store.test", (), 24, is_lmtp=True)
    table = RouteTable({"here.test": mailstore})
    for dane, noted in ((False, None), (True, PublishedTls("smart.test", may_have_dane=True))):
        rules = RoutingRules(smarthosts=(smart,), table=table, dane=dane, mta_sts=True)
        finder = RouteFinder(FakeResolver(), rules, random.Random(1))
        for domain, expected in (("far.test", noted), ("here.test", None)):
            route = result_of(finder.find(domain))
            assert isinstance(route, Route)
            assert route.hops[0].published == expected
