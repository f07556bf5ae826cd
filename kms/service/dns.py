"""Asks the DNS, through dnspython on the reactor, and gives plain values: the real `Resolver`.

Never raises: whatever goes wrong, from a silent server to a lying one, is `LookupFailed`, and nobody is ever
told "there is nothing" unless a server said so. Names are absolute, CNAMEs are followed, answers are kept as
long as their TTL allows and failures for a short time, equal questions under way are asked once. How many
questions are under way at once is bounded. DNSSEC's proof is the AD bit of a resolver at a loopback address, and
of no other: on the way from elsewhere anybody may set it.

Flow: service/route_finder.py, hop_protection.py, sts_policies.py and the check of a sender's domain await it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Callable

import attrs
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
import dns.reversename
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults

from kms.domain.dns_answer import (
    AddressAnswer,
    Addresses,
    Alias,
    AliasAnswer,
    HostNames,
    LookupFailed,
    MailExchangers,
    MxAnswer,
    NamesAnswer,
    NoRecords,
    NoSuchDomain,
    TextAnswer,
    Texts,
    TlsaAnswer,
    TlsaRecords,
)
from kms.domain.private_address import parse_address
from kms.service.dns_backend import NetworkReactor, TwistedBackend
from kms.service.dns_records import Answer, merge_addresses, print_name, read_records

MAX_ALIASES = 8
MAX_CACHED_ANSWERS = 4096
MAX_LOOKUPS_AT_ONCE = 200
EDNS_PAYLOAD_OCTETS = 1232
SECONDS_FOR_ONE_TRY = 3.0

MAX_TTL_SECONDS = 3600.0
MAX_NEGATIVE_TTL_SECONDS = 300.0
FAILURE_TTL_SECONDS = 30.0

_Key = tuple[dns.name.Name, dns.rdatatype.RdataType]


class DnsResolver:
    """The real `kms.ports.Resolver`.

    Args:
        reactor: sockets and timers.
        nameservers: "address" or "address:port", IPv6 with a port as "[address]:port"; empty = the system's.
        timeout: seconds for one lookup, all servers and repetitions together.
        open_socket: makes a UDP socket of a family and a type.

    Raises:
        ValueError: one of `nameservers` is no address.
    """

    def __init__(
        self,
        reactor: NetworkReactor,
        nameservers: tuple[str, ...] = (),
        timeout: float = 10.0,
        open_socket: Callable[[int, int], socket.socket] = socket.socket,
    ) -> None:
        self._open_socket = open_socket
        self._reactor = reactor
        self._timeout = timeout
        self._stub = _make_stub(nameservers, timeout)
        self._nameservers = list(self._stub.nameservers)
        self._cache = _AnswerCache()
        self._waiting: dict[_Key, list[Deferred[Answer]]] = {}
        self._slots = DeferredSemaphore(MAX_LOOKUPS_AT_ONCE)

    @property
    def may_have_proof(self) -> bool:
        """A resolver at a loopback address is among those asked, so DNSSEC's proof may come."""
        return any(map(_is_here, self._stub.nameservers))

    def insist_on_proof(self, is_wanted: bool) -> None:
        """Ask, where DNSSEC's proof is wanted, only resolvers at loopback addresses, as long as there are any.

        They refuse a forged answer (SERVFAIL); another resolver, asked next, would pass it on as one that is not
        signed.
        """
        here = list(filter(_is_here, self._nameservers)) if is_wanted else []
        self._stub.nameservers = here or self._nameservers

    async def lookup_mx(self, domain: str) -> MxAnswer:
        """See `Resolver`."""
        answer = await self._look_up(domain, dns.rdatatype.MX)
        assert not isinstance(answer, Addresses | Alias | HostNames | Texts | TlsaRecords)
        return answer

    async def lookup_addresses(self, host: str) -> AddressAnswer:
        """See `Resolver`. RFC 6761 6.3: `localhost` is never asked for."""
        if host == "localhost" or host.endswith(".localhost"):
            return Addresses(("::1", "127.0.0.1"))
        types = (dns.rdatatype.AAAA, dns.rdatatype.A)
        lookups = [Deferred.fromCoroutine(self._look_up(host, rdtype)) for rdtype in types]
        return merge_addresses(await gatherResults(lookups, consumeErrors=True))

    async def lookup_names(self, address: str) -> NamesAnswer:
        """See `Resolver`."""
        name = dns.reversename.from_address(address)
        answer = await self._look_up(name.to_text(), dns.rdatatype.PTR)
        assert not isinstance(answer, Addresses | Alias | MailExchangers | Texts | TlsaRecords)
        return answer

    async def lookup_texts(self, name: str) -> TextAnswer:
        """See `Resolver`."""
        answer = await self._look_up(name, dns.rdatatype.TXT)
        assert not isinstance(answer, Addresses | Alias | MailExchangers | HostNames | TlsaRecords)
        return answer

    async def lookup_tlsa(self, host: str, port: int) -> TlsaAnswer:
        """See `Resolver`."""
        answer = await self._look_up(f"_{port}._tcp.{host}", dns.rdatatype.TLSA)
        assert not isinstance(answer, Addresses | Alias | MailExchangers | HostNames | Texts)
        return answer

    async def lookup_alias(self, name: str) -> AliasAnswer:
        """See `Resolver`."""
        answer = await self._look_up(name, dns.rdatatype.CNAME)
        assert not isinstance(answer, Addresses | MailExchangers | HostNames | Texts | TlsaRecords)
        return answer

    async def _look_up(self, text: str, rdtype: dns.rdatatype.RdataType) -> Answer:
        try:
            name = dns.name.from_text(text)
        except (dns.exception.DNSException, UnicodeError):
            # Too long, or with an empty label: no zone can hold it.
            return NoSuchDomain()
        key = (name, rdtype)
        cached = self._cache.get(key, self._reactor.seconds())
        if cached is not None:
            return cached
        waiter: Deferred[Answer] = Deferred()
        waiting = self._waiting.setdefault(key, [])
        waiting.append(waiter)
        if len(waiting) == 1:
            Deferred.fromCoroutine(self._answer_all(key))
        return await waiter

    async def _answer_all(self, key: _Key) -> None:
        """Ask, keep the answer, and give it to all who wait for it."""
        try:
            async with self._slots:
                found = await self._follow_aliases(*key)
        except Exception as error:
            # Servers say, and the network does, anything; nothing of it may look like an answer.
            found = _fail(f"{type(error).__name__}: {error}")
        self._cache.put(key, found, self._reactor.seconds())
        for waiter in self._waiting.pop(key):
            waiter.callback(found.answer)

    async def _follow_aliases(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> _Found:
        """Ask for `name`, and for what it is an alias of where the server did not do so itself."""
        backend = TwistedBackend(self._reactor, self._timeout, self._open_socket)
        asked, ttl, is_secure = name, MAX_TTL_SECONDS, True
        for _ in range(MAX_ALIASES):
            found = await self._ask(name, rdtype, backend)
            ttl = min(ttl, found.ttl)
            is_secure = is_secure and found.is_secure
            if found.alias_of is None:
                return attrs.evolve(found, ttl=ttl, answer=_mark(found, is_secure, asked))
            name = found.alias_of
        return _fail("a chain of aliases has no end")

    async def _ask(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, backend: TwistedBackend
    ) -> _Found:
        try:
            answer = await self._stub.resolve(
                name, rdtype, raise_on_no_answer=False, search=False, backend=backend
            )
        except dns.resolver.NXDOMAIN as error:
            return _Found(NoSuchDomain(), _ttl_of_nxdomain(error, name))
        return _read(answer, name)


@attrs.frozen
class _Found:
    """What one lookup brought.

    Attributes:
        answer: for the caller.
        ttl: how many seconds it may be kept.
        alias_of: the name is an alias of this one, of which the server said nothing.
        is_secure: DNSSEC proves it.
        canonical: whose records they are.
    """

    answer: Answer
    ttl: float
    alias_of: dns.name.Name | None = None
    is_secure: bool = False
    canonical: dns.name.Name = dns.name.root


class _AnswerCache:
    """The answers of late, the least recently used thrown out first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[_Key, tuple[Answer, float]] = OrderedDict()

    def get(self, key: _Key, now: float) -> Answer | None:
        answer, expires = self._answers.get(key, (None, 0.0))
        if answer is None:
            return None
        if expires <= now:
            del self._answers[key]
            return None
        self._answers.move_to_end(key)
        return answer

    def put(self, key: _Key, found: _Found, now: float) -> None:
        self._answers[key] = (found.answer, now + found.ttl)
        self._answers.move_to_end(key)
        if len(self._answers) > MAX_CACHED_ANSWERS:
            self._answers.popitem(last=False)


def parse_nameserver(text: str) -> tuple[str, int]:
    """Read "address", "address:port" or "[address]:port".

    Raises:
        ValueError: it is none of them.
    """
    try:
        return str(ipaddress.ip_address(text.strip("[]"))), 53
    except ValueError:
        address, _, port = text.rpartition(":")
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} is no address of a DNS server") from None
        return str(ipaddress.ip_address(address.strip("[]"))), int(port)


def _make_stub(nameservers: tuple[str, ...], timeout: float) -> dns.asyncresolver.Resolver:
    """Make dnspython's resolver; its own cache stays off, since it runs on the wall clock."""
    try:
        stub = dns.asyncresolver.Resolver(configure=not nameservers)
    except dns.resolver.NoResolverConfiguration:
        stub = dns.asyncresolver.Resolver(configure=False)
        nameservers = ("127.0.0.1",)
    if nameservers:
        stub.nameservers = [dns.nameserver.Do53Nameserver(*parse_nameserver(text)) for text in nameservers]
    stub.lifetime = timeout
    stub.timeout = min(SECONDS_FOR_ONE_TRY, timeout)
    stub.use_edns(0, 0, EDNS_PAYLOAD_OCTETS)
    stub.set_flags(dns.flags.RD | dns.flags.AD)  # RFC 6840 5.7: tell us of the proof, without the signatures
    return stub


def _read(answer: dns.resolver.Answer, name: dns.name.Name) -> _Found:
    chain = answer.chaining_result
    is_secure = _is_secure(answer)
    if answer.rrset is None:
        alias_of = None if chain.canonical_name == name else chain.canonical_name
        return _Found(NoRecords(), min(chain.minimum_ttl, MAX_NEGATIVE_TTL_SECONDS), alias_of, is_secure)
    records = read_records(answer.rdtype, answer.rrset)
    return _Found(records, min(chain.minimum_ttl, MAX_TTL_SECONDS), None, is_secure, chain.canonical_name)


def _is_secure(answer: dns.resolver.Answer) -> bool:
    """Say whether a resolver of this machine vouches for the answer; only this machine's word cannot be forged."""
    has_proof = bool(answer.response.flags & dns.flags.AD)
    return has_proof and _is_loopback(answer.nameserver or "")


def _is_here(server: str | dns.nameserver.Nameserver) -> bool:
    """Say whether a resolver is on this machine; it is a text where the system's configuration names it."""
    return _is_loopback(server if isinstance(server, str) else server.answer_nameserver())


def _is_loopback(address: str) -> bool:
    found = parse_address(address)
    return found is not None and found.is_loopback


def _mark(found: _Found, is_secure: bool, asked: dns.name.Name) -> Answer:
    """Note in the answer what is known of its proof, and whose records it has."""
    match found.answer:
        case Addresses() as answer:
            canonical = "" if found.canonical == asked else print_name(found.canonical)
            return attrs.evolve(answer, is_secure=is_secure, canonical=canonical)
        case MailExchangers() | TlsaRecords() | Alias() as answer:
            return attrs.evolve(answer, is_secure=is_secure)
        case answer:
            return answer


def _ttl_of_nxdomain(error: dns.resolver.NXDOMAIN, name: dns.name.Name) -> float:
    responses: dict[dns.name.Name, dns.message.QueryMessage] = error.kwargs["responses"]
    return min(float(responses[name].resolve_chaining().minimum_ttl), MAX_NEGATIVE_TTL_SECONDS)


def _fail(reason: str) -> _Found:
    return _Found(LookupFailed(reason), FAILURE_TTL_SECONDS)
