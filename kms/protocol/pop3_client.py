"""The client side of one POP3 login (RFC 1939, 2595), for smarthosts that relay after one; no I/O.

Promises: the mailbox is read in nothing; the password is said once, within TLS where the server offers it, and
never in clear where the policy forbids it; octets that came before the handshake are not used after it.

Flow: service/pop3_logins.py feeds octets and takes them; `wants_tls` -> start TLS, then `tls_started`;
`is_over` -> close, and `problem` says whether the login failed.
"""

from __future__ import annotations

from collections.abc import Callable

from kms.domain.next_hop import HopCredentials, TlsPolicy
from kms.protocol.remote_reply import clean

_MOST_WAITING_OCTETS = 8 * 1024
_MOST_CAPABILITIES = 100
_MOST_QUOTED_OCTETS = 200


class Pop3LoginSession:
    """One connection: greeting, TLS, USER, PASS, QUIT.

    Attributes:
        is_encrypted: the connection is within TLS.
        wants_tls: the server waits for the handshake.
        is_over: nothing more is to be said.
        has_logged_in: the server has taken the password.
        problem: why the login failed; None when it did not, or not yet.
        shows_password: the password went out readable by anybody on the way.
    """

    def __init__(self, credentials: HopCredentials, tls: TlsPolicy, *, is_encrypted: bool = False) -> None:
        self._credentials = credentials
        self._tls = tls
        self._buffer = b""
        self._output: list[bytes] = []
        self._on_line: Callable[[bytes], None] = self._greeted
        self._capabilities: list[bytes] = []
        self.is_encrypted = is_encrypted
        self.wants_tls = False
        self.is_over = False
        self.has_logged_in = False
        self.problem: str | None = None
        self.shows_password = False

    def receive_data(self, data: bytes) -> None:
        """Take octets from the server."""
        self._buffer += data
        while not self.is_over and b"\n" in self._buffer:
            if self.wants_tls:
                self._fail("octets came before the TLS handshake")
                return
            line, _, self._buffer = self._buffer.partition(b"\n")
            self._on_line(line.rstrip(b"\r"))
        if len(self._buffer) > _MOST_WAITING_OCTETS:
            self._fail("the answer never ends")

    def data_to_send(self) -> bytes:
        """Give the octets that wait to be sent, and forget them."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def tls_started(self) -> None:
        """Go on within TLS, as if nothing had been said before."""
        self.wants_tls = False
        self.is_encrypted = True
        self._log_in()

    def lose(self, why: str) -> None:
        """Learn that the connection is gone; a login that was taken stays one."""
        if not self.is_over and not self.has_logged_in:
            self._fail(why)
        self.is_over = True

    def _greeted(self, line: bytes) -> None:
        if not line.startswith(b"+OK"):
            self._refused(line)
        elif self.is_encrypted or self._tls is TlsPolicy.OFF:
            self._log_in()
        else:
            self._say(b"CAPA", self._capabilities_answered)

    def _capabilities_answered(self, line: bytes) -> None:
        if line.startswith(b"+OK"):
            self._on_line = self._take_capability
        else:
            self._go_without_tls()

    def _take_capability(self, line: bytes) -> None:
        if line != b".":
            self._capabilities.append(line.upper())
            if len(self._capabilities) > _MOST_CAPABILITIES:
                self._fail("the list of capabilities never ends")
        elif b"STLS" in self._capabilities:
            self._say(b"STLS", self._stls_answered)
        else:
            self._go_without_tls()

    def _stls_answered(self, line: bytes) -> None:
        if not line.startswith(b"+OK"):
            self._go_without_tls()
        elif self._buffer:
            self._fail("octets came before the TLS handshake")  # that somebody may have slipped in
        else:
            self.wants_tls = True

    def _go_without_tls(self) -> None:
        if self._tls in (TlsPolicy.REQUIRE, TlsPolicy.VERIFY):
            self._fail("TLS is required, and not offered")
        else:
            self._log_in()

    def _log_in(self) -> None:
        credentials = self._credentials
        words = (credentials.user, credentials.password)
        if not all(word.isprintable() for word in words) or " " in credentials.user:
            self._fail("POP3 has no way to say this user or password")
        else:
            self._say(b"USER " + credentials.user.encode("utf-8"), self._user_answered)

    def _user_answered(self, line: bytes) -> None:
        if line.startswith(b"+OK"):
            self.shows_password = not self.is_encrypted
            self._say(b"PASS " + self._credentials.password.encode("utf-8"), self._password_answered)
        else:
            self._refused(line)

    def _password_answered(self, line: bytes) -> None:
        if line.startswith(b"+OK"):
            self.has_logged_in = True
            self._say(b"QUIT", self._quit_answered)
        else:
            self._refused(line)

    def _quit_answered(self, line: bytes) -> None:
        self.is_over = True

    def _refused(self, line: bytes) -> None:
        self._output.append(b"QUIT\r\n")
        self._fail(clean(line[:_MOST_QUOTED_OCTETS]))

    def _fail(self, problem: str) -> None:
        self.problem = problem
        self.is_over = True

    def _say(self, line: bytes, then: Callable[[bytes], None]) -> None:
        self._output.append(line + b"\r\n")
        self._on_line = then
