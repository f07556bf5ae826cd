"""The lines of `[routes]`: other ways for the mail of some senders and of some recipient domains.

The most exact line wins: the sender, the sender's domain, the recipient's domain, the nearest domain above it.
A local domain's mail leaves its Maildirs only by a line for exactly this domain: a line for a sender, or for
what lies below a domain, is about mail that is foreign anyway. A route says where mail goes, never whether it
is taken: relay control knows nothing of this table.

Flow: config/route_kinds.py reads the lines, routing.py looks them up; RCPT does for what is given back.
"""

from __future__ import annotations

import attrs

from kms.domain.address import Mailbox
from kms.domain.next_hop import NextHop


@attrs.frozen
class ByMx:
    """Go to the servers that the DNS names, though there is a smarthost or a wider line."""


@attrs.frozen
class Refusal:
    """Mail this way is refused, or given back to its sender where that comes to light later, with `text`."""

    text: str


RouteTarget = NextHop | ByMx | Refusal


@attrs.frozen
class RouteTable:
    """All lines.

    Attributes:
        lines: by "local@domain" or "@domain" for a sender, "domain" or "*.domain" for a recipient; lower-case,
            domains in A-label form.
        local_domains: of this server, without their other names.
    """

    lines: dict[str, RouteTarget] = attrs.field(factory=dict)
    local_domains: frozenset[str] = frozenset()

    def find(self, sender: Mailbox | None, domain: str) -> RouteTarget | None:
        """Find the line for mail from `sender` (None = the null reverse-path) to `domain`; None = no line."""
        lines = self.lines
        if not lines:
            return None
        if domain in self.local_domains:
            return lines.get(domain)
        keys = [domain, *_domains_above(domain)]
        if sender is not None:
            keys = [f"{sender.local_part}@{sender.domain}".lower(), f"@{sender.domain}", *keys]
        return next((lines[key] for key in keys if key in lines), None)

    @property
    def gives_back(self) -> bool:
        """Say whether any line refuses mail."""
        return any(isinstance(target, Refusal) for target in self.lines.values())

    def takes_over(self, domain: str) -> bool:
        """Say whether a local domain's mail goes elsewhere than into its Maildirs."""
        return domain in self.lines


def _domains_above(domain: str) -> list[str]:
    """Give "*.b.c" and "*.c" for "a.b.c"; an address literal has none."""
    if domain.startswith("["):
        return []
    labels = domain.split(".")
    return ["*." + ".".join(labels[start:]) for start in range(1, len(labels))]
