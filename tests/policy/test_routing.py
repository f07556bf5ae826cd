import random
from collections.abc import Sequence

import pytest

from kms.domain import reply
from kms.domain.address import Mailbox
from kms.domain.dns_answer import (
    AddressAnswer,
    Addresses,
    LookupFailed,
    MailExchanger,
    MailExchangers,
    MxAnswer,
    NoRecords,
    NoSuchDomain,
)
from kms.domain.next_hop import HopCredentials, NextHop, TlsPolicy
from kms.domain.outcome import Deferred, Failed
from kms.policy.route_table import ByMx, Refusal, RouteTable, RouteTarget
from kms.policy.routing import (
    MAX_EXCHANGERS,
    Route,
    RoutingRules,
    choose_hops,
    name_destination,
    rank_exchangers,
    reroute,
    route_without_dns,
)

Hosts = list[tuple[int, str, AddressAnswer]]

RULES = RoutingRules(own_names=frozenset({"mail.example.test"}))


def keep_order(_: list[MailExchanger]) -> None:
    pass


def exchangers(*records: tuple[int, str]) -> MailExchangers:
    return MailExchangers(tuple(MailExchanger(*record) for record in records))


def rank(answer: MxAnswer, rules: RoutingRules = RULES) -> list[str] | Deferred | Failed:
    ranked = rank_exchangers("far.test", answer, rules, keep_order)
    return ranked if isinstance(ranked, Deferred | Failed) else [record.host for record in ranked]


def choose(
    hosts: Sequence[tuple[int, str, AddressAnswer]],
    rules: RoutingRules = RULES,
    own_addresses: frozenset[str] = frozenset(),
) -> list[tuple[str, tuple[str, ...]]] | Deferred | Failed:
    records = [MailExchanger(preference, host) for preference, host, _ in hosts]
    answers = {host: answer for _, host, answer in hosts}
    route = choose_hops(records, answers, rules, own_addresses)
    return [(hop.host, hop.addresses) for hop in route.hops] if isinstance(route, Route) else route


def at(*texts: str) -> Addresses:
    return Addresses(texts)


# rank_exchangers


def test_the_lowest_preference_comes_first() -> None:
    assert rank(exchangers((20, "b.test"), (10, "a.test"), (30, "c.test"))) == ["a.test", "b.test", "c.test"]


def test_hosts_of_equal_preference_are_shuffled_and_only_they() -> None:
    answer = exchangers((10, "a.test"), (10, "b.test"), (10, "c.test"), (20, "d.test"))
    seen = set()
    for seed in range(50):
        ranked = rank_exchangers("far.test", answer, RULES, random.Random(seed).shuffle)
        assert not isinstance(ranked, Deferred | Failed)
        assert ranked[3].host == "d.test"
        seen.add(tuple(record.host for record in ranked[:3]))
    assert len(seen) == 6


def test_a_null_mx_takes_no_mail() -> None:
    assert rank(exchangers((0, ""))) == Failed(reply.DOMAIN_TAKES_NO_MAIL, "none")


def test_a_null_mx_beside_real_ones_is_ignored() -> None:
    assert rank(exchangers((0, ""), (10, "a.test"))) == ["a.test"]


def test_a_domain_that_does_not_exist_fails_at_once() -> None:
    assert rank(NoSuchDomain()) == Failed(reply.NO_SUCH_DOMAIN, "none")


def test_a_domain_without_mx_is_its_own_host() -> None:
    assert rank(NoRecords()) == ["far.test"]


def test_trouble_with_the_dns_defers_and_never_falls_back_to_the_address() -> None:
    assert rank(LookupFailed("SERVFAIL")) == Deferred(reply.DOMAIN_LOOKUP_FAILED, "none")


def test_our_own_name_cuts_itself_and_all_that_is_not_better() -> None:
    answer = exchangers((10, "a.test"), (20, "mail.example.test"), (20, "b.test"), (30, "c.test"))
    assert rank(answer) == ["a.test"]


def test_with_only_ourselves_left_the_mail_would_loop() -> None:
    assert rank(exchangers((10, "mail.example.test"), (20, "b.test"))) == Failed(reply.LOOPS_BACK, "none")


def test_a_domain_that_is_our_own_name_without_mx_loops() -> None:
    ranked = rank_exchangers("mail.example.test", NoRecords(), RULES, keep_order)
    assert ranked == Failed(reply.LOOPS_BACK, "none")


def test_of_very_many_exchangers_only_the_best_are_looked_at() -> None:
    ranked = rank(exchangers(*((number, f"mx{number}.test") for number in range(60, 0, -1))))
    assert ranked == [f"mx{number}.test" for number in range(1, MAX_EXCHANGERS + 1)]


# choose_hops


def test_every_host_with_all_its_addresses_becomes_a_hop() -> None:
    hosts = [(10, "a.test", at("2001:db8::1", "192.0.2.1")), (20, "b.test", at("192.0.2.2"))]
    assert choose(hosts) == [("a.test", ("2001:db8::1", "192.0.2.1")), ("b.test", ("192.0.2.2",))]


