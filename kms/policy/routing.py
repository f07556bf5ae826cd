"""The next hops of a destination: the smarthosts, or the servers that the DNS names (RFC 5321 5.1, RFC 7505).

Pure and in three steps, so that the caller can ask the DNS between them: `route_without_dns` (smarthosts and
address literals), `rank_exchangers` (the MX answer), `choose_hops` (the addresses of those hosts). What is
not known now defers and is never guessed: trouble with MX records never falls back to the A record. The
product's promise not to be turned against the network it stands in is kept here: no host found through the
DNS is connected to at a loopback or private address, and no mail is sent to ourselves.

Flow: service/route_finder.py asks, the queue runner sends to what comes out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence

import attrs

from kms.domain import reply
from kms.domain.address import Mailbox
from kms.domain.dns_answer import (
    AddressAnswer,
    Addresses,
    LookupFailed,
    MailExchanger,
    MxAnswer,
    NoRecords,
    NoSuchDomain,
)
from kms.domain.next_hop import NextHop, TlsPolicy
from kms.domain.outcome import Deferred, Failed
from kms.domain.private_address import is_private, parse_address, unwrap
from kms.domain.reply import Reply
from kms.policy.route_table import Refusal, RouteTable

MAX_EXCHANGERS = 20
"""How many hosts of one domain are ever looked up: hundreds of records must not cost hundreds of queries."""

_NOWHERE = "none"


@attrs.frozen
class RoutingRules:
    """The settings of `[delivery]`, and what we know of ourselves.

    Attributes:
        smarthosts: all mail goes to these, in order; empty = direct delivery.
        table: the lines of `[routes]`, which come first.
        tls: policy for direct delivery; a smarthost carries its own.
        direct_port: of the receiving servers.
        allow_private_hosts: connect to loopback and private addresses too.
        mta_sts: obey the MTA-STS policies of the receiving domains.
        dane: obey the TLSA records of the receiving servers.
        own_names: our host names, lower-case.
        own_endpoints: addresses, as `ipaddress` prints them, and ports that we listen on.
        own_wildcard_ports: ports that we listen on at every address of this machine.
    """

    smarthosts: tuple[NextHop, ...] = ()
    table: RouteTable = attrs.field(factory=RouteTable)
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    direct_port: int = 25
    allow_private_hosts: bool = False
    mta_sts: bool = False
    dane: bool = False
    own_names: frozenset[str] = frozenset()
    own_endpoints: frozenset[tuple[str, int]] = frozenset()
    own_wildcard_ports: frozenset[int] = frozenset()


@attrs.frozen
class Route:
    """Where the mail of one domain goes.

    Attributes:
        hops: servers to try, best first; never empty.
        through_smarthost: the hops are the smarthosts, so `bounce_after` does not count.
    """

    hops: tuple[NextHop, ...]
    through_smarthost: bool = False


def name_destination(domain: str, sender: Mailbox | None, rules: RoutingRules) -> str:
    """Name the destination that mail of `sender` to `domain` shares connections, limits and back-off with.

    Returns:
        The hop of its `[routes]` line; "" for the smarthost; else the domain itself.
    """
    match rules.table.find(sender, domain):
        case NextHop() as hop:
            protocol = "lmtp" if hop.is_lmtp else "smtp"
            return f"{protocol}:{hop.addresses[0] if hop.is_local_socket else hop.host}:{hop.port}"
        case None if rules.smarthosts:
            return ""
        case _:
            return domain


def route_without_dns(
    domain: str, rules: RoutingRules, sender: Mailbox | None = None
) -> Route | Deferred | Failed | None:
    """Route what needs no question: `[routes]` lines, the rest where there are smarthosts, address literals.

    Args:
        domain: of the recipient, in the form that `Mailbox.domain` has.
        sender: the reverse-path.

    Returns:
        None when the DNS must be asked.

    RFC 5321 4.1.3: "[192.0.2.1]" and "[IPv6:2001:db8::1]" name the server itself. What may not be connected
    to through an MX record may not be so either.
    """
    match rules.table.find(sender, domain):
        case NextHop() as hop:
            return Route((hop,))
        case Refusal(text):
            return _fail(reply.refused_by_route(text))
        case None if rules.smarthosts:
            return Route(tuple(map(_with_literal_address, rules.smarthosts)), through_smarthost=True)
        case _:  # by MX
            pass
    if not domain.startswith("["):
        return None
    address = parse_address(domain)
    if address is None:
        return _fail(reply.NO_SUCH_DOMAIN)
    text = str(address)
    return choose_hops([MailExchanger(0, domain)], {domain: Addresses((text,))}, rules)


def reroute(next_hop: str, rules: RoutingRules) -> Route:
    """Route an entry that an operator sends elsewhere; the hop is no smarthost, so `bounce_after` counts.

    Args:
        next_hop: host:port, an IPv6 address in brackets.
    """
    host, _, port = next_hop.rpartition(":")
    hop = NextHop(host.strip("[]"), (), int(port), rules.tls)
    return Route((_with_literal_address(hop),))


def rank_exchangers(
    domain: str, answer: MxAnswer, rules: RoutingRules, shuffle: Callable[[list[MailExchanger]], None]
) -> tuple[MailExchanger, ...] | Deferred | Failed:
    """Put the mail exchangers in the order in which they are to be tried.

    Args:
        answer: what the DNS said to the question for the domain's MX records.
        shuffle: puts a list in random order; spreads the load over hosts of equal preference.

    Returns:
        At most `MAX_EXCHANGERS` hosts, best first, only those better than ourselves; or why there are none.

    RFC 5321 5.1: a domain without MX records is its own and only host; one whose MX records cannot be known
    now is tried again later. RFC 7505 3: a null MX takes no mail.
    """
    match answer:
        case LookupFailed():
            return _defer(reply.DOMAIN_LOOKUP_FAILED)
        case NoSuchDomain():
            return _fail(reply.NO_SUCH_DOMAIN)
        case NoRecords():
            records = [MailExchanger(0, domain)]
        case _:
            records = [record for record in answer.records if record.host]
            if not records:
                return _fail(reply.DOMAIN_TAKES_NO_MAIL)
    ours = [record.preference for record in records if record.host in rules.own_names]
    if ours:
        records = [record for record in records if record.preference < min(ours)]
        if not records:
            return _fail(reply.LOOPS_BACK)
    shuffle(records)
    return tuple(sorted(records, key=lambda record: record.preference)[:MAX_EXCHANGERS])


def choose_hops(
    exchangers: Sequence[MailExchanger],
    addresses: Mapping[str, AddressAnswer],
    rules: RoutingRules,
    own_addresses: frozenset[str] = frozenset(),
) -> Route | Deferred | Failed:
    """Make the next hops out of the ranked hosts and their addresses.

    Args:
        exchangers: as `rank_exchangers` gave them.
        addresses: what the DNS said, by host; an answer for each.
        own_addresses: those among the addresses found that this machine has.

    Returns:
        The hops; or, with none left, the most hopeful reason: `Deferred` while any host could not be looked
        up, or has only private addresses; `Failed` when all that we know for sure says that no mail will
        ever get there.

    RFC 5321 5.1: a host that is ourselves is left out, with all of the same or a worse preference.
    """
    usable = _cut_ourselves(exchangers, addresses, rules, own_addresses)
    answers = {record.host: addresses[record.host] for record in usable}
    found = {host: answer.addresses for host, answer in answers.items() if isinstance(answer, Addresses)}
    allowed = {host: _without_private(texts, rules) for host, texts in found.items()}
    hops = tuple(
        NextHop(host, texts, rules.direct_port, rules.tls) for host, texts in allowed.items() if texts
    )
    if hops:
        return Route(hops)
    if any(isinstance(answer, LookupFailed) for answer in answers.values()):
        return _defer(reply.DOMAIN_LOOKUP_FAILED)
    if found:
        return _defer(reply.ONLY_PRIVATE_HOSTS)
    was_cut = len(usable) < len(exchangers)
    return _fail(reply.LOOPS_BACK if was_cut else reply.HOSTS_WITHOUT_ADDRESS)


def _without_private(texts: tuple[str, ...], rules: RoutingRules) -> tuple[str, ...]:
    if rules.allow_private_hosts:
        return texts
    return tuple(text for text in texts if not is_private(ipaddress.ip_address(text)))


def _cut_ourselves(
    exchangers: Sequence[MailExchanger],
    addresses: Mapping[str, AddressAnswer],
    rules: RoutingRules,
    own_addresses: frozenset[str],
) -> list[MailExchanger]:
    ours = [
        record.preference
        for record in exchangers
        if isinstance(answer := addresses[record.host], Addresses)
        and any(_is_ourselves(text, rules, own_addresses) for text in answer.addresses)
    ]
    return [record for record in exchangers if not ours or record.preference < min(ours)]


def _is_ourselves(text: str, rules: RoutingRules, own_addresses: frozenset[str]) -> bool:
    port = rules.direct_port
    address = unwrap(ipaddress.ip_address(text))
    if (str(address), port) in rules.own_endpoints:
        return True
    is_here = address.is_loopback or address.is_unspecified or text in own_addresses
    return is_here and port in rules.own_wildcard_ports


def _with_literal_address(hop: NextHop) -> NextHop:
    address = None if hop.addresses else parse_address(hop.host)
    return hop if address is None else attrs.evolve(hop, addresses=(str(address),))


def _defer(why: Reply) -> Deferred:
    return Deferred(why, _NOWHERE)


def _fail(why: Reply) -> Failed:
    return Failed(why, _NOWHERE)
