from collections import deque

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kms.domain.dns_answer import (
    AddressAnswer,
    Addresses,
    Alias,
    LookupFailed,
    MailExchanger,
    MailExchangers,
    MxAnswer,
    NoRecords,
    NoSuchDomain,
)
from kms.service import dns as kms_dns
from kms.service.dns import DnsResolver, parse_nameserver
from kms.service.dns_backend import TwistedBackend
from tests.support.dns_network import REFUSES, DnsNetwork, ServerAnswer, Zone
from tests.support.results import result_of

SERVERS = ("192.0.2.53",)
ZONE = Zone(mx={"far.test": [(10, "mx.far.test")]}, addresses={"mx.far.test": ["192.0.2.1", "2001:db8::1"]})
FAR_MX = MailExchangers((MailExchanger(10, "mx.far.test"),))


def start(network: DnsNetwork, servers: tuple[str, ...] = SERVERS, timeout: float = 10.0) -> DnsResolver:
    return DnsResolver(network, servers, timeout, network.open_socket)


def ask_mx(network: DnsNetwork, domain: str = "far.test", servers: tuple[str, ...] = SERVERS) -> MxAnswer:
    """Ask, and let the time pass until there is an answer; nothing may stay open."""
    answers: list[MxAnswer] = []
    Deferred.fromCoroutine(start(network, servers).lookup_mx(domain)).addCallback(answers.append)
    for _ in range(200):
        if answers:
            break
        network.advance(0.1)
    assert not network.open_sockets
    assert not network.readers
    return answers[0]


# What servers do


def test_an_alias_is_followed() -> None:
    zone = Zone(mx=ZONE.mx, addresses=ZONE.addresses, aliases={"www.test": "far.test", "a.test": "www.test"})
    assert ask_mx(DnsNetwork(zone), "a.test") == FAR_MX


def test_an_alias_is_followed_by_ourselves_where_the_server_does_not() -> None:
    zone = Zone(mx=ZONE.mx, aliases={"a.test": "b.test", "b.test": "far.test"}, follows_aliases=False)
    network = DnsNetwork(zone)
    assert ask_mx(network, "a.test") == FAR_MX
    assert [question[0] for question in network.questions] == ["a.test.", "b.test.", "far.test."]


def test_an_alias_of_a_name_without_records_has_none() -> None:
    zone = Zone(addresses={"far.test": []}, aliases={"a.test": "far.test"})
    assert ask_mx(DnsNetwork(zone), "a.test") == NoRecords()


def test_an_alias_of_nothing_does_not_exist() -> None:
    assert ask_mx(DnsNetwork(Zone(aliases={"a.test": "none.test"})), "a.test") == NoSuchDomain()


@pytest.mark.parametrize("follows", [True, False])
def test_aliases_in_a_circle_end_as_trouble(follows: bool) -> None:
    zone = Zone(aliases={"a.test": "b.test", "b.test": "a.test"}, follows_aliases=follows)
    network = DnsNetwork(zone)
    assert isinstance(ask_mx(network, "a.test"), LookupFailed)
    assert len(network.questions) <= kms_dns.MAX_ALIASES


def test_names_are_lower_case_without_the_last_dot() -> None:
    zone = Zone(mx={"far.test": [(10, "MX.Far.TEST")]})
    assert ask_mx(DnsNetwork(zone)) == FAR_MX


def test_sixty_exchangers_come_over_tcp_when_they_do_not_fit() -> None:
    zone = Zone(mx={"far.test": [(number, f"mx{number}.{'x' * 50}.test") for number in range(60)]})

    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        if is_tcp:
            return zone(query, is_tcp)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return response

    network = DnsNetwork(server)
    answer = ask_mx(network)
    assert isinstance(answer, MailExchangers)
    assert len(answer.records) == 60
    assert [question[1] for question in network.questions] == ["MX", "MX/tcp"]


def test_tcp_that_breaks_off_is_trouble() -> None:
    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        if is_tcp:
            return REFUSES
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return response

    assert isinstance(ask_mx(DnsNetwork(server)), LookupFailed)


def test_tcp_that_nobody_listens_on_is_trouble() -> None:
    network = DnsNetwork(ZONE)

    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        network.dead_servers.add("192.0.2.53")
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return response

    network.server = server
    assert isinstance(ask_mx(network), LookupFailed)


