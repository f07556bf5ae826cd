"""Where an attempt connects, and what it does there."""

from __future__ import annotations

import enum
from datetime import timedelta

import attrs

from kms.domain.published_tls import DaneDemand, PublishedTls, TlsAuthority

_POP3S_PORT = 995


class TlsPolicy(enum.Enum):
    """How much TLS an outgoing connection must have."""

    OPPORTUNISTIC = "opportunistic"
    REQUIRE = "require"
    VERIFY = "verify"
    OFF = "off"


@attrs.frozen
class HopCredentials:
    """Login for a smarthost. Printing it never shows the password."""

    user: str
    password: str = attrs.field(repr=False)


@attrs.frozen
class Pop3Login:
    """A POP3 login that a smarthost asks for before it relays.

    Attributes:
        host: the POP3 server's name.
        addresses: its IP addresses; empty when the name has yet to be looked up.
        port: TCP port; at 995 TLS comes from the first octet.
        tls: policy for the connection.
        every: log in again before sending when the last login is older.
    """

    host: str
    addresses: tuple[str, ...]
    port: int
    tls: TlsPolicy
    credentials: HopCredentials
    every: timedelta

    @property
    def is_tls_at_once(self) -> bool:
        """TLS comes from the first octet, whatever the policy."""
        return self.port == _POP3S_PORT


@attrs.frozen
class NextHop:
    """One server to try.

    Attributes:
        host: its name, for the log, SNI and the certificate.
        addresses: IP addresses in the order to try, or the one path of a Unix socket; empty when the name has
            yet to be looked up (a smarthost, a `[routes]` line).
        port: TCP port; 0 for a Unix socket.
        tls: policy for the connection.
        is_tls_at_once: TLS from the first octet (port 465).
        credentials: for SMTP AUTH; None where the server asks for none.
        is_lmtp: speak LMTP (RFC 2033): one answer for each recipient after the dot.
        pop3: log in there first; None where the server asks for no such thing.
        published: what its side may have published about TLS, to be looked at before connecting; None = nothing.
        dane: what the certificate must be; `tls` is REQUIRE then.
        tls_by: who has set `tls`.
    """

    host: str
    addresses: tuple[str, ...]
    port: int
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    is_tls_at_once: bool = False
    credentials: HopCredentials | None = None
    is_lmtp: bool = False
    pop3: Pop3Login | None = None
    published: PublishedTls | None = None
    dane: DaneDemand | None = None
    tls_by: TlsAuthority = TlsAuthority.OURSELVES

    @property
    def is_local_socket(self) -> bool:
        """It is reached through a Unix socket, so nobody listens on the way."""
        return any(address.startswith("/") for address in self.addresses)
