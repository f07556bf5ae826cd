"""What every `kms.ports.Resolver` promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kms.domain.dns_answer import (
    AddressAnswer,
    Addresses,
    Alias,
    AliasAnswer,
    HostNames,
    LookupFailed,
    MailExchanger,
    MailExchangers,
    MxAnswer,
    NamesAnswer,
    NoRecords,
    NoSuchDomain,
    TextAnswer,
    Texts,
    TlsaAnswer,
    TlsaRecord,
    TlsaRecords,
)
from kms.ports import Resolver
from kms.service.dns import DnsResolver
from tests.support.dns_network import DnsNetwork, Zone
from tests.support.fakes import FakeResolver
from tests.support.results import result_of

MX: Mapping[str, Sequence[tuple[int, str]]] = {
    "far.test": [(10, "mx1.far.test"), (20, "mx2.far.test")],
    "null.test": [(0, "")],
}
ADDRESSES: Mapping[str, Sequence[str]] = {
    "mx1.far.test": ["192.0.2.1", "2001:db8::1", "192.0.2.2"],
    "mx2.far.test": ["192.0.2.3"],
    "empty.test": [],
}
NAMES: Mapping[str, Sequence[str]] = {
    "192.0.2.9": ["client.test", "other.test"],
    "2001:db8::9": ["six.test"],
    "192.0.2.10": [],
}
FAILING = ("broken.test", "192.0.2.11", "_25._tcp.broken.test")
TEXTS: Mapping[str, Sequence[bytes]] = {
    "_mta-sts.far.test": [b"v=STSv1; id=1;", b"two strings and \xff"],
    "empty.test": [],
}
ZONE_TEXTS = {
    "_mta-sts.far.test": ['"v=STSv1; " "id=1;"', '"two strings" " and \\255"'],
    "empty.test": [],
}
DIGEST = bytes(range(32))
TLSA = {
    ("mx1.far.test", 25): [TlsaRecord(3, 1, 1, DIGEST)],
    ("mx2.far.test", 587): [TlsaRecord(2, 0, 0, b"a")],
}
ALIASES = {"first.far.test": "second.far.test", "second.far.test": "elsewhere.test"}
SECURE = {"far.test", "mx1.far.test", "_25._tcp.mx1.far.test", "first.far.test"}


class ResolverContract:
    """The tests; a subclass makes the resolver."""

    def make_resolver(
        self,
        mx: Mapping[str, Sequence[tuple[int, str]]],
        addresses: Mapping[str, Sequence[str]],
        failing: Iterable[str],
    ) -> Resolver:
        raise NotImplementedError

    def _mx(self, domain: str) -> MxAnswer:
        return result_of(self.make_resolver(MX, ADDRESSES, FAILING).lookup_mx(domain))

    def _addresses(self, host: str) -> AddressAnswer:
        return result_of(self.make_resolver(MX, ADDRESSES, FAILING).lookup_addresses(host))

    def test_mail_exchangers_come_with_preference_and_name(self) -> None:
        answer = self._mx("far.test")
        assert isinstance(answer, MailExchangers)
        assert set(answer.records) == {MailExchanger(10, "mx1.far.test"), MailExchanger(20, "mx2.far.test")}

    def test_a_null_mx_is_the_empty_host(self) -> None:
        answer = self._mx("null.test")
        assert isinstance(answer, MailExchangers)
        assert answer.is_null

    def test_a_name_without_such_records_is_not_a_name_that_does_not_exist(self) -> None:
        assert self._mx("empty.test") == NoRecords()
        assert self._addresses("empty.test") == NoRecords()
        assert self._mx("mx2.far.test") == NoRecords()
        assert self._addresses("far.test") == NoRecords()
        assert self._mx("none.test") == NoSuchDomain()
        assert self._addresses("none.test") == NoSuchDomain()

    def test_trouble_is_neither(self) -> None:
        assert isinstance(self._mx("broken.test"), LookupFailed)
        assert isinstance(self._addresses("broken.test"), LookupFailed)

    def test_ipv6_addresses_come_first_and_then_the_others(self) -> None:
        answer = self._addresses("mx1.far.test")
        assert isinstance(answer, Addresses)
        assert answer.addresses[0] == "2001:db8::1"
        assert sorted(answer.addresses[1:]) == ["192.0.2.1", "192.0.2.2"]

    def test_one_kind_of_address_is_enough(self) -> None:
        assert self._addresses("mx2.far.test") == Addresses(("192.0.2.3",))

    def test_a_name_that_no_zone_can_hold_does_not_exist(self) -> None:
        for name in ("a..test", "x" * 64 + ".test", ".".join(["a" * 60] * 5), ".test"):
            assert self._mx(name) == NoSuchDomain()
            assert self._addresses(name) == NoSuchDomain()

    def _names(self, address: str) -> NamesAnswer:
        return result_of(self.make_resolver(MX, ADDRESSES, FAILING).lookup_names(address))

    def test_an_address_has_names_or_none_or_that_is_not_known(self) -> None:
        found = self._names("192.0.2.9")
        assert isinstance(found, HostNames)
        assert set(found.names) == {"client.test", "other.test"}
        assert self._names("2001:db8::9") == HostNames(("six.test",))
        assert self._names("192.0.2.10") == NoRecords()
        assert self._names("192.0.2.12") == NoSuchDomain()
        assert isinstance(self._names("192.0.2.11"), LookupFailed)

    def _texts(self, name: str) -> TextAnswer:
        return result_of(self.make_resolver(MX, ADDRESSES, FAILING).lookup_texts(name))

    def test_text_comes_with_the_strings_of_each_record_put_together(self) -> None:
        answer = self._texts("_mta-sts.far.test")
        assert isinstance(answer, Texts)
        assert sorted(answer.texts) == [b"two strings and \xff", b"v=STSv1; id=1;"]
        assert self._texts("empty.test") == NoRecords()
        assert self._texts("none.test") == NoSuchDomain()
        assert isinstance(self._texts("broken.test"), LookupFailed)

    def _tlsa(self, host: str, port: int = 25) -> TlsaAnswer:
        return result_of(self.make_resolver(MX, ADDRESSES, FAILING).lookup_tlsa(host, port))

    def test_tlsa_records_are_those_of_a_port(self) -> None:
        assert self._tlsa("mx1.far.test") == TlsaRecords((TlsaRecord(3, 1, 1, DIGEST),), is_secure=True)
        assert self._tlsa("mx2.far.test", 587) == TlsaRecords((TlsaRecord(2, 0, 0, b"a"),))
        assert self._tlsa("mx2.far.test") == NoSuchDomain()
        assert isinstance(self._tlsa("broken.test"), LookupFailed)

    def _alias(self, name: str) -> AliasAnswer:
        return result_of(self.make_resolver(MX, ADDRESSES, FAILING).lookup_alias(name))

    def test_an_alias_is_the_first_step_alone(self) -> None:
        assert self._alias("first.far.test") == Alias("second.far.test", is_secure=True)
        assert self._alias("second.far.test") == Alias("elsewhere.test")
        assert self._alias("mx1.far.test") == NoRecords()
        assert self._alias("none.test") == NoSuchDomain()
        assert isinstance(self._alias("broken.test"), LookupFailed)

    def test_what_dnssec_proves_is_marked(self) -> None:
        far, null = self._mx("far.test"), self._mx("null.test")
        assert isinstance(far, MailExchangers)
        assert isinstance(null, MailExchangers)
        assert far.is_secure
        assert not null.is_secure
        first, second = self._addresses("mx1.far.test"), self._addresses("mx2.far.test")
        assert isinstance(first, Addresses)
        assert isinstance(second, Addresses)
        assert first.is_secure
        assert not second.is_secure


class TestFakeResolver(ResolverContract):
    def make_resolver(
        self,
        mx: Mapping[str, Sequence[tuple[int, str]]],
        addresses: Mapping[str, Sequence[str]],
        failing: Iterable[str],
    ) -> Resolver:
        resolver = FakeResolver(mx, addresses, failing, NAMES)
        resolver.texts, resolver.tlsa, resolver.secure = dict(TEXTS), dict(TLSA), set(SECURE)
        resolver.aliases = dict(ALIASES)
        return resolver


class TestDnsResolver(ResolverContract):
    def make_resolver(
        self,
        mx: Mapping[str, Sequence[tuple[int, str]]],
        addresses: Mapping[str, Sequence[str]],
        failing: Iterable[str],
    ) -> Resolver:
        tlsa = {
            f"_{port}._tcp.{host}": [
                f"{one.usage} {one.selector} {one.matching} {one.data.hex()}" for one in records
            ]
            for (host, port), records in TLSA.items()
        }
        zone = Zone(mx, addresses, failing, ALIASES, names=NAMES, texts=ZONE_TEXTS, tlsa=tlsa, secure=SECURE)
        network = DnsNetwork(zone)
        return DnsResolver(network, ("127.0.0.53",), open_socket=network.open_socket)