def test_tcp_that_never_answers_or_never_ends_is_trouble() -> None:
    for flood in ([], [b"x" * 65000] * 9):

        def server(query: dns.message.Message, is_tcp: bool, flood: list[bytes] = flood) -> ServerAnswer:
            if is_tcp:
                return flood
            response = dns.message.make_response(query)
            response.flags |= dns.flags.TC
            return response

        assert isinstance(ask_mx(DnsNetwork(server)), LookupFailed)


@pytest.mark.parametrize(
    "rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR, dns.rcode.YXDOMAIN]
)
def test_a_server_that_cannot_or_will_not_answer_is_trouble(rcode: dns.rcode.Rcode) -> None:
    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        response = dns.message.make_response(query)
        response.set_rcode(rcode)
        return response

    network = DnsNetwork(server)
    assert isinstance(ask_mx(network), LookupFailed)
    assert network.seconds() == 0


def test_answers_that_take_their_time_are_waited_for() -> None:
    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        if is_tcp:
            return ZONE(query, is_tcp)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return response

    network = DnsNetwork(server)
    network.delay = 2.0
    assert ask_mx(network) == FAR_MX
    assert 3.9 < network.seconds() < 4.3


def test_that_nobody_listens_may_be_told_late() -> None:
    network = DnsNetwork(lambda query, is_tcp: REFUSES)
    network.delay = 2.0
    assert isinstance(ask_mx(network), LookupFailed)
    assert 1.9 < network.seconds() < 2.3


def test_a_false_alarm_of_the_reactor_is_no_answer() -> None:
    network = DnsNetwork(ZONE)
    network.delay = 1.0
    waiting = Deferred.fromCoroutine(start(network).lookup_mx("far.test"))
    (reader,) = network.readers.values()
    arrived, reader._socket._arrived = reader._socket._arrived, deque()
    reader.doRead()
    assert not waiting.called
    reader._socket._arrived = arrived
    network.advance(1)
    assert result_of(waiting) == FAR_MX


def test_an_error_of_the_socket_is_trouble() -> None:
    network = DnsNetwork(lambda query, is_tcp: None)
    waiting = Deferred.fromCoroutine(start(network).lookup_mx("far.test"))
    (reader,) = network.readers.values()
    reader._socket.fault = OSError("network is down")
    reader.doRead()
    assert isinstance(result_of(waiting), LookupFailed)
    assert reader.logPrefix() == "dns"


def test_silence_is_trouble_after_the_timeout() -> None:
    network = DnsNetwork(lambda query, is_tcp: None)
    assert isinstance(ask_mx(network), LookupFailed)
    assert 9.9 < network.seconds() < 10.5
    assert len(network.questions) > 1


def test_where_nobody_listens_there_is_no_waiting() -> None:
    network = DnsNetwork(lambda query, is_tcp: REFUSES)
    assert isinstance(ask_mx(network), LookupFailed)
    assert network.seconds() == 0


def test_a_dead_server_is_no_trouble_while_another_lives() -> None:
    network = DnsNetwork(ZONE)
    network.dead_servers.add("192.0.2.52")
    assert ask_mx(network, servers=("192.0.2.52", "192.0.2.53")) == FAR_MX
    assert [question[2] for question in network.questions] == ["192.0.2.52", "192.0.2.53"]


def test_a_silent_server_is_no_trouble_while_another_lives() -> None:
    network = DnsNetwork(lambda query, is_tcp: None)

    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        return ZONE(query, is_tcp) if network.questions[-1][2] == "192.0.2.53" else None

    network.server = server
    assert ask_mx(network, servers=("192.0.2.52", "192.0.2.53")) == FAR_MX


def test_a_server_has_a_port_and_may_be_reached_over_ipv6() -> None:
    network = DnsNetwork(ZONE)
    assert ask_mx(network, servers=("[2001:db8::53]:5353",)) == FAR_MX
    assert network.questions[0][2:] == ("2001:db8::53", 5353)


# Servers that lie


def test_a_packet_with_another_id_is_not_the_answer() -> None:
    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        forged = Zone(mx={"far.test": [(1, "evil.test")]})(query, is_tcp)
        right = ZONE(query, is_tcp)
        assert isinstance(forged, dns.message.Message)
        assert isinstance(right, dns.message.Message)
        forged.id ^= 1
        return [forged.to_wire(), right.to_wire()]

    assert ask_mx(DnsNetwork(server)) == FAR_MX


def test_a_packet_with_another_question_is_not_the_answer() -> None:
    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        other = dns.message.make_response(dns.message.make_query("evil.test", "MX", id=query.id))
        other.answer.append(dns.rrset.from_text("evil.test.", 60, "IN", "MX", "1 evil.test."))
        right = ZONE(query, is_tcp)
        assert isinstance(right, dns.message.Message)
        return [other.to_wire(), right.to_wire()]

    assert ask_mx(DnsNetwork(server)) == FAR_MX


