"""Client and server sessions joined in memory.

`SessionServer` is the server of kms itself. `ScriptedServer` follows a script, and is strict where a careless
client would go wrong: only CRLF ends a command, only CRLF.CRLF ends a content.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from kms.domain.reply import AUTHENTICATED, RECIPIENT_OK, SENDER_OK, greeting, queued
from kms.protocol.client_events import TlsRequested
from kms.protocol.smtp_events import (
    ContentEnded,
    ContentReceived,
    Event,
    LoginOffered,
    RecipientOffered,
    SenderOffered,
)
from kms.protocol.smtp_server import SmtpServerSession, SmtpServerSettings

CLOSE = "close"
SILENCE = "silence"


@attrs.define
class ReceivedMail:
    """One message that the scripted server took."""

    sender: str
    recipients: list[str]
    content: bytes


class ScriptedServer:
    """A server without I/O that follows a script.

    Args:
        greeting: first line.
        extensions: of EHLO.
        replies: by verb ("." is the end of the content): what to say, in order; when they run out, the usual
            answer. CLOSE closes without a word, SILENCE says nothing; "421 …" closes after it is said.
        tls: what a handshake does: "works" or "fails".
        is_lmtp: answer LHLO only, and each accepted recipient after the dot.
    """

    USUAL = {
        "EHLO": "",
        "LHLO": "",
        "HELO": "250 mx.test",
        "MAIL": "250 2.1.0 ok",
        "RCPT": "250 2.1.5 ok",
        "DATA": "354 go on",
        ".": "250 2.0.0 taken",
        "RSET": "250 2.0.0 ok",
        "QUIT": "221 2.0.0 bye",
        "STARTTLS": "220 2.0.0 go on",
        "AUTH": "235 2.7.0 welcome",
    }

    def __init__(
        self,
        *,
        greeting: str = "220 mx.test ESMTP",
        extensions: Sequence[str] = ("PIPELINING", "8BITMIME", "SIZE 1000000"),
        replies: Mapping[str, Sequence[str]] | None = None,
        tls: str = "works",
        is_lmtp: bool = False,
    ) -> None:
        self._replies = {verb: deque(said) for verb, said in (replies or {}).items()}
        self._extensions = extensions
        self._is_lmtp = is_lmtp
        self._buffer = b""
        self._is_receiving_content = False
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._login: deque[str] | None = None
        self._last = ""
        self.output = b"" if greeting == SILENCE else greeting.encode("latin-1") + b"\r\n"
        self.is_closed = not greeting.startswith("220") and greeting != SILENCE
        if greeting == CLOSE:
            self.output = b""
        self.tls = tls
        self.commands: list[str] = []
        self.groups: list[bytes] = []
        self.received: list[ReceivedMail] = []
        self.is_encrypted = False

    def receive_data(self, data: bytes) -> None:
        self.groups.append(data)
        self._buffer += data
        while not self.is_closed and self._step():
            pass

    def data_to_send(self) -> bytes:
        data, self.output = self.output, b""
        return data

    def tls_started(self) -> None:
        assert self._buffer == b""
        self.is_encrypted = True
        self._sender, self._recipients = None, []

    def _step(self) -> bool:
        if self._is_receiving_content:
            return self._take_content()
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return False
        assert b"\r" not in line, line
        assert b"\n" not in line, line
        self._buffer = rest
        self._take_command(line.decode("latin-1"))
        return True

    def _take_content(self) -> bool:
        whole = b"\r\n" + self._buffer
        end = whole.find(b"\r\n.\r\n")
        if end < 0:
            return False
        self._buffer = whole[end + 5 :]
        self._is_receiving_content = False
        content = whole[2 : end + 2].replace(b"\r\n.", b"\r\n")
        content = content.removeprefix(b".")
        for _ in self._recipients if self._is_lmtp else [""]:
            self._say(".")
        mail = ReceivedMail(self._sender or "", self._recipients, content)
        if self._last.startswith("2") and self._recipients:
            self.received.append(mail)
        self._sender, self._recipients = None, []
        return True

    def _take_command(self, line: str) -> None:
        self.commands.append(line)
        if self._login is not None:
            self._say_login()
            return
        verb = line.partition(" ")[0].upper()
        obey = {"MAIL": self._mail, "RCPT": self._rcpt, "DATA": self._data, "AUTH": self._auth}.get(verb)
        if obey is not None:
            obey(line)
            return
        if verb == "RSET":
            self._sender, self._recipients = None, []
        self._say(verb)
        self.is_closed = self.is_closed or (verb == "QUIT" and self._last != SILENCE)

    def _mail(self, line: str) -> None:
        assert self._sender is None, "a transaction is open"
        self._say("MAIL")
        if self._last.startswith("2"):
            self._sender = line[len("MAIL FROM:") :]

    def _rcpt(self, line: str) -> None:
        if self._sender is None and "RCPT" not in self._replies:
            self.output += b"503 5.5.1 MAIL first\r\n"
            return
        self._say("RCPT")
        if self._last.startswith("2"):
            self._recipients.append(line[len("RCPT TO:") :])

    def _data(self, line: str) -> None:
        if not self._recipients and "DATA" not in self._replies:
            self.output += b"554 5.5.1 no valid recipients\r\n"
            return
        self._say("DATA")
        self._is_receiving_content = self._last.startswith("354")

    def _auth(self, line: str) -> None:
        self._login = self._replies.setdefault("AUTH", deque())
        self._say_login()

    def go_on(self) -> None:
        """Answer DATA after a silence."""
        self.output += b"354 go on\r\n"
        self._is_receiving_content = True

    def _say_login(self) -> None:
        self._say("AUTH")
        if not self._last.startswith("334"):
            self._login = None

    def _say(self, verb: str) -> None:
        if self.is_closed:
            return
        said = self._replies.get(verb)
        reply = said.popleft() if said else self.USUAL.get(verb, "500 5.5.2 what?")
        if not reply:
            lines = ["mx.test", *self._extensions]
            reply = "\r\n".join([f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"])
        self._last = reply
        if reply == CLOSE:
            self.is_closed = True
        elif reply != SILENCE:
            self.output += reply.encode("latin-1") + b"\r\n"
            self.is_closed = self.is_closed or reply.startswith("421")


class SessionServer:
    """The server session of kms, with somebody who takes everything, in the place of a scripted server."""

    def __init__(self, settings: SmtpServerSettings) -> None:
        self.session = SmtpServerSession(settings, may_send_plain_passwords=True)
        self.session.greet(greeting(settings.hostname))
        self.received: list[ReceivedMail] = []
        self.logins: list[tuple[str, str]] = []
        self._parts: list[bytes] = []

    @property
    def is_closed(self) -> bool:
        return self.session.is_closing

    def receive_data(self, data: bytes) -> None:
        self.session.receive_data(data)
        while (event := self.session.next_event()) is not None:
            self._act_on(event)

    def data_to_send(self) -> bytes:
        return self.session.data_to_send()

    def tls_started(self) -> None:
        self.session.tls_started()

    def _act_on(self, event: Event) -> None:
        match event:
            case LoginOffered(user=user, proof=password):
                self.logins.append((user, str(password)))
                self.session.reply(AUTHENTICATED)
            case SenderOffered(reverse_path=path):
                self.received.append(ReceivedMail("" if path is None else str(path), [], b""))
                self.session.reply(SENDER_OK)
            case RecipientOffered(forward_path=path):
                self.received[-1].recipients.append(str(path))
                self.session.reply(RECIPIENT_OK)
            case ContentReceived(data=data):
                self._parts.append(data)
            case ContentEnded(data=data):
                self.received[-1].content = b"".join([*self._parts, data])
                self._parts.clear()
                self.session.reply(queued("1"))


class Server(Protocol):
    """What `join` needs of a server."""

    @property
    def is_closed(self) -> bool: ...

    def receive_data(self, data: bytes) -> None: ...

    def data_to_send(self) -> bytes: ...

    def tls_started(self) -> None: ...


def join(session: Any, server: Server) -> list[Any]:
    """Pass octets between a client session and a server until both are silent; give the session's events.

    A TLS handshake takes place, and a server that closed is told to the session, as a transport would do.
    """
    events: list[Any] = []
    while _exchange(session, server) or _take_events(session, server, events) or _tell_loss(session, server):
        pass
    return events


def _exchange(session: Any, server: Server) -> bool:
    to_client = server.data_to_send()
    if to_client:
        session.receive_data(to_client)
    to_server = session.data_to_send()
    if to_server and not server.is_closed:
        server.receive_data(to_server)
    return bool(to_client or to_server)


def _take_events(session: Any, server: Server, events: list[Any]) -> bool:
    event = session.next_event()
    if isinstance(event, TlsRequested):
        server.tls_started()
        session.tls_started("TLSv1.3 TEST")
    if event is not None:
        events.append(event)
    return event is not None


def _tell_loss(session: Any, server: Server) -> bool:
    if server.is_closed and not session.is_over:
        session.lose()
        return True
    return False
