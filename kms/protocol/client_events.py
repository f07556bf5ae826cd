"""What goes into a client session and comes out of it besides octets: settings, events, time limits.

Flow: service/client_connection.py acts on the events of `SmtpClientSession`.
"""

from __future__ import annotations

import enum
from datetime import timedelta

import attrs

from kms.domain.next_hop import HopCredentials, TlsPolicy
from kms.domain.outcome import Outcome
from kms.domain.reply import Reply

# RFC 5321 4.5.3.2: how long to wait for the next answer, or for the connection to take the next piece
COMMAND_TIME = timedelta(minutes=5)
DATA_TIME = timedelta(minutes=2)
BLOCK_TIME = timedelta(minutes=3)
DOT_TIME = timedelta(minutes=10)
QUIT_TIME = timedelta(seconds=5)


@attrs.frozen
class SmtpClientSettings:
    """What a session is to do with the server.

    Attributes:
        helo_name: our own host name.
        where: the hop, as outcomes name it: "host[address]:port".
        tls: OFF also when the connection is within TLS already.
        credentials: log in with these first; None = do not.
        is_lmtp: speak LMTP (RFC 2033).
    """

    helo_name: str
    where: str
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    credentials: HopCredentials | None = None
    is_lmtp: bool = False


class EndCause(enum.Enum):
    """Why a session is over."""

    REFUSED = "the server takes no mail from us now"
    TLS = "TLS is missing or failed"
    LOGIN = "the login was refused"
    LOST = "the connection is lost or useless"
    QUIT = "we said QUIT"


@attrs.frozen
class TlsRequested:
    """The server waits for the TLS handshake."""


@attrs.frozen
class SessionReady:
    """A message may be started."""


@attrs.frozen
class ContentWanted:
    """The server waits for the content, which is not held in memory."""


@attrs.frozen
class TransactionEnded:
    """A message is done with.

    Attributes:
        outcomes: one for each recipient of the message, by id.
        was_considered: the server has answered MAIL; False means that the message may be offered elsewhere.
    """

    outcomes: dict[int, Outcome]
    was_considered: bool


@attrs.frozen
class SessionEnded:
    """The session is over; send what is left, and close.

    Attributes:
        cause: for the owner's decision what to try next.
        reply: the server's words, or ours; 4yz, or 5yz where the server refused for good.
    """

    cause: EndCause
    reply: Reply


ClientEvent = TlsRequested | SessionReady | ContentWanted | TransactionEnded | SessionEnded
