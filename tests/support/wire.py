"""Client and server joined in memory: a scripted server, a transport, and a network of both.

`ScriptedServer` is strict where a careless client would go wrong: only CRLF ends a command, only CRLF.CRLF
ends a content. `MemoryNetwork` is the `connector` of RemoteDelivery; nothing moves before `pump`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from kms.protocol.client_events import TlsRequested

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
        replies: dict[str, Sequence[str]] | None = None,
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


def join(session: Any, server: ScriptedServer) -> list[Any]:
    """Pass octets between a client session and a server until both are silent; give the session's events.

    A TLS handshake takes place, and a server that closed is told to the session, as a transport would do.
    """
    events: list[Any] = []
    while _exchange(session, server) or _take_events(session, server, events) or _tell_loss(session, server):
        pass
    return events


def _exchange(session: Any, server: ScriptedServer) -> bool:
    to_client = server.data_to_send()
    if to_client:
        session.receive_data(to_client)
    to_server = session.data_to_send()
    if to_server and not server.is_closed:
        server.receive_data(to_server)
    return bool(to_client or to_server)


def _take_events(session: Any, server: ScriptedServer, events: list[Any]) -> bool:
    event = session.next_event()
    if isinstance(event, TlsRequested):
        server.tls_started()
        session.tls_started("TLSv1.3 TEST")
    if event is not None:
        events.append(event)
    return event is not None


def _tell_loss(session: Any, server: ScriptedServer) -> bool:
    if server.is_closed and not session.is_over:
        session.lose()
        return True
    return False


@attrs.define
class _Handle:
    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        return "TEST"


class MemoryTransport:
    """What a client connection needs of a TCP transport, TLS included."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closing = False
        self.is_aborted = False
        self.has_no_delay = False
        self.producer: Any = None
        self.tls_context: object = None
        self.high_water_octets = 1 << 30

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.has_no_delay = enabled

    def write(self, data: bytes) -> None:
        if self.is_closing:
            return
        self.written.append(data)
        if self.producer is not None and sum(map(len, self.written)) > self.high_water_octets:
            self.producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        assert self.producer is not None
        self.producer = None

    def loseConnection(self) -> None:
        assert self.producer is None, "TLS would never close"
        self.is_closing = True

    def abortConnection(self) -> None:
        self.is_closing = self.is_aborted = True
        self.written.clear()

    def startTLS(self, context: object) -> None:
        self.tls_context = context

    def getHandle(self) -> _Handle:
        return _Handle()


@attrs.define(eq=False)
class Link:
    """One connection of the network."""

    protocol: Any
    transport: MemoryTransport
    server: ScriptedServer
    is_stuck: bool = False
    is_lost: bool = False
    _has_begun_tls: bool = False

    def step(self) -> bool:
        """Move what waits; tell whether anything did."""
        if self.is_lost:
            return False
        if self.transport.tls_context is not None and not self._has_begun_tls:
            return self._begin_tls()
        moved = self._move_to_server()
        data = self.server.data_to_send() if not self.transport.is_closing else b""
        if data:
            self.protocol.dataReceived(data)
        elif self.transport.is_closing or (self.server.is_closed and not moved):
            self.lose()
        return bool(data) or moved or self.is_lost

    def lose(self) -> None:
        """Tell the protocol that the connection is gone."""
        self.is_lost = True
        self.transport.is_closing = True
        reason = ConnectionDone() if not self.transport.is_aborted else ConnectionLost()
        self.protocol.connectionLost(Failure(reason))

    def _begin_tls(self) -> bool:
        self._has_begun_tls = True
        if self.server.tls == "works":
            self.server.tls_started()
            self.protocol.handshakeCompleted()
        elif self.server.tls == "refused certificate":
            self.transport.abortConnection()
            self.protocol.handshakeCompleted()
        elif self.server.tls == "fails":
            self.lose()
        return True

    def _move_to_server(self) -> bool:
        if self.is_stuck or not self.transport.written:
            return False
        data = b"".join(self.transport.written)
        self.transport.written.clear()
        if not self.server.is_closed:
            self.server.receive_data(data)
        if self.transport.producer is not None:
            self.transport.producer.resumeProducing()
        return True


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, connect: Callable[[Any], Deferred[Any]]) -> None:
        self.connect = connect


class MemoryNetwork:
    """Servers by address and port, and the connections made to them.

    Attributes:
        servers: what answers at an address, one for each connection in turn; an exception fails the connect;
            None leaves it hanging.
        links: connections, in the order they were made.
        dialled: addresses and ports, in the order they were tried.
    """

    def __init__(self) -> None:
        self.servers: dict[tuple[str, int], deque[ScriptedServer | Exception | None]] = defaultdict(deque)
        self.links: list[Link] = []
        self.dialled: list[tuple[str, int]] = []
        self.high_water_octets = 1 << 30

    def add(self, address: str, *servers: ScriptedServer | Exception | None, port: int = 25) -> None:
        self.servers[address, port].extend(servers)

    def connector(self, address: str, port: int) -> IStreamClientEndpoint:
        def connect(factory: Any) -> Deferred[Any]:
            self.dialled.append((address, port))
            server = self.servers[address, port].popleft()
            if server is None:
                return Deferred()
            if isinstance(server, Exception):
                return fail(Failure(server))
            protocol = factory.buildProtocol(None)
            transport = MemoryTransport()
            transport.high_water_octets = self.high_water_octets
            protocol.transport = transport
            self.links.append(Link(protocol, transport, server))
            protocol.connectionMade()
            return succeed(protocol)

        return _Endpoint(connect)  # type: ignore[return-value]

    def pump(self) -> None:
        """Move octets until nothing moves any more."""
        is_moving = True
        while is_moving:
            is_moving = False
            for link in self.links:
                is_moving = link.step() or is_moving