def test_a_hop_has_the_port_and_the_tls_policy_of_the_rules() -> None:
    rules = RoutingRules(tls=TlsPolicy.VERIFY, direct_port=2525)
    route = choose_hops([MailExchanger(10, "a.test")], {"a.test": at("192.0.2.1")}, rules)
    assert route == Route((NextHop("a.test", ("192.0.2.1",), 2525, TlsPolicy.VERIFY),))


def test_a_host_that_two_records_name_is_tried_once() -> None:
    hosts = [(10, "a.test", at("192.0.2.1")), (20, "a.test", at("192.0.2.1"))]
    assert choose(hosts) == [("a.test", ("192.0.2.1",))]


@pytest.mark.parametrize("nothing", [NoRecords(), NoSuchDomain(), LookupFailed("silence")])
def test_a_host_without_addresses_is_skipped(nothing: AddressAnswer) -> None:
    hosts: Hosts = [(10, "a.test", nothing), (20, "b.test", at("192.0.2.2"))]
    assert choose(hosts) == [("b.test", ("192.0.2.2",))]


def test_while_one_host_cannot_be_looked_up_the_mail_waits() -> None:
    hosts: Hosts = [(10, "a.test", NoSuchDomain()), (20, "b.test", LookupFailed("silence"))]
    assert choose(hosts) == Deferred(reply.DOMAIN_LOOKUP_FAILED, "none")


def test_when_no_host_has_an_address_for_sure_the_mail_fails() -> None:
    hosts: Hosts = [
        (10, "a.test", NoSuchDomain()),
        (20, "b.test", NoRecords()),
    ]
    assert choose(hosts) == Failed(reply.HOSTS_WITHOUT_ADDRESS, "none")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.1.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "fc00::1", "::"],
)
def test_private_addresses_are_not_connected_to_unless_allowed(address: str) -> None:
    hosts: Hosts = [(10, "a.test", at(address, "192.0.2.1"))]
    assert choose(hosts) == [("a.test", ("192.0.2.1",))]
    assert choose([(10, "a.test", at(address))]) == Deferred(reply.ONLY_PRIVATE_HOSTS, "none")
    allowing = RoutingRules(allow_private_hosts=True)
    assert choose([(10, "a.test", at(address))], allowing) == [("a.test", (address,))]


def test_private_addresses_do_not_hide_a_lookup_that_failed() -> None:
    hosts: Hosts = [
        (10, "a.test", at("127.0.0.1")),
        (20, "b.test", LookupFailed("silence")),
    ]
    assert choose(hosts) == Deferred(reply.DOMAIN_LOOKUP_FAILED, "none")


def test_an_address_and_port_that_we_listen_on_is_ourselves() -> None:
    rules = RoutingRules(own_endpoints=frozenset({("192.0.2.9", 25)}))
    hosts: Hosts = [
        (10, "a.test", at("192.0.2.1")),
        (20, "alias.example.test", at("192.0.2.9")),
        (20, "b.test", at("192.0.2.2")),
        (30, "c.test", at("192.0.2.3")),
    ]
    assert choose(hosts, rules) == [("a.test", ("192.0.2.1",))]
    assert choose(hosts[1:], rules) == Failed(reply.LOOPS_BACK, "none")


def test_our_address_at_another_port_is_not_ourselves() -> None:
    rules = RoutingRules(own_endpoints=frozenset({("192.0.2.9", 2525)}))
    assert choose([(10, "a.test", at("192.0.2.9"))], rules) == [("a.test", ("192.0.2.9",))]


def test_where_we_listen_everywhere_any_address_of_this_machine_is_ourselves() -> None:
    rules = RoutingRules(own_wildcard_ports=frozenset({25}), allow_private_hosts=True)
    ours = frozenset({"192.0.2.9"})
    for address in ("127.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1", "192.0.2.9"):
        assert choose([(10, "a.test", at(address))], rules, ours) == Failed(reply.LOOPS_BACK, "none")
    assert choose([(10, "a.test", at("192.0.2.8"))], rules, ours) == [("a.test", ("192.0.2.8",))]


def test_loopback_is_not_ourselves_where_we_do_not_listen_on_that_port() -> None:
    rules = RoutingRules(own_wildcard_ports=frozenset({2525}), allow_private_hosts=True)
    assert choose([(10, "a.test", at("127.0.0.1"))], rules) == [("a.test", ("127.0.0.1",))]


def test_better_hosts_than_ourselves_that_have_no_address_leave_only_ourselves() -> None:
    rules = RoutingRules(own_endpoints=frozenset({("192.0.2.9", 25)}))
    hosts: Hosts = [
        (10, "a.test", NoSuchDomain()),
        (20, "b.test", at("192.0.2.9")),
    ]
    assert choose(hosts, rules) == Failed(reply.LOOPS_BACK, "none")


