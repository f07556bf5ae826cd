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
    """The MX records of a domain, in no particular order; never empty."""

    records: tuple[MailExchanger, ...]

    @property
    def is_null(self) -> bool:
        """The domain says that it takes no mail (RFC 7505 3)."""
        return any(record.host == "" for record in self.records)


@attrs.frozen
class Addresses:
    """A and AAAA records of a host, IPv6 first, printed as `ipaddress` prints them; never empty."""

    addresses: tuple[str, ...]


@attrs.frozen
class HostNames:
    """The PTR records of an address, lower-case without trailing dot; never empty."""

    names: tuple[str, ...]


Nothing = NoSuchDomain | NoRecords | LookupFailed
MxAnswer = MailExchangers | Nothing
AddressAnswer = Addresses | Nothing
NamesAnswer = HostNames | Nothing
