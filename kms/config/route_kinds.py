"""The lines of `[routes]`: whose mail, and where it goes.

Flow: loader.py reads each line with these; policy/route_table.py looks them up.
"""

from __future__ import annotations

import re

from kms.config.kinds import read_domain
from kms.config.network_kinds import HostPort, is_ip_address, parse_host_port
from kms.config.problems import ValueFault
from kms.domain.address import AddressSyntaxError, parse_mailbox
from kms.domain.next_hop import NextHop
from kms.policy.route_table import ByMx, Refusal, RouteTarget

SMTP_PORT = 25
SUBMISSIONS_PORT = 465
_LMTP_PORT = 24
_SHAPES = "smtp:host:port, lmtp:host:port, lmtp:unix:path, mx or error:text"
_PRINTABLE = re.compile("[ -~]+")


def parse_route_key(text: str) -> str:
    """Read `sender@domain`, `@sender domain`, `domain` or `*.domain`; gives it as the table has it.

    Raises:
        ValueFault: it is none of them.
    """
    if text.startswith("@"):
        return "@" + read_domain(text[1:])
    if text.startswith("*."):
        return "*." + read_domain(text[2:])
    if "@" not in text:
        return read_domain(text)
    try:
        mailbox = parse_mailbox(text)
    except AddressSyntaxError as error:
        raise ValueFault(f'"{text}" is no sender: {error}') from None
    return f"{mailbox.local_part}@{mailbox.domain}".lower()


def parse_route_target(text: str) -> RouteTarget:
    """Read where the mail goes.

    Raises:
        ValueFault: it is no way that we know.
    """
    kind, _, rest = text.partition(":")
    rest = rest.strip()
    match kind:
        case "mx" if not rest:
            return ByMx()
        case "error" if _PRINTABLE.fullmatch(rest):
            return Refusal(rest)
        case "smtp" if rest:
            return make_hop(parse_host_port(rest))
        case "lmtp" if rest.startswith("unix:/"):
            return NextHop("localhost", (rest.removeprefix("unix:"),), 0, is_lmtp=True)
        case "lmtp" if rest and not rest.startswith("unix:"):
            return make_hop(parse_host_port(rest), is_lmtp=True)
    raise ValueFault(f'"{text}" is no route; write {_SHAPES}, an absolute path, a text in ASCII')


def make_hop(place: HostPort, *, is_lmtp: bool = False) -> NextHop:
    """Make a next hop of a host and a port; 465 has TLS at once."""
    port = place.port or (_LMTP_PORT if is_lmtp else SMTP_PORT)
    addresses = (place.host,) if is_ip_address(place.host) else ()
    is_tls_at_once = port == SUBMISSIONS_PORT and not is_lmtp
    return NextHop(place.host, addresses, port, is_tls_at_once=is_tls_at_once, is_lmtp=is_lmtp)