# route_without_dns


def test_with_smarthosts_all_mail_goes_there_in_order_and_no_dns_is_asked() -> None:
    first = NextHop("smart.test", (), 587, TlsPolicy.REQUIRE, credentials=HopCredentials("u", "p"))
    second = NextHop("10.0.0.1", (), 25)
    rules = RoutingRules(smarthosts=(first, second))
    route = route_without_dns("far.test", rules)
    assert route == Route((first, NextHop("10.0.0.1", ("10.0.0.1",), 25)), through_smarthost=True)


def test_a_smarthost_in_brackets_is_an_address_too() -> None:
    rules = RoutingRules(smarthosts=(NextHop("[2001:db8::1]", (), 25),))
    route = route_without_dns("[192.0.2.1]", rules)
    assert isinstance(route, Route)
    assert route.hops[0].addresses == ("2001:db8::1",)


def test_without_smarthosts_a_domain_needs_the_dns() -> None:
    assert route_without_dns("far.test", RULES) is None


def test_an_address_literal_is_its_own_hop() -> None:
    for domain, address in (("[192.0.2.1]", "192.0.2.1"), ("[IPv6:2001:db8::1]", "2001:db8::1")):
        assert route_without_dns(domain, RULES) == Route((NextHop(domain, (address,), 25),))


def test_an_address_literal_does_not_lead_into_the_private_network() -> None:
    assert route_without_dns("[127.0.0.1]", RULES) == Deferred(reply.ONLY_PRIVATE_HOSTS, "none")


def test_an_address_literal_that_is_ourselves_loops() -> None:
    rules = RoutingRules(own_endpoints=frozenset({("192.0.2.9", 25)}))
    assert route_without_dns("[192.0.2.9]", rules) == Failed(reply.LOOPS_BACK, "none")


def test_a_literal_that_is_no_address_does_not_exist() -> None:
    assert route_without_dns("[tag:strange]", RULES) == Failed(reply.NO_SUCH_DOMAIN, "none")


class TestReroute:
    def test_a_name_is_looked_up_later(self) -> None:
        (hop,) = reroute("other.test:2525", RoutingRules(tls=TlsPolicy.REQUIRE)).hops
        assert (hop.host, hop.addresses, hop.port, hop.tls) == ("other.test", (), 2525, TlsPolicy.REQUIRE)

    @pytest.mark.parametrize(
        ("text", "address"), [("192.0.2.1:25", "192.0.2.1"), ("[2001:db8::1]:25", "2001:db8::1")]
    )
    def test_an_address_is_the_address_itself(self, text: str, address: str) -> None:
        (hop,) = reroute(text, RoutingRules()).hops
        assert (hop.addresses, hop.port) == ((address,), 25)

    def test_the_way_is_no_smarthost(self) -> None:
        assert not reroute("other.test:25", RoutingRules()).through_smarthost


class TestRoutes:
    HOP = NextHop("hop.test", (), 2525)
    SENDER = Mailbox("a", "corp.test")

    def rules(self, target: RouteTarget, *, key: str = "far.test") -> RoutingRules:
        return RoutingRules(smarthosts=(NextHop("smart.test", (), 25),), table=RouteTable({key: target}))

    def test_a_line_comes_before_the_smarthost_and_is_none(self) -> None:
        assert route_without_dns("far.test", self.rules(self.HOP)) == Route((self.HOP,))

    def test_a_line_for_the_sender_counts(self) -> None:
        rules = self.rules(self.HOP, key="@corp.test")
        assert route_without_dns("far.test", rules, self.SENDER) == Route((self.HOP,))

    def test_what_no_line_names_goes_through_the_smarthost(self) -> None:
        route = route_without_dns("other.test", self.rules(self.HOP))
        assert isinstance(route, Route)
        assert route.through_smarthost

    def test_mx_goes_past_the_smarthost(self) -> None:
        assert route_without_dns("far.test", self.rules(ByMx())) is None

    def test_error_gives_the_mail_back_with_its_text(self) -> None:
        failed = route_without_dns("far.test", self.rules(Refusal("Not to them")))
        assert failed == Failed(reply.refused_by_route("Not to them"), "none")
        assert str(failed.reply) == "550 5.7.1 Not to them"

    def test_destinations_are_named_by_where_they_go(self) -> None:
        unix = NextHop("localhost", ("/run/l",), 0, is_lmtp=True)
        assert name_destination("far.test", None, self.rules(self.HOP)) == "smtp:hop.test:2525"
        assert name_destination("far.test", None, self.rules(unix)) == "lmtp:/run/l:0"
        assert name_destination("far.test", None, self.rules(ByMx())) == "far.test"
        assert name_destination("far.test", None, self.rules(Refusal("no"))) == "far.test"
        assert name_destination("other.test", None, self.rules(self.HOP)) == ""
        assert name_destination("far.test", None, RoutingRules()) == "far.test"
