"""Faults that only several settings together make, and risks that are allowed but should be known.

Flow: loader.py runs `find_faults` on what it has read (a fault refuses the file); `kmsctl check` and the
start print `find_risks`.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from kms.config.delivery_settings import DeliveryMode, SmarthostAuth
from kms.config.network_kinds import endpoint_port, is_public
from kms.config.server_settings import PlaintextAuth
from kms.domain.address_group import AddressGroup
from kms.domain.next_hop import TlsPolicy
from kms.policy.relay import RelayMode

if TYPE_CHECKING:
    from kms.config.settings import Settings

Fault = tuple[str, str, str]
"""Section, key, and what is wrong."""

_LONGEST_SOCKET_PATH = 103
_SHORT_INTERVAL = timedelta(minutes=5)
_MAIL_PORTS = ("smtp", "submission", "submissions", "pop3", "pop3s")
_LARGEST_IPV4_RANGE = 2**24  # 10.0.0.0/8
_LARGEST_IPV6_RANGE = 2**121  # fc00::/7


def find_faults(settings: Settings) -> Iterator[Fault]:
    """Find what makes these settings unusable."""
    yield from _check_data_folder(settings)
    yield from _check_domains(settings)
    yield from _check_domain_aliases(settings)
    yield from _check_relay(settings)
    yield from _check_listeners(settings)
    yield from _check_tls(settings)
    yield from _check_smarthost(settings)
    yield from _check_dane(settings)


def _check_data_folder(settings: Settings) -> Iterator[Fault]:
    length = len(os.fsencode(settings.control_socket))
    if length > _LONGEST_SOCKET_PATH:
        yield (
            "server",
            "data_dir",
            f"the path of {settings.control_socket.name} in it would have {length} octets; the system takes no "
            f"more than {_LONGEST_SOCKET_PATH} for a socket",
        )


def _check_domains(settings: Settings) -> Iterator[Fault]:
    domains = settings.domains
    if not domains.local:
        yield "domains", "local", "no domain is local; write at least one, for example local = example.org"
    for domain in domains.relay:
        if domain in domains.local:
            yield "domains", "relay", f"{domain} is a local domain already; a domain is one or the other"


def _check_domain_aliases(settings: Settings) -> Iterator[Fault]:
    domains = settings.domains
    for alias, domain in settings.domain_aliases.items():
        if alias in domains.local or alias in domains.relay:
            kind = "local" if alias in domains.local else "relay"
            yield "domain_aliases", alias, f"{alias} is a {kind} domain already, so it cannot be another name"
        elif domain not in domains.local:
            yield "domain_aliases", alias, f"{domain} is no local domain; write one of [domains] local"


def _check_relay(settings: Settings) -> Iterator[Fault]:
    if settings.relay.mode is not RelayMode.OPEN or settings.relay.i_know_this_is_an_open_relay:
        return
    public = public_listeners(settings, ("smtp", "submission", "submissions"))
    if public:
        yield (
            "relay",
            "mode",
            f"this would be an open relay on a public address ({', '.join(public)}); write restricted, "
            "let SMTP listen on private addresses only, or set i_know_this_is_an_open_relay = yes",
        )


def public_listeners(settings: Settings, keys: Sequence[str] = _MAIL_PORTS) -> tuple[str, ...]:
    """Give those listeners for mail that strangers may reach, as they are written; each once."""
    written = (one for key in keys for one in getattr(settings.listen, key))
    return tuple(dict.fromkeys(one for one in written if is_public(one)))


def _check_listeners(settings: Settings) -> Iterator[Fault]:
    listen, taken = settings.listen, dict[tuple[str, int], str]()
    for key in ("smtp", "submission", "submissions", "pop3", "pop3s", "lmtp", "console"):
        for endpoint in getattr(listen, key):
            place = endpoint_port(endpoint)
            if place is None or place[1] == 0:
                continue
            if place in taken:
                yield "listen", key, f"port {place[1]} is taken by {taken[place]} already"
            taken.setdefault(place, key)


def _check_tls(settings: Settings) -> Iterator[Fault]:
    tls = settings.tls
    if tls.certificate is not None and tls.private_key is None:
        yield "tls", "certificate", "the certificate needs its private_key"
    if tls.private_key is not None and tls.certificate is None:
        yield "tls", "private_key", "the private key needs its certificate"


def _check_smarthost(settings: Settings) -> Iterator[Fault]:
    delivery = settings.delivery
    if delivery.mode is DeliveryMode.SMARTHOST and not delivery.smarthost:
        yield "delivery", "mode", "mode = smarthost needs a smarthost"
    if delivery.smarthost_auth is not SmarthostAuth.NONE:
        missing = [key for key in ("smarthost_user", "smarthost_password") if not getattr(delivery, key)]
        if missing:
            yield (
                "delivery",
                "smarthost_auth",
                f"smarthost_auth = {delivery.smarthost_auth.value} needs {' and '.join(missing)}",
            )


def _check_dane(settings: Settings) -> Iterator[Fault]:
    """DANE rests on a resolver's word, which counts only where nobody can forge it on its way."""
    if not settings.delivery.dane:
        return
    if settings.delivery.tls is TlsPolicy.OFF:
        yield "delivery", "dane", "dane = yes needs TLS; write another value than tls = off"
    for server in settings.dns.nameservers:
        if not ipaddress.ip_address(server.host).is_loopback:
            yield (
                "delivery",
                "dane",
                f"dane = yes needs a validating resolver on this machine, such as 127.0.0.1; the word of {server} "
                "could be forged on its way",
            )


def find_risks(settings: Settings) -> tuple[str, ...]:
    """Name what is allowed but dangerous or surprising, one sentence each."""
    return (*_find_relay_risks(settings), *_find_delivery_risks(settings))


def _find_relay_risks(settings: Settings) -> Iterator[str]:
    if settings.relay.mode is RelayMode.OPEN:
        yield "[relay] mode = open: this is an open relay; anybody can send to anywhere through it"
    group = settings.relay.address_group
    if group is not None and _is_vast(group):
        yield (
            f"[relay] address_group = {group.name}: it holds so large a part of the Internet that this is "
            "nearly an open relay"
        )
    if settings.tls.plaintext_auth is PlaintextAuth.ALWAYS:
        yield "[tls] plaintext_auth = always: passwords may cross the network unencrypted"


def _is_vast(group: AddressGroup) -> bool:
    return any(
        last - first >= largest
        for ranges, largest in ((group.ipv4, _LARGEST_IPV4_RANGE), (group.ipv6, _LARGEST_IPV6_RANGE))
        for first, last in zip(ranges.firsts, ranges.lasts, strict=True)
    )


def _find_delivery_risks(settings: Settings) -> Iterator[str]:
    delivery, queue = settings.delivery, settings.queue
    shortest = min(queue.retry_interval)
    if shortest < _SHORT_INTERVAL:
        seconds = int(shortest.total_seconds())
        yield f"[queue] retry_interval: {seconds} s is under 5 minutes; other servers may take offence"
    if queue.warn_after >= queue.bounce_after:
        yield "[queue] warn_after: not before bounce_after, so nobody is ever warned of a delay"
    if delivery.smarthost_auth is not SmarthostAuth.NONE and delivery.tls is TlsPolicy.OFF:
        yield "[delivery] tls = off: the smarthost's password crosses the network unencrypted"
    if delivery.mode is DeliveryMode.DIRECT and delivery.direct_port != 25:
        yield f"[delivery] direct_port = {delivery.direct_port}: servers of the Internet listen on 25"
