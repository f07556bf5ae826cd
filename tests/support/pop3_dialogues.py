"""Plays dialogue files of tests/dialogues/pop3/ on a POP3 session (see dialogue.py). Their GIVENs, one a line:

encrypted                     TLS is on from the start
password secret               whose login is right; by default nobody's
message Subject: x\\n\\nHello\\n   a message of the mailbox, with the escapes of `C=`
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from kms.protocol.pop3_events import (
    DeletionRequested,
    Event,
    LoginOffered,
    LoginRefusal,
    MessageRequested,
    Pop3ServerSettings,
    TlsRequested,
)
from kms.protocol.pop3_server import Pop3ServerSession
from tests.support.dialogue import HOSTNAME, unescape


@attrs.frozen
class _Listed:
    octets: int
    uidl: str


class Pop3Peer:
    """A session and a mailbox, made as the GIVENs say; no network."""

    def __init__(self, givens: Iterable[str] = ()) -> None:
        self._messages: list[bytes] = []
        self._password = ""
        is_encrypted = False
        for given in givens:
            what, _, value = given.partition(" ")
            if what == "message":
                self._messages.append(unescape(value.encode()))
            elif what == "password":
                self._password = value
            else:
                is_encrypted = True
        self.session = Pop3ServerSession(
            Pop3ServerSettings(HOSTNAME, offers_stls=True), is_encrypted=is_encrypted
        )
        self.session.greet()
        self._events: list[Event] = []
        self._unread = b""

    def send(self, data: bytes) -> None:
        self.session.receive_data(data)
        while (event := self.session.next_event()) is not None:
            self._events.append(event)
            self._answer(event)

    def _answer(self, event: Event) -> None:
        match event:
            case LoginOffered(proof=password) if password == self._password:
                self.session.log_in([self._list(message) for message in self._messages])
            case MessageRequested(number):
                message = self._messages[number - 1]
                for octet in range(len(message)):
                    self.session.send_content(message[octet : octet + 1], is_last=False)
                self.session.send_content(b"", is_last=True)
            case DeletionRequested():
                self.session.finish_update(True)
            case TlsRequested():
                pass
            case _:
                self.session.refuse_login(LoginRefusal.WRONG)

    def _list(self, message: bytes) -> _Listed:
        return _Listed(len(message) + message.count(b"\n"), f"uid-{len(message)}")

    def read_line(self) -> bytes | None:
        self._unread += self.session.data_to_send()
        if not self._unread:
            return None
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line

    def start_tls(self) -> None:
        self.session.tls_started()

    def is_closed(self) -> bool:
        return self.session.is_closing and not self._unread

    def last_event(self) -> str | None:
        return repr(self._events[-1]) if self._events else "none"
