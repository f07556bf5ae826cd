"""What the DNS said, as values: an answer, that there is nothing, or that it cannot be known now.

The three must never be confused: "cannot be known" defers a mail, "nothing" may refuse it (RFC 5321 5.1).
"""

from __future__ import annotations

import attrs


@attrs.frozen
class NoSuchDomain:
    """NXDOMAIN: the name does not exist at all."""


@attrs.frozen
class NoRecords:
    """NODATA: the name exists, but has no record of the type asked for."""


@attrs.frozen
class LookupFailed:
    """SERVFAIL, REFUSED, silence or garbage: nothing is known.

    Attributes:
        reason: for the log, never for the client.
    """

    reason: str


@attrs.frozen
class MailExchanger:
    """One MX record. `host` is lower-case without trailing dot; the root (a null MX, RFC 7505) is ""."""

    preference: int
    host: str


@attrs.frozen
class MailExchangers:
    """The MX records of a domain, in no particular order; never empty.

    Attributes:
        is_secure: a validating resolver on this machine says that DNSSEC proves them.
    """

    records: tuple[MailExchanger, ...]
    is_secure: bool = False

    @property
    def is_null(self) -> bool:
        """The domain says that it takes no mail (RFC 7505 3)."""
        return any(record.host == "" for record in self.records)


@attrs.frozen
class Addresses:
    """A and AAAA records of a host, IPv6 first, printed as `ipaddress` prints them; never empty.

    Attributes:
        is_secure: as with `MailExchangers`; aliases on the way too.
        canonical: the name that the host is an alias of; "" = it is none.
    """

    addresses: tuple[str, ...]
    is_secure: bool = False
    canonical: str = ""


@attrs.frozen
class Alias:
    """The CNAME record of a name: the first step of a chain alone.

    Attributes:
        target: what the name is an alias of, lower-case without trailing dot.
        is_secure: as with `MailExchangers`, whatever is known of the target.
    """

    target: str
    is_secure: bool = False


@attrs.frozen
class HostNames:
    """The PTR records of an address, lower-case without trailing dot; never empty."""

    names: tuple[str, ...]


@attrs.frozen
class Texts:
    """The TXT records of a name, the strings of each put together; never empty."""

    texts: tuple[bytes, ...]


@attrs.frozen
class TlsaRecord:
    """What a server's certificate must be (RFC 6698 2.1); the numbers are those of the wire."""

    usage: int
    selector: int
    matching: int
    data: bytes


@attrs.frozen
class TlsaRecords:
    """The TLSA records of a port of a host; never empty.

    Attributes:
        is_secure: as with `MailExchangers`.
    """

    records: tuple[TlsaRecord, ...]
    is_secure: bool = False


Nothing = NoSuchDomain | NoRecords | LookupFailed
MxAnswer = MailExchangers | Nothing
AddressAnswer = Addresses | Nothing
NamesAnswer = HostNames | Nothing
TextAnswer = Texts | Nothing
TlsaAnswer = TlsaRecords | Nothing
AliasAnswer = Alias | Nothing
