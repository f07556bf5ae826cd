"""What an SMTP side in memory is made of: see smtp_rig.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from kms.domain.account import Account
from kms.domain.dns_answer import AddressAnswer, MxAnswer, NamesAnswer
from kms.service.mailboxes import MailboxUsage
from kms.service.smtp_connection import SmtpConnection
from tests.support.fakes import FakeResolver

SERVER = "192.168.1.1"
START = 1_800_000_000.0
_READ_OCTETS = 64 * 1024


class InlineReactor(Clock):
    """A clock; what threads ask for is called at once."""

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = START

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        call(*args)


class InlinePool:
    """A thread pool whose work is done at once, or when it is released.

    Attributes:
        is_held: work waits for `release`.
        failures: what the next calls fail with, one each.
        calls: how many there were.
    """

    def __init__(self) -> None:
        self.is_held = False
        self.failures: list[Exception] = []
        self.calls = 0
        self._waiting: list[Callable[[], None]] = []

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, Any], object], call: Callable[..., Any], *args: Any
    ) -> None:
        self.calls += 1
        self._waiting.append(lambda: self._do(on_result, call, args))
        if not self.is_held:
            self.release()

    def release(self) -> None:
        """Do what waits, in order."""
        while self._waiting:
            self._waiting.pop(0)()

    def _do(
        self, on_result: Callable[[bool, Any], object], call: Callable[..., Any], args: Sequence[Any]
    ) -> None:
        try:
            if self.failures:
                raise self.failures.pop(0)
            result = call(*args)
        except Exception:
            on_result(False, Failure())
        else:
            on_result(True, result)


class SlowResolver(FakeResolver):
    """Answers when it is released.

    Attributes:
        waiting: the questions that are not answered; fire one to answer it.
        is_slow: False answers at once.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.waiting: list[Deferred[None]] = []
        self.is_slow = False

    async def lookup_mx(self, domain: str) -> MxAnswer:
        await self._wait()
        return await super().lookup_mx(domain)

    async def lookup_addresses(self, host: str) -> AddressAnswer:
        await self._wait()
        return await super().lookup_addresses(host)

    async def lookup_names(self, address: str) -> NamesAnswer:
        await self._wait()
        return await super().lookup_names(address)

    async def _wait(self) -> None:
        if self.is_slow:
            waiting: Deferred[None] = Deferred()
            self.waiting.append(waiting)
            await waiting


class FakeMailbox:
    """An open mailbox."""

    def __init__(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


class FakeMailboxes:
    """How full mailboxes are, and who has them open.

    Attributes:
        usages: by login; others are empty.
        failure: what asking and opening fails with.
        waiting: questions that are not answered, while `is_slow`.
        opened: all mailboxes that were opened.
    """

    def __init__(self) -> None:
        self.usages: dict[str, MailboxUsage] = {}
        self.failure: Exception | None = None
        self.is_slow = False
        self.waiting: list[tuple[Deferred[MailboxUsage], MailboxUsage]] = []
        self.opened: list[FakeMailbox] = []

    def usage(self, account: Account) -> Deferred[MailboxUsage]:
        if self.failure is not None:
            return fail(self.failure)
        usage = self.usages.get(account.login, MailboxUsage(0, 0))
        if not self.is_slow:
            return succeed(usage)
        waiting: Deferred[MailboxUsage] = Deferred()
        self.waiting.append((waiting, usage))
        return waiting

    def answer_one(self) -> None:
        """Answer the longest waiting question."""
        waiting, usage = self.waiting.pop(0)
        waiting.callback(usage)

    def open(self, account: Account) -> Deferred[FakeMailbox]:
        if self.failure is not None:
            return fail(self.failure)
        self.opened.append(FakeMailbox())
        return succeed(self.opened[-1])


class ClientWire(StringTransport):
    """The client's end of a connection.

    Attributes:
        tls_context: what TLS was started with.
        high_water_octets: so much unread tells the server to pause.
        heard: all lines that were read.
    """

    def __init__(self, client: str) -> None:
        kind = IPv4Address if ip_address(client).version == 4 else IPv6Address
        super().__init__(IPv4Address("TCP", SERVER, 25), kind("TCP", client, 4711), lenient=True)  # type: ignore[no-untyped-call]
        self.tls_context: object = None
        self.has_no_delay = False
        self.high_water_octets = 1 << 30
        self.is_full = False
        self.heard: list[bytes] = []

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.has_no_delay = enabled

    def startTLS(self, context: object) -> None:
        self.tls_context = context

    def write(self, data: bytes) -> None:
        super().write(data)  # type: ignore[no-untyped-call]
        if self.producer is not None and len(self.value()) > self.high_water_octets:  # type: ignore[no-untyped-call]
            self.is_full = True
            self.producer.pauseProducing()

    def read(self) -> bytes:
        """Take what the server said; it may say more then."""
        data: bytes = self.value()  # type: ignore[no-untyped-call]
        self.heard += data.splitlines()
        self.clear()  # type: ignore[no-untyped-call]
        if self.is_full and self.producer is not None:
            self.is_full = False
            self.producer.resumeProducing()
        return data


@attrs.define
class Client:
    """One client's connection.

    Attributes:
        reactor: the server's.
        is_lost: the server knows that the connection is over.
        keeps_line: the client does not close when the server does.
    """

    connection: SmtpConnection
    wire: ClientWire
    reactor: Clock
    is_lost: bool = False
    keeps_line: bool = False

    def send(self, data: bytes) -> None:
        """Send octets to the server, who reads at most 64 KiB at a time."""
        for start in range(0, len(data), _READ_OCTETS):
            if not self.is_lost:
                self.connection.dataReceived(data[start : start + _READ_OCTETS])
            self.close_with_server()

    def close_with_server(self) -> None:
        """Close where the server has closed."""
        if self.wire.disconnecting and not self.keeps_line:
            self.lose()

    def say(self, *lines: str) -> list[str]:
        """Send lines in one piece, and give what the server says."""
        self.send("".join(f"{line}\r\n" for line in lines).encode("utf-8"))
        return self.hear()

    def hear(self) -> list[str]:
        """Give the lines that the server has said since; a long pipeline takes it several turns."""
        said = self.wire.read()
        self.reactor.advance(0)
        said += self.wire.read()
        while self.connection._turns is not None:
            self.reactor.advance(0.005)
            if not (more := self.wire.read()):
                break
            said += more
        return said.decode("utf-8").splitlines()

    def end_input(self) -> None:
        """Send no more, but listen; a client that closes altogether looks the same at first."""
        self.connection.readConnectionLost()
        self.close_with_server()

    def lose(self) -> None:
        """The connection is over."""
        if not self.is_lost:
            self.is_lost = True
            self.connection.connectionLost(Failure(ConnectionDone()))