@pytest.mark.parametrize("garbage", [b"", b"x", b"\0" * 12, b"\xff" * 512, b"\xc0\x0c" * 100])
def test_garbage_is_trouble_and_hides_no_right_answer(garbage: bytes) -> None:
    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        right = ZONE(query, is_tcp)
        assert isinstance(right, dns.message.Message)
        return [garbage, right.to_wire()]

    assert ask_mx(DnsNetwork(server)) == FAR_MX
    assert isinstance(ask_mx(DnsNetwork(lambda query, is_tcp: [garbage] * 20)), LookupFailed)


def test_records_of_another_name_are_no_answer() -> None:
    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text("evil.test.", 60, "IN", "MX", "1 evil.test."))
        return response

    assert ask_mx(DnsNetwork(server)) == NoRecords()


def test_no_such_domain_with_an_answer_is_trouble() -> None:
    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        response = ZONE(query, is_tcp)
        assert isinstance(response, dns.message.Message)
        response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    assert isinstance(ask_mx(DnsNetwork(server)), LookupFailed)


def test_a_fault_of_the_network_itself_is_trouble() -> None:
    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        raise OSError("network unreachable")

    assert isinstance(ask_mx(DnsNetwork(server)), LookupFailed)


def test_a_server_that_cannot_be_reached_is_trouble() -> None:
    network = DnsNetwork(ZONE)
    network.unreachable.add("192.0.2.53")
    assert isinstance(ask_mx(network), LookupFailed)
    assert network.seconds() == 0


def test_without_descriptors_a_lookup_is_trouble() -> None:
    network = DnsNetwork(ZONE)

    def open_socket(family: int, kind: int) -> None:
        raise OSError("too many open files")

    resolver = DnsResolver(network, SERVERS, 10.0, open_socket)  # type: ignore[arg-type]
    assert isinstance(result_of(resolver.lookup_mx("far.test")), LookupFailed)


# Addresses


def ask_addresses(server: Zone, host: str) -> AddressAnswer:
    return result_of(start(DnsNetwork(server)).lookup_addresses(host))


def test_one_type_that_fails_does_not_hide_the_other() -> None:
    for broken, left in (("AAAA", "192.0.2.1"), ("A", "2001:db8::1")):

        def server(query: dns.message.Message, is_tcp: bool, broken: str = broken) -> ServerAnswer:
            response = ZONE(query, is_tcp)
            assert isinstance(response, dns.message.Message)
            if query.question[0].rdtype.name == broken:
                response = dns.message.make_response(query)
                response.set_rcode(dns.rcode.SERVFAIL)
            return response

        answer = result_of(start(DnsNetwork(server)).lookup_addresses("mx.far.test"))
        assert answer == Addresses((left,))


def test_nothing_found_and_one_type_failing_is_trouble() -> None:
    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        response = dns.message.make_response(query)
        if query.question[0].rdtype.name == "AAAA":
            response.set_rcode(dns.rcode.SERVFAIL)
        return response

    assert isinstance(result_of(start(DnsNetwork(server)).lookup_addresses("mx.far.test")), LookupFailed)


