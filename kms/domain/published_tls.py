"""What a receiving domain publishes about TLS to its servers: MTA-STS (RFC 8461), DANE (RFC 7672).

Flow: service/route_finder.py notes at a hop what may be published; policy/hop_tls.py makes a demand of it when the
hop's turn comes; remote_delivery.py obeys.
"""

from __future__ import annotations

import enum
from datetime import timedelta

import attrs

from kms.domain.dns_answer import TlsaRecord

UNVERIFIED = "certificate not verified"
"""What an outcome's `tls` says of a connection whose certificate is wrong, and was not held against it."""


class StsMode(enum.Enum):
    """How strict an MTA-STS policy is (RFC 8461 5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@attrs.frozen
class StsPolicy:
    """What a domain says of its servers.

    Attributes:
        mode: how strict it is.
        life: how long it may be kept.
        mx: names of its servers, lower-case in A-labels; "*.example.com" is each with one label more.
    """

    mode: StsMode
    life: timedelta
    mx: tuple[str, ...]


@attrs.frozen
class PublishedTls:
    """What counts for one hop beside our own settings.

    Attributes:
        domain: whose mail it is; the host itself where no MX record names it.
        may_have_dane: DANE is wanted, and no answer on the way to the host was without DNSSEC's proof so far.
        sts: mode of the domain's MTA-STS policy; NONE where there is none.
        is_listed: that policy names the host.
    """

    domain: str
    may_have_dane: bool
    sts: StsMode = StsMode.NONE
    is_listed: bool = False


@attrs.frozen
class DaneDemand:
    """The server's certificate must be as one of these records says.

    Attributes:
        records: usable ones only; never empty.
        base: the name that they stand under, which is also told to the server (RFC 7672 2.2.3, 8.1).
        names: those that a certificate of a DANE-TA(2) authority may have (RFC 7672 3.2.2).
    """

    records: tuple[TlsaRecord, ...]
    base: str
    names: tuple[str, ...]


class TlsAuthority(enum.Enum):
    """Who says how much TLS a connection must have; the value is for the mail log and for refusals."""

    OURSELVES = ""
    STS = "MTA-STS"
    STS_TESTING = "MTA-STS testing"
    DANE = "DANE"
    DANE_UNUSABLE = "DANE without usable records"
