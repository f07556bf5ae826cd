"""Fakes of the ports: each passes the contract test of its port (tests/contracts/)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import attrs

from kms.domain import status
from kms.domain.content import Content, FileContent
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
from kms.domain.envelope import Envelope, Recipient
from kms.domain.next_hop import NextHop
from kms.domain.outcome import Delivered, Outcome
from kms.domain.reply import Reply


@attrs.frozen
class Attempt:
    """One call of `FakeSender.send`; `octets` is the content as it was read at the time."""

    hops: tuple[NextHop, ...]
    envelope: Envelope
    recipients: tuple[Recipient, ...]
    octets: bytes


class FakeSender:
    """Delivers everything, or gives the outcomes it was told to, one for each call.

    Attributes:
        attempts: the calls so far.
        outcomes: what the next calls give to all their recipients; when they run out, `Delivered`.
    """

    def __init__(self, outcomes: Iterable[Outcome] = ()) -> None:
        self.attempts: list[Attempt] = []
        self.outcomes = deque(outcomes)

    async def send(
        self, hops: Sequence[NextHop], envelope: Envelope, recipients: Sequence[Recipient], content: Content
    ) -> dict[int, Outcome]:
        if isinstance(content, FileContent):
            with open(content.path, "rb") as file:
                octets = file.read()
        else:
            octets = content.data
        self.attempts.append(Attempt(tuple(hops), envelope, tuple(recipients), octets))
        if self.outcomes:
            outcome = self.outcomes.popleft()
        else:
            outcome = Delivered(Reply(250, status.OK, "taken"), hops[0].host)
        return {recipient.recipient_id: outcome for recipient in recipients}


class FakeResolver:
    """A table of records.

    A host or domain that is in a table with no records exists without them; one in neither table does not
    exist.

    Attributes:
        mx: preference and host, by domain; the host "" is the root.
        addresses: IP addresses, by host.
        names: host names, by address.
        texts: TXT records, by name.
        tlsa: TLSA records, by host and port.
        secure: names whose answers are proved by DNSSEC.
        secure_aliases: names of which DNSSEC proves the alias, and not what it leads to.
        aliases: what a host is an alias of; its addresses stand under its own name.
        failing: names about which nothing can be known now; or `("mx", name)`, `("addresses", name)` for one
            kind of question only.
        asked: the questions so far.
    """

    def __init__(
        self,
        mx: Mapping[str, Sequence[tuple[int, str]]] | None = None,
        addresses: Mapping[str, Sequence[str]] | None = None,
        failing: Iterable[str | tuple[str, str]] = (),
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.mx = dict(mx or {})
        self.addresses = dict(addresses or {})
        self.names = dict(names or {})
        self.texts: dict[str, Sequence[bytes]] = {}
        self.tlsa: dict[tuple[str, int], Sequence[TlsaRecord]] = {}
        self.secure: set[str] = set()
        self.secure_aliases: set[str] = set()
        self.aliases: dict[str, str] = {}
        self.failing = set(failing)
        self.asked: list[tuple[str, str]] = []

    async def lookup_mx(self, domain: str) -> MxAnswer:
        self.asked.append(("mx", domain))
        records = self.mx.get(domain)
        if records and not self._fails("mx", domain):
            return MailExchangers(tuple(MailExchanger(*record) for record in records), domain in self.secure)
        return self._nothing("mx", domain)

    async def lookup_addresses(self, host: str) -> AddressAnswer:
        self.asked.append(("addresses", host))
        texts = self.addresses.get(host)
        if texts and not self._fails("addresses", host):
            in_order = tuple(sorted(texts, key=lambda text: ":" not in text))
            return Addresses(in_order, host in self.secure, self.aliases.get(host, ""))
        return self._nothing("addresses", host)

    async def lookup_names(self, address: str) -> NamesAnswer:
        self.asked.append(("names", address))
        names = self.names.get(address)
        if names and not self._fails("names", address):
            return HostNames(tuple(names))
        return self._nothing("names", address)

    async def lookup_texts(self, name: str) -> TextAnswer:
        self.asked.append(("texts", name))
        texts = self.texts.get(name)
        if texts and not self._fails("texts", name):
            return Texts(tuple(texts))
        return self._nothing("texts", name)

    async def lookup_tlsa(self, host: str, port: int) -> TlsaAnswer:
        name = f"_{port}._tcp.{host}"
        self.asked.append(("tlsa", name))
        records = self.tlsa.get((host, port))
        if records and not self._fails("tlsa", name):
            return TlsaRecords(tuple(records), name in self.secure)
        return self._nothing("tlsa", name)

    async def lookup_alias(self, name: str) -> AliasAnswer:
        self.asked.append(("alias", name))
        if name in self.aliases and not self._fails("alias", name):
            return Alias(self.aliases[name], name in self.secure or name in self.secure_aliases)
        return self._nothing("alias", name)

    def _nothing(self, kind: str, name: str) -> NoSuchDomain | NoRecords | LookupFailed:
        if self._fails(kind, name):
            return LookupFailed("the fake was told to fail")
        return (
            NoRecords() if name in self.mx or name in self.addresses or name in self.names else NoSuchDomain()
        )

    def _fails(self, kind: str, name: str) -> bool:
        return name in self.failing or (kind, name) in self.failing
