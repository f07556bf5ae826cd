from __future__ import annotations

import attrs
import pytest
from twisted.internet.defer import Deferred

from kms.domain import reply
from kms.domain.dns_answer import AddressAnswer, TlsaRecord
from kms.domain.next_hop import NextHop, TlsPolicy
from kms.domain.published_tls import DaneDemand, PublishedTls, StsMode, TlsAuthority
from kms.service.hop_protection import demand
from tests.support.fakes import FakeResolver
from tests.support.results import result_of

HOST = "mx.far.test"
RECORD = TlsaRecord(3, 1, 1, bytes(32))
HOP = NextHop(HOST, ("192.0.2.1",), 25, published=PublishedTls("far.test", may_have_dane=True))
TLSA = "_25._tcp.mx.far.test"


def world(*secure: str) -> FakeResolver:
    resolver = FakeResolver(addresses={HOST: ["192.0.2.1"]})
    resolver.tlsa[HOST, 25] = [RECORD]
    resolver.secure = set(secure)
    return resolver


def ask(resolver: FakeResolver, hop: NextHop = HOP) -> NextHop | reply.Reply:
    return result_of(Deferred.fromCoroutine(demand(resolver, hop)))


def test_a_hop_about_which_nothing_may_be_published_costs_no_question() -> None:
    resolver, hop = world(HOST, TLSA), attrs.evolve(HOP, published=None)
    assert ask(resolver, hop) is hop
    assert resolver.asked == []


def test_records_with_proof_all_the_way_are_demanded() -> None:
    found = ask(world(HOST, TLSA))
    assert isinstance(found, NextHop)
    assert found.dane == DaneDemand((RECORD,), HOST, (HOST, "far.test"))
    assert found.tls is TlsPolicy.REQUIRE


def test_the_port_is_that_of_the_hop() -> None:
    resolver = world(HOST, "_465._tcp.mx.far.test")
    resolver.tlsa[HOST, 465] = [RECORD]
    found = ask(resolver, attrs.evolve(HOP, port=465))
    assert isinstance(found, NextHop)
    assert found.tls_by is TlsAuthority.DANE


def test_without_proof_of_the_addresses_no_records_are_asked_for() -> None:
    resolver = world(TLSA)
    assert ask(resolver) == HOP
    assert resolver.asked == [("addresses", HOST)]


def test_records_without_proof_do_not_count() -> None:
    assert ask(world(HOST)) == HOP


def test_a_host_without_address_has_no_dane() -> None:
    resolver = world(HOST, TLSA)
    resolver.addresses.clear()
    assert ask(resolver) == HOP


def test_what_cannot_be_known_defers() -> None:
    for name in (HOST, TLSA):
        resolver = world(HOST, TLSA)
        resolver.failing.add(name)
        assert ask(resolver) is reply.TLSA_LOOKUP_FAILED


def test_an_alias_has_the_records_of_the_name_it_stands_for_or_its_own() -> None:
    resolver = world(HOST, TLSA, "_25._tcp.real.test")
    resolver.aliases[HOST] = "real.test"
    found = ask(resolver)
    assert isinstance(found, NextHop)
    assert found.dane is not None
    assert found.dane.base == HOST
    resolver.tlsa["real.test", 25] = [RECORD]
    found = ask(resolver)
    assert isinstance(found, NextHop)
    assert found.dane == DaneDemand((RECORD,), "real.test", ("real.test", "far.test"))


ALIAS_TLSA, REAL_TLSA = TLSA, "_25._tcp.real.test"


@pytest.mark.parametrize(
    ("chain", "secure", "published", "base", "asked"),
    [
        pytest.param("all", (ALIAS_TLSA, REAL_TLSA), "both", "real.test", [REAL_TLSA], id="both, all proved"),
        pytest.param("all", (ALIAS_TLSA, REAL_TLSA), "own", HOST, [REAL_TLSA, ALIAS_TLSA], id="its own only"),
        pytest.param("all", (ALIAS_TLSA,), "both", HOST, [REAL_TLSA, ALIAS_TLSA], id="its own proved only"),
        pytest.param("all", (), "both", "", [REAL_TLSA, ALIAS_TLSA], id="records without proof"),
        pytest.param(
            "first", (ALIAS_TLSA, REAL_TLSA), "both", HOST, [ALIAS_TLSA], id="the alias proved only"
        ),
        pytest.param("first", (ALIAS_TLSA,), "none", "", [ALIAS_TLSA], id="the same, without records"),
        pytest.param("first", (), "own", "", [ALIAS_TLSA], id="the same, with records without proof"),
        pytest.param("none", (ALIAS_TLSA, REAL_TLSA), "both", "", [], id="nothing proved on the way"),
    ],
)
def test_where_the_records_of_an_alias_are_looked_up(
    chain: str, secure: tuple[str, ...], published: str, base: str, asked: list[str]
) -> None:
    """RFC 7672 2.2.2 and 2.2.3."""
    resolver = world(*secure)
    resolver.aliases[HOST] = "real.test"
    resolver.secure |= {HOST} if chain == "all" else set()
    resolver.secure_aliases = {HOST} if chain == "first" else set()
    if published == "none":
        resolver.tlsa.clear()
    if published == "both":
        resolver.tlsa["real.test", 25] = [RECORD]
    found = ask(resolver)
    assert isinstance(found, NextHop)
    assert (found.dane.base if found.dane is not None else "") == base
    assert found.dane is None or found.dane.names == (base, "far.test")
    assert [name for kind, name in resolver.asked if kind == "tlsa"] == asked
    assert (("alias", HOST) in resolver.asked) == (chain != "all")


def test_an_alias_about_which_nothing_can_be_known_defers_and_one_that_is_gone_meanwhile_has_no_dane() -> (
    None
):
    resolver = world(TLSA)
    resolver.aliases[HOST] = "real.test"
    resolver.failing.add(("alias", HOST))
    assert ask(resolver) is reply.TLSA_LOOKUP_FAILED
    resolver = world(TLSA)
    resolver.aliases[HOST] = "real.test"
    look_up = resolver.lookup_addresses

    async def look_up_before(host: str) -> AddressAnswer:
        answer = await look_up(host)
        resolver.aliases.clear()
        return answer

    resolver.lookup_addresses = look_up_before  # type: ignore[method-assign]
    assert ask(resolver) == HOP


def test_an_address_has_no_dane() -> None:
    resolver = world()
    for host in ("192.0.2.1", "[IPv6:2001:db8::1]"):
        hop = attrs.evolve(HOP, host=host)
        assert ask(resolver, hop) == hop
    assert resolver.asked == []


def test_mta_sts_needs_no_question_here() -> None:
    resolver = world(HOST, TLSA)
    published = PublishedTls("far.test", False, StsMode.ENFORCE, is_listed=True)
    found = ask(resolver, attrs.evolve(HOP, published=published))
    assert isinstance(found, NextHop)
    assert (found.tls, found.tls_by) == (TlsPolicy.VERIFY, TlsAuthority.STS)
    assert resolver.asked == []
