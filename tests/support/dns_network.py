"""An imagined network with a DNS server in it, for the real resolver: no socket, no thread, no waiting."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import attrs
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename
import dns.rrset
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

REFUSES = "refuses"
"""What a server answers with where nobody listens."""

ServerAnswer = dns.message.Message | bytes | list[bytes] | str | None


@attrs.define
class Zone:
    """A server that knows these records.

    Attributes:
        mx, addresses, failing, names: as in `FakeResolver`.
        texts, tlsa: in zone file form, by name.
        secure: names whose answers get the AD bit, where the question asks for it.
        aliases: CNAME records.
        ttl: of all records.
        follows_aliases: puts what an alias leads to into the same answer.
    """

    mx: Mapping[str, Sequence[tuple[int, str]]] = attrs.field(factory=dict)
    addresses: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    failing: Iterable[str] = ()
    aliases: Mapping[str, str] = attrs.field(factory=dict)
    ttl: int = 300
    soa_ttl: int | None = None
    follows_aliases: bool = True
    names: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    texts: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    tlsa: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    secure: Iterable[str] = ()

    def __call__(self, query: dns.message.Message, is_tcp: bool) -> ServerAnswer:
        question = query.question[0]
        name = _print_name(question.name)
        response = dns.message.make_response(query)
        if name in self.secure and query.flags & dns.flags.AD:
            response.flags |= dns.flags.AD
        for _ in range(30):
            if name not in self.aliases:
                break
            self._add(response, name, "CNAME", [self.aliases[name] + "."])
            name = self.aliases[name]
            if not self.follows_aliases or question.rdtype == dns.rdatatype.CNAME:
                return response
        if name in self.failing:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif not any(name in table for table in (self.mx, self.addresses, self.names, self.texts, self.tlsa)):
            response.set_rcode(dns.rcode.NXDOMAIN)
        self._add_records(response, name, dns.rdatatype.to_text(question.rdtype))
        if not response.answer and self.soa_ttl is not None:
            soa = dns.rrset.from_text(
                "test.", self.soa_ttl, "IN", "SOA", f"ns.test. root.test. 1 2 3 4 {self.soa_ttl}"
            )
            response.authority.append(soa)
        return response

    def _add_records(self, response: dns.message.Message, name: str, rdtype: str) -> None:
        records: list[str] = []
        if rdtype == "MX":
            records = [f"{preference} {host}." for preference, host in self.mx.get(name, ())]
        elif rdtype == "PTR":
            records = [f"{text}." for text in self.names.get(name, ())]
        elif rdtype in ("TXT", "TLSA"):
            records = list((self.texts if rdtype == "TXT" else self.tlsa).get(name, ()))
        elif rdtype in ("A", "AAAA"):
            records = [text for text in self.addresses.get(name, ()) if (":" in text) == (rdtype == "AAAA")]
        if records and response.rcode() == dns.rcode.NOERROR:
            self._add(response, name, rdtype, records)

    def _add(self, response: dns.message.Message, name: str, rdtype: str, records: list[str]) -> None:
        owner = name + "." if rdtype != "PTR" else dns.reversename.from_address(name).to_text()
        response.answer.append(dns.rrset.from_text(owner, self.ttl, "IN", rdtype, *records))


def _print_name(name: dns.name.Name) -> str:
    """Print a name; one of a reverse zone as the address it stands for."""
    try:
        return dns.reversename.to_address(name)
    except (dns.exception.SyntaxError, ValueError):
        return name.to_text(omit_final_dot=True).lower()


class DnsNetwork(Clock):
    """A reactor with such a network.

    Attributes:
        server: gets each question and whether it came by TCP; answers with a message, with octets, with
            several packets, with None for silence, or with `REFUSES`.
        questions: name, type, server's address and port, in order.
        delay: seconds until an answer arrives; 0 = at once, before the question's call returns.
        dead_servers: addresses where nobody listens.
        unreachable: addresses to which there is no way.
        open_sockets: those not yet closed.
    """

    def __init__(self, server: Callable[[dns.message.Message, bool], ServerAnswer]) -> None:
        super().__init__()
        self.server = server
        self.delay = 0.0
        self.dead_servers: set[str] = set()
        self.unreachable: set[str] = set()
        self.questions: list[tuple[str, str, str, int]] = []
        self.open_sockets: set[object] = set()
        self.readers: dict[int, Any] = {}

    def open_socket(self, family: int, kind: int) -> socket.socket:
        return cast(socket.socket, _FakeSocket(self))

    def addReader(self, reader: Any) -> None:
        self.readers[reader.fileno()] = reader

    def removeReader(self, reader: Any) -> None:
        self.readers.pop(reader.fileno(), None)

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float) -> None:
        if host in self.dead_servers:
            factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        else:
            protocol = factory.buildProtocol(None)
            protocol.makeConnection(_FakeTransport(self, protocol, (host, port)))

    def later(self, call: Callable[..., object], *arguments: object) -> None:
        if self.delay:
            self.callLater(self.delay, call, *arguments)
        else:
            call(*arguments)

    def ask(self, wire: bytes, destination: tuple[str, int], is_tcp: bool) -> list[bytes] | str:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype) + ("/tcp" if is_tcp else "")
        self.questions.append((question.name.to_text(), kind, *destination[:2]))
        answer = REFUSES if destination[0] in self.dead_servers else self.server(query, is_tcp)
        match answer:
            case None:
                return []
            case str() | list():
                return answer
            case bytes():
                return [answer]
            case _:
                return [answer.to_wire(max_size=65535)]


class _FakeSocket:
    """A UDP socket whose answers are there at once."""

    _last_number = 1000

    def __init__(self, network: DnsNetwork) -> None:
        _FakeSocket._last_number += 1
        self._number = _FakeSocket._last_number
        self._network = network
        self._arrived: deque[bytes] = deque()
        self._destination = ("", 0)
        self.fault: OSError | None = None
        network.open_sockets.add(self)

    def setblocking(self, blocks: bool) -> None:
        assert not blocks

    def fileno(self) -> int:
        return self._number

    def connect(self, destination: tuple[str, int]) -> None:
        if destination[0] in self._network.unreachable:
            raise OSError(errno.ENETUNREACH, "network is unreachable")
        self._destination = destination

    def send(self, wire: bytes) -> int:
        reader = self._network.readers[self._number]
        answer = self._network.ask(wire, self._destination, is_tcp=False)
        if isinstance(answer, str):
            self._network.later(reader.connectionLost, Failure(ConnectionDone()))
        else:
            self._arrived += answer
            for _ in answer:
                self._network.later(reader.doRead)
        return len(wire)

    def recv(self, size: int) -> bytes:
        if self.fault is not None:
            raise self.fault
        if not self._arrived:
            raise BlockingIOError
        return self._arrived.popleft()[:size]

    def getsockopt(self, level: int, option: int) -> int:
        return errno.ECONNREFUSED

    def close(self) -> None:
        self._network.open_sockets.discard(self)


class _FakeTransport:
    """The client's end of a TCP connection to the server."""

    def __init__(self, network: DnsNetwork, protocol: Any, destination: tuple[str, int]) -> None:
        self._network = network
        self._protocol = protocol
        self._destination = destination
        network.open_sockets.add(self)

    def write(self, data: bytes) -> None:
        answer = self._network.ask(data[2:], self._destination, is_tcp=True)
        if isinstance(answer, str):
            self.abortConnection()
            return
        for wire in answer:
            framed = len(wire).to_bytes(2, "big") + wire
            self._network.later(self._protocol.dataReceived, framed[:1])
            self._network.later(self._protocol.dataReceived, framed[1:])

    def abortConnection(self) -> None:
        if self in self._network.open_sockets:
            self._network.open_sockets.discard(self)
            self._protocol.connectionLost(Failure(ConnectionDone()))