def test_a_server_that_contradicts_itself_means_that_the_name_exists() -> None:
    def server(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        response = dns.message.make_response(query)
        if query.question[0].rdtype.name == "AAAA":
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    assert result_of(start(DnsNetwork(server)).lookup_addresses("mx.far.test")) == NoRecords()


def test_localhost_is_never_asked_for() -> None:
    network = DnsNetwork(ZONE)
    for host in ("localhost", "a.localhost"):
        assert result_of(start(network).lookup_addresses(host)) == Addresses(("::1", "127.0.0.1"))
    assert not network.questions


# What is remembered


def test_an_answer_is_kept_for_its_time_and_no_longer() -> None:
    network = DnsNetwork(ZONE)
    resolver = start(network)
    result_of(resolver.lookup_mx("far.test"))
    network.advance(299)
    result_of(resolver.lookup_mx("far.test"))
    assert len(network.questions) == 1
    network.advance(2)
    result_of(resolver.lookup_mx("far.test"))
    assert len(network.questions) == 2


def test_an_answer_is_never_kept_for_longer_than_an_hour() -> None:
    network = DnsNetwork(Zone(mx=ZONE.mx, ttl=10**9))
    resolver = start(network)
    result_of(resolver.lookup_mx("far.test"))
    network.advance(3601)
    result_of(resolver.lookup_mx("far.test"))
    assert len(network.questions) == 2


def test_an_answer_without_time_is_not_kept() -> None:
    network = DnsNetwork(Zone(mx=ZONE.mx, ttl=0))
    resolver = start(network)
    result_of(resolver.lookup_mx("far.test"))
    result_of(resolver.lookup_mx("far.test"))
    assert len(network.questions) == 2


@pytest.mark.parametrize(("soa_ttl", "seconds"), [(60, 60), (10**6, 300), (None, 300)])
def test_that_there_is_nothing_is_kept_for_a_shorter_time(soa_ttl: int | None, seconds: int) -> None:
    network = DnsNetwork(Zone(addresses={"empty.test": []}, soa_ttl=soa_ttl))
    resolver = start(network)
    for domain in ("empty.test", "none.test"):
        network.questions.clear()
        result_of(resolver.lookup_mx(domain))
        result_of(resolver.lookup_mx(domain))
        assert len(network.questions) == 1
    network.advance(seconds + 1)
    for domain in ("empty.test", "none.test"):
        network.questions.clear()
        result_of(resolver.lookup_mx(domain))
        assert len(network.questions) == 1


def test_trouble_is_remembered_for_half_a_minute() -> None:
    network = DnsNetwork(Zone(failing=["far.test"]))
    resolver = start(network)
    assert isinstance(result_of(resolver.lookup_mx("far.test")), LookupFailed)
    network.server = ZONE
    assert isinstance(result_of(resolver.lookup_mx("far.test")), LookupFailed)
    network.advance(31)
    assert result_of(resolver.lookup_mx("far.test")) == FAR_MX


def test_what_is_remembered_is_bounded_and_the_least_used_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kms_dns, "MAX_CACHED_ANSWERS", 2)
    network = DnsNetwork(Zone(mx={"a.test": [(1, "a.test")], "b.test": [(1, "b.test")]}))
    resolver = start(network)
    for domain in ("a.test", "b.test", "a.test", "none.test", "a.test", "b.test"):
        result_of(resolver.lookup_mx(domain))
    asked = [question[0] for question in network.questions]
    assert asked == ["a.test.", "b.test.", "none.test.", "b.test."]


def test_equal_questions_under_way_are_asked_once() -> None:
    network = DnsNetwork(lambda query, is_tcp: None)
    resolver = start(network)
    answers: list[MxAnswer] = []
    for _ in range(3):
        Deferred.fromCoroutine(resolver.lookup_mx("far.test")).addCallback(answers.append)
    assert len(network.questions) == 1
    network.server = ZONE
    for _ in range(100):
        network.advance(0.1)
    assert answers == [FAR_MX] * 3
    assert len(network.questions) == 2


def test_a_caller_who_gives_up_takes_nothing_from_the_others() -> None:
    network = DnsNetwork(lambda query, is_tcp: None)
    resolver = start(network)
    answers: list[MxAnswer] = []
    first = Deferred.fromCoroutine(resolver.lookup_mx("far.test"))
    Deferred.fromCoroutine(resolver.lookup_mx("far.test")).addCallback(answers.append)
    first.addErrback(lambda _: None)
    first.cancel()
    network.server = ZONE
    for _ in range(100):
        network.advance(0.1)
    assert answers == [FAR_MX]


def test_no_more_questions_are_under_way_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kms_dns, "MAX_LOOKUPS_AT_ONCE", 2)
    network = DnsNetwork(lambda query, is_tcp: None)
    resolver = start(network)
    answers: list[MxAnswer] = []
    for number in range(5):
        waiting = Deferred.fromCoroutine(resolver.lookup_mx(f"far{number}.test"))
        waiting.addCallback(answers.append)
    assert len(network.open_sockets) == 2
    for _ in range(400):
        network.advance(0.1)
    assert len(answers) == 5


# Names of servers


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_a_server_is_named_by_address_and_port(text: str, server: tuple[str, int]) -> None:
    assert parse_nameserver(text) == server


@pytest.mark.parametrize("text", ["", "ns.test", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "x:53"])
def test_a_server_has_no_other_name(text: str) -> None:
    with pytest.raises(ValueError):
        parse_nameserver(text)


def test_without_servers_those_of_the_system_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_another(self: dns.resolver.BaseResolver, f: object) -> None:
        self.nameservers = ["127.0.0.53"]

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", read_another)
    network = DnsNetwork(ZONE)
    resolver = start(network, ())
    assert result_of(resolver.lookup_mx("far.test")) == FAR_MX
    assert network.questions[0][2] == "127.0.0.53"
    assert resolver.may_have_proof


