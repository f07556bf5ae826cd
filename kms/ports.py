"""The joints of kms: what it asks of the outside, each as a small protocol of plain values.

Adapters in `service` await Deferreds behind them; the fakes in tests/support/fakes.py need none. Every
implementation, fakes included, passes the contract tests in tests/contracts/.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kms.domain.content import Content
from kms.domain.dns_answer import AddressAnswer, AliasAnswer, MxAnswer, NamesAnswer, TextAnswer, TlsaAnswer
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import NextHop
from kms.domain.outcome import Outcome


class Resolver(Protocol):
    """Asks the DNS. Never raises: trouble of any kind is a `LookupFailed`."""

    async def lookup_mx(self, domain: str) -> MxAnswer:
        """Find the mail exchangers of `domain` (A-label form), CNAMEs followed (RFC 5321 5.1)."""
        ...

    async def lookup_addresses(self, host: str) -> AddressAnswer:
        """Find the A and AAAA records of `host`.

        One of the two types failing does not hide the other's records; nothing found and one of the
        two failed is `LookupFailed`.
        """
        ...

    async def lookup_names(self, address: str) -> NamesAnswer:
        """Find the PTR records of an IP address, CNAMEs followed (RFC 2317)."""
        ...

    async def lookup_texts(self, name: str) -> TextAnswer:
        """Find the TXT records of `name`, CNAMEs followed."""
        ...

    async def lookup_tlsa(self, host: str, port: int) -> TlsaAnswer:
        """Find the TLSA records of a TCP port of `host` (RFC 6698 3), CNAMEs followed."""
        ...

    async def lookup_alias(self, name: str) -> AliasAnswer:
        """Find the CNAME record of `name`, and follow it no further."""
        ...


class Sender(Protocol):
    """Makes one attempt to hand one message to one destination: one transaction (RFC 5321 3.3)."""

    async def send(
        self, hops: Sequence[NextHop], envelope: Envelope, recipients: Sequence[Recipient], content: Content
    ) -> dict[int, Outcome]:
        """Try the hops in order until one answers for the message.

        Args:
            hops: servers of one destination, best first; never empty.
            envelope: reverse-path and content declaration.
            recipients: those of the envelope that go to this destination; never empty.
            content: what to send; opened by the call, and read in chunks where it is a file.

        Returns:
            Exactly one outcome for each recipient, by recipient id. Never raises for what a network or a
            server can do; an exception is a fault of ours.
        """
        ...
