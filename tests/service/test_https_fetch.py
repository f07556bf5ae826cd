from __future__ import annotations

import gc

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from kms.domain.next_hop import TlsPolicy
from kms.service.clock import ClockOf
from kms.service.https_fetch import MAX_ADDRESSES, SECONDS_FOR_ONE_ADDRESS, FetchError, HttpsFetch
from tests.support.fakes import FakeResolver
from tests.support.memory_network import MemoryNetwork
from tests.support.policy_owners import ScriptedHttps
from tests.support.remote_deliveries import RecordingTls
from tests.support.results import result_of

HOST, PATH = "mta-sts.far.test", "/.well-known/mta-sts.txt"
A, B = "192.0.2.1", "192.0.2.2"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
WHOLE = OK + b"Content-Length: 5\r\n\r\nhello"


class Rig:
    def __init__(self, *addresses: str) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork()
        self.tls = RecordingTls()
        self.resolver = FakeResolver(addresses={HOST: addresses or (A,)})
        self.may_be_private = False
        self.fetch = HttpsFetch(
            self.network.connector,
            self.tls,
            self.resolver,
            lambda: self.may_be_private,
            ClockOf(self.clock),
        )

    def serve(
        self, answer: bytes, *, address: str = A, tls: str = "works", closes: bool = False
    ) -> ScriptedHttps:
        server = ScriptedHttps(answer, tls=tls, closes=closes)
        self.network.add(address, server, port=443)
        return server

    def begin(self) -> Deferred[bytes]:
        fetching = Deferred.fromCoroutine(self.fetch(HOST, PATH, 100))
        self.network.pump()
        return fetching

    def end(self, fetching: Deferred[bytes]) -> bytes:
        assert not self.clock.getDelayedCalls()
        assert all(link.transport.is_closing for link in self.network.links)
        return result_of(fetching)

    def get(self) -> bytes:
        return self.end(self.begin())


def test_a_text_comes_from_the_host_that_was_meant_and_its_certificate_must_be_right() -> None:
    rig = Rig()
    server = rig.serve(WHOLE)
    assert rig.get() == b"hello"
    assert rig.network.dialled == [(A, 443)]
    assert rig.tls.asked == [(HOST, TlsPolicy.VERIFY)]
    assert server.is_encrypted
    assert server.request.startswith(f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n".encode())


def test_a_text_without_a_length_ends_with_the_connection() -> None:
    rig = Rig()
    rig.serve(OK + b"\r\nhello", closes=True)
    assert rig.get() == b"hello"


def test_a_connection_that_breaks_is_no_end() -> None:
    rig = Rig()
    rig.serve(OK + b"\r\nhello")
    fetching = rig.begin()
    rig.network.links[0].transport.is_aborted = True
    rig.network.links[0].lose()
    with pytest.raises(FetchError, match="non-clean"):
        rig.end(fetching)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: https://x.test/\r\n\r\n", "the answer is 302"),
        (OK + b"Content-Length: 9\r\n\r\nhello", "cut off"),
        (b"", "Connection was closed cleanly"),
        (OK + b"Content-Length: 101\r\n\r\n" + b"x" * 101, "too large"),
        (OK + b"\r\n" + b"x" * 17000, "too large"),
    ],
)
def test_what_is_no_such_text_is_told(answer: bytes, words: str) -> None:
    rig = Rig()
    rig.serve(answer, closes=True)
    with pytest.raises(FetchError, match=words):
        rig.get()


def test_a_wrong_certificate_is_named() -> None:
    rig = Rig()
    rig.tls.problems.append("the certificate has expired")
    server = rig.serve(WHOLE, tls="refused certificate")
    with pytest.raises(FetchError, match="the certificate has expired"):
        rig.get()
    assert server.request == b""


def test_the_next_address_is_tried_but_never_many() -> None:
    rig = Rig(A, B)
    rig.network.add(A, ConnectionRefusedError(), port=443)
    rig.serve(WHOLE, address=B)
    assert rig.get() == b"hello"
    many = Rig(*(f"192.0.2.{number}" for number in range(1, 9)))
    for number in range(1, 9):
        many.network.add(f"192.0.2.{number}", ConnectionRefusedError(), port=443)
    with pytest.raises(FetchError, match="refused"):
        many.get()
    assert len(many.network.dialled) == MAX_ADDRESSES


def test_a_host_without_address_is_told() -> None:
    rig = Rig()
    rig.resolver.addresses.clear()
    with pytest.raises(FetchError, match="has no address, or cannot be looked up"):
        rig.get()


def test_private_addresses_are_connected_to_only_where_mail_may_go_there() -> None:
    rig = Rig("127.0.0.1", "10.0.0.1")
    with pytest.raises(FetchError, match="no address that may be connected to"):
        rig.get()
    assert rig.network.dialled == []
    rig.may_be_private = True
    rig.serve(WHOLE, address="127.0.0.1")
    assert rig.get() == b"hello"


def test_a_server_that_takes_too_long_is_left() -> None:
    rig = Rig()
    rig.serve(OK)
    fetching = rig.begin()
    rig.clock.advance(SECONDS_FOR_ONE_ADDRESS)
    with pytest.raises(FetchError, match="no answer in time"):
        rig.end(fetching)
    rig.network.pump()  # that the connection is gone too changes nothing


def test_a_connection_that_never_comes_is_left() -> None:
    rig = Rig()
    rig.network.add(A, None, port=443)
    fetching = rig.begin()
    rig.clock.advance(SECONDS_FOR_ONE_ADDRESS)
    with pytest.raises(FetchError):
        rig.end(fetching)


def test_an_answer_in_crumbs_is_looked_at_a_few_times_only_and_once_more_at_its_end() -> None:
    rig = Rig()
    server = rig.serve(OK + b"Content-Length: 300\r\n\r\n")
    fetching = Deferred.fromCoroutine(rig.fetch(HOST, PATH, 300))
    rig.network.pump()
    for _ in range(300):
        server.output += b"x"
        rig.network.pump()
    assert not fetching.called
    server.is_closed = True
    rig.network.pump()
    assert rig.end(fetching) == b"x" * 300


def test_an_attempt_that_is_given_up_before_it_is_connected_leaves_no_error_behind() -> None:
    rig = Rig()
    rig.network.add(A, None, port=443)
    fetching = rig.begin()
    with capturedLogs() as events:
        rig.clock.advance(SECONDS_FOR_ONE_ADDRESS)
        with pytest.raises(FetchError):
            rig.end(fetching)
        del rig, fetching
        gc.collect()
    assert not events