def test_without_any_configuration_the_server_of_this_machine_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_nothing(self: object, f: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", read_nothing)
    network = DnsNetwork(ZONE)
    assert result_of(start(network, ()).lookup_mx("far.test")) == FAR_MX
    assert network.questions[0][2] == "127.0.0.1"


# The backend's own edges


def test_after_the_deadline_nothing_is_opened_and_nothing_is_waited_for() -> None:
    clock = Clock()
    backend = TwistedBackend(clock, 5.0)
    assert backend.name() == "twisted"
    assert not backend.datagram_connection_required()
    clock.advance(6)
    with pytest.raises(OSError, match="no time left"):
        result_of(backend.make_socket(2, 2))
    with pytest.raises(dns.exception.Timeout):
        result_of(backend.sleep(1.0))
    assert backend.limit(None) == 0


def test_the_backend_waits_for_what_it_is_given() -> None:
    async def answer() -> int:
        return 7

    assert result_of(TwistedBackend(Clock(), 5.0).wait_for(answer(), None)) == 7


# DNSSEC


def secure_addresses(server: str = "127.0.0.1", secure: tuple[str, ...] = ("a.test", "b.test")) -> Addresses:
    """The addresses of a.test, an alias of b.test; the server follows no alias."""
    zone = Zone(
        addresses={"b.test": ["192.0.2.1", "2001:db8::1"]},
        aliases={"a.test": "b.test"},
        follows_aliases=False,
        secure=secure,
    )
    network = DnsNetwork(zone)
    answer = result_of(start(network, (server,)).lookup_addresses("a.test"))
    assert isinstance(answer, Addresses)
    return answer


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.53:5300", "::1"])
def test_the_proof_of_a_resolver_on_this_machine_is_believed(server: str) -> None:
    assert secure_addresses(server) == Addresses(("2001:db8::1", "192.0.2.1"), True, "b.test")


@pytest.mark.parametrize("server", ["192.0.2.53", "10.0.0.1", "2001:db8::53"])
def test_the_proof_of_any_other_is_not_for_it_could_be_forged_on_its_way(server: str) -> None:
    assert not secure_addresses(server).is_secure


def test_every_answer_on_the_way_must_be_proved() -> None:
    assert not secure_addresses(secure=("a.test",)).is_secure
    assert not secure_addresses(secure=("b.test",)).is_secure


def test_the_proof_of_an_alias_is_that_of_its_own_record() -> None:
    zone = Zone(addresses={"b.test": ["192.0.2.1"]}, aliases={"a.test": "b.test"}, secure=("a.test",))
    for server, is_secure in (("127.0.0.1", True), ("192.0.2.53", False)):
        alias = result_of(start(DnsNetwork(zone), (server,)).lookup_alias("a.test"))
        assert alias == Alias("b.test", is_secure)


def test_it_is_known_whether_a_proof_may_come_at_all() -> None:
    network = DnsNetwork(ZONE)
    assert start(network, ("192.0.2.53", "127.0.0.1:5300")).may_have_proof
    assert not start(network, ("192.0.2.53",)).may_have_proof


def test_who_insists_on_proof_is_not_told_by_another_what_the_resolver_of_this_machine_refuses() -> None:
    def forge(query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        if network.questions[-1][2] == "127.0.0.1":
            response = dns.message.make_response(query)
            response.set_rcode(dns.rcode.SERVFAIL)
            return response
        return ZONE(query, is_tcp)

    network = DnsNetwork(forge)
    resolver = start(network, ("127.0.0.1", "192.0.2.53"))
    resolver.insist_on_proof(True)
    answers: list[MxAnswer] = []
    Deferred.fromCoroutine(resolver.lookup_mx("far.test")).addCallback(answers.append)
    network.pump([0.1] * 200)
    assert isinstance(answers[0], LookupFailed)
    assert {question[2] for question in network.questions} == {"127.0.0.1"}
    resolver.insist_on_proof(False)
    network.advance(kms_dns.FAILURE_TTL_SECONDS)
    assert result_of(resolver.lookup_mx("far.test")) == FAR_MX


def test_who_insists_on_proof_and_has_no_resolver_on_this_machine_asks_what_there_is() -> None:
    resolver = start(DnsNetwork(ZONE))
    resolver.insist_on_proof(True)
    assert result_of(resolver.lookup_mx("far.test")) == FAR_MX
