import attrs
import pytest

from kms.domain import reply
from kms.domain.dns_answer import LookupFailed, NoRecords, NoSuchDomain, TlsaAnswer, TlsaRecord, TlsaRecords
from kms.domain.next_hop import NextHop, TlsPolicy
from kms.domain.published_tls import DaneDemand, PublishedTls, StsMode, TlsAuthority
from kms.policy.hop_tls import demand_tls, find_testing_fault

HOP = NextHop("mx.far.test", ("192.0.2.1",), 25)
GOOD = TlsaRecord(3, 1, 1, bytes(32))
USELESS = TlsaRecord(1, 1, 1, bytes(32))


def published(sts: StsMode = StsMode.NONE, *, is_listed: bool = False) -> PublishedTls:
    return PublishedTls("far.test", may_have_dane=True, sts=sts, is_listed=is_listed)


def demand(
    answer: TlsaAnswer, about: PublishedTls | None = None, tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
) -> tuple[TlsPolicy, TlsAuthority] | reply.Reply:
    found = demand_tls(attrs.evolve(HOP, tls=tls), about or published(), "mx.far.test", answer)
    if isinstance(found, reply.Reply):
        return found
    assert found.dane is None
    return found.tls, found.tls_by


def test_usable_records_demand_tls_and_a_certificate_that_one_of_them_describes() -> None:
    records = TlsaRecords((USELESS, GOOD), is_secure=True)
    for tls in (TlsPolicy.OPPORTUNISTIC, TlsPolicy.REQUIRE, TlsPolicy.VERIFY):
        found = demand_tls(attrs.evolve(HOP, tls=tls), published(), "real.far.test", records)
        assert isinstance(found, NextHop)
        assert (found.tls, found.tls_by) == (TlsPolicy.REQUIRE, TlsAuthority.DANE)
        assert found.dane == DaneDemand((GOOD,), "real.far.test", ("real.far.test", "far.test"))


def test_dane_comes_before_an_mta_sts_policy_whatever_that_says() -> None:
    records = TlsaRecords((GOOD,), is_secure=True)
    found = demand_tls(HOP, published(StsMode.ENFORCE), "mx.far.test", records)
    assert isinstance(found, NextHop)
    assert found.tls_by is TlsAuthority.DANE


def test_records_that_are_all_unusable_demand_tls_alone() -> None:
    records = TlsaRecords((USELESS,), is_secure=True)
    assert demand(records) == (TlsPolicy.REQUIRE, TlsAuthority.DANE_UNUSABLE)
    assert demand(records, tls=TlsPolicy.VERIFY) == (TlsPolicy.VERIFY, TlsAuthority.OURSELVES)
    testing = published(StsMode.TESTING, is_listed=True)
    assert demand(records, testing) == (TlsPolicy.REQUIRE, TlsAuthority.DANE_UNUSABLE)
    enforced = published(StsMode.ENFORCE, is_listed=True)
    assert demand(records, enforced) == (TlsPolicy.VERIFY, TlsAuthority.STS)


@pytest.mark.parametrize("answer", [NoRecords(), NoSuchDomain(), TlsaRecords((GOOD,))])
def test_without_proof_or_records_there_is_no_dane(answer: TlsaAnswer) -> None:
    assert demand(answer) == (TlsPolicy.OPPORTUNISTIC, TlsAuthority.OURSELVES)
    assert demand(answer, tls=TlsPolicy.VERIFY) == (TlsPolicy.VERIFY, TlsAuthority.OURSELVES)
    enforced = published(StsMode.ENFORCE, is_listed=True)
    assert demand(answer, enforced) == (TlsPolicy.VERIFY, TlsAuthority.STS)


def test_records_that_cannot_be_known_defer() -> None:
    assert demand(LookupFailed("bogus")) is reply.TLSA_LOOKUP_FAILED
    assert demand(LookupFailed("bogus"), published(StsMode.ENFORCE)) is reply.TLSA_LOOKUP_FAILED


def test_a_host_that_an_enforced_policy_does_not_name_defers() -> None:
    assert demand(NoRecords(), published(StsMode.ENFORCE)) is reply.NOT_IN_STS_POLICY


def test_a_policy_in_testing_demands_nothing_and_says_what_it_would_have_refused() -> None:
    for is_listed in (True, False):
        about = published(StsMode.TESTING, is_listed=is_listed)
        assert demand(NoRecords(), about) == (TlsPolicy.OPPORTUNISTIC, TlsAuthority.STS_TESTING)
    listed = attrs.evolve(HOP, published=published(StsMode.TESTING, is_listed=True))
    assert find_testing_fault(listed, "TLSv1.3 X, MTA-STS testing") is None
    assert find_testing_fault(listed, "TLSv1.3 X, certificate not verified") == "certificate not verified"
    assert find_testing_fault(listed, None) == "no TLS"
    unlisted = attrs.evolve(HOP, published=published(StsMode.TESTING))
    assert find_testing_fault(unlisted, "TLSv1.3 X") == reply.NOT_IN_STS_POLICY.text


def test_without_a_policy_in_testing_there_is_nothing_to_tell() -> None:
    assert find_testing_fault(HOP, None) is None
    assert find_testing_fault(attrs.evolve(HOP, published=published()), None) is None
    pinned = attrs.evolve(
        HOP, published=published(StsMode.TESTING), dane=DaneDemand((GOOD,), "mx.far.test", ("mx.far.test",))
    )
    assert find_testing_fault(pinned, "TLSv1.3 X") is None
