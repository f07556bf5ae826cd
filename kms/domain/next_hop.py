"""Where an attempt connects, and what it does there."""

from __future__ import annotations

import enum

import attrs


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
    """

    host: str
    addresses: tuple[str, ...]
    port: int
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    is_tls_at_once: bool = False
    credentials: HopCredentials | None = None
    is_lmtp: bool = False

    @property
    def is_local_socket(self) -> bool:
        """It is reached through a Unix socket, so nobody listens on the way."""
        return any(address.startswith("/") for address in self.addresses)
