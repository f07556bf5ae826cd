"""What a POP3 session asks of others, and the values it is asked with.

Flow: pop3_server makes the events; pop3_listener acts on them and answers.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import attrs

from kms.domain.login import Proof
from kms.protocol.sasl import VerifierWanted, make_nonce


class CommandRefused(Exception):
    """A command is wrong in itself; carries the text of the reply."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class ListedMessage(Protocol):
    """What the session must know of a message."""

    @property
    def octets(self) -> int:
        """What RETR sends before dot-stuffing, the end-of-message line not counted."""
        ...

    @property
    def uidl(self) -> str:
        """Its unique id (RFC 1939 7)."""
        ...


@attrs.frozen
class Pop3ServerSettings:
    """What is the same for all sessions of a listener.

    Attributes:
        hostname: for the greeting.
        offers_stls: TLS can be started.
        max_failed_logins: the session is closed at this many.
        max_failed_commands: the session is closed at this many.
        mechanisms: of AUTH, best first.
        offers_apop: the greeting carries a stamp for APOP.
        login_delay: told to clients, where it is not 0; somebody else enforces it.
        make_nonce: gives another text each time, for AUTH and APOP.
    """

    hostname: str
    offers_stls: bool = False
    max_failed_logins: int = 10
    max_failed_commands: int = 100
    mechanisms: tuple[str, ...] = ("PLAIN",)
    offers_apop: bool = False
    login_delay: timedelta = timedelta(0)
    make_nonce: Callable[[], str] = make_nonce


@attrs.frozen
class LoginOffered:
    """A client offers a login; answer with `log_in` or `refuse_login`.

    Attributes:
        mechanism: "PLAIN" for USER and PASS too, which are the same in other words; "APOP".
        authorization: whom the client wants to act as; "" is the user itself.
        user: as the client wrote it.
        proof: the password, or what the mechanism makes of it; never printed.
    """

    mechanism: str
    authorization: str
    user: str
    proof: Proof = attrs.field(repr=False)


@attrs.frozen
class TlsRequested:
    """Send what is to be sent, start TLS, then call `tls_started`."""


@attrs.frozen
class MessageRequested:
    """Read message `number` and give it to `send_content` while `is_sending`, or call `refuse_message`."""

    number: int


@attrs.frozen
class DeletionRequested:
    """Remove the messages with these numbers, then call `finish_update`."""

    numbers: tuple[int, ...]


Event = LoginOffered | VerifierWanted | TlsRequested | MessageRequested | DeletionRequested


class LoginRefusal(enum.Enum):
    """Why a login was refused: the reply's text."""

    WRONG = "[AUTH] Login failed"
    IN_USE = "[IN-USE] Mailbox is in use by another session"
    TOO_SOON = "[LOGIN-DELAY] Too soon after the last login, try again later"
    REFUSED = "[SYS/TEMP] Too many failed logins, try again later"
    TROUBLE = "[SYS/TEMP] Temporary trouble here, try again later"
