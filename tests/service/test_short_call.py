"""Short calls on real socket pairs."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from kms.service.short_call import MOST_OCTETS, receive_at_once, send_at_once

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_octets_arrive_as_they_were_sent(pair: Pair) -> None:
    ours, theirs = pair
    data = bytes(range(256)) * 3
    assert send_at_once(ours.fileno(), data) == len(data)
    assert receive_at_once(theirs.fileno()) == data


def test_what_was_received_stays_when_more_comes(pair: Pair) -> None:
    ours, theirs = pair
    send_at_once(ours.fileno(), b"first")
    first = receive_at_once(theirs.fileno())
    send_at_once(ours.fileno(), b"other")
    assert (first, receive_at_once(theirs.fileno())) == (b"first", b"other")


def test_nothing_is_there_yet_and_nobody_waits_for_it(pair: Pair) -> None:
    assert receive_at_once(pair[0].fileno()) == b""


def test_a_full_socket_takes_a_part_and_then_nothing(pair: Pair) -> None:
    ours, _ = pair
    ours.setblocking(True)
    taken = 0
    while octets := send_at_once(ours.fileno(), b"x" * MOST_OCTETS * 2):
        assert octets <= MOST_OCTETS
        taken += octets
    assert taken > 0


def test_the_end_gives_nothing(pair: Pair) -> None:
    ours, theirs = pair
    ours.close()
    assert receive_at_once(theirs.fileno()) == b""
    assert send_at_once(theirs.fileno(), b"too late") == 0


def test_no_descriptor_gives_nothing() -> None:
    assert receive_at_once(-1) == b""
    assert send_at_once(-1, b"x") == 0
