from __future__ import annotations

import os
import threading
from ipaddress import ip_address
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from kms.service import hashing_queue
from kms.service.hashing_queue import HashingPool, HashingQueue, LoginsBusy
from tests.support.results import result_of
from tests.support.smtp_parts import InlinePool, InlineReactor


class World:
    """A queue whose two threads work when they are told to, and what was done, in order."""

    def __init__(self) -> None:
        self.pool = InlinePool()
        self.pool.is_held = True
        pool: Any = self.pool
        reactor: Any = InlineReactor()
        self.queue = HashingQueue(pool, reactor, threads=2)
        self.done: list[str] = []

    def ask(self, client: str, name: str) -> Deferred[str]:
        return self.queue.run(ip_address(client), self._note, name)

    def _note(self, name: str) -> str:
        self.done.append(name)
        return name


@pytest.fixture
def world() -> World:
    return World()


def test_no_more_than_the_threads_is_given_to_the_pool(world: World) -> None:
    results = [world.ask("203.0.113.9", str(number)) for number in range(5)]
    assert world.pool.calls == 2
    world.pool.release()
    assert [result_of(result) for result in results] == world.done == ["0", "1", "2", "3", "4"]


def test_clients_take_turns_however_many_one_sends(world: World) -> None:
    for number in range(50):
        world.ask("203.0.113.9", f"guess {number}")
    world.ask("192.0.2.7", "anna")
    world.ask("192.0.2.8", "bert")
    world.pool.release()
    assert {"anna", "bert"} < set(world.done[:6])
    assert len(world.done) == 52


def test_a_network_of_ipv6_is_one_client(world: World) -> None:
    for number in range(50):
        world.ask(f"2001:db8::{number:x}", f"guess {number}")
    world.ask("2001:db8:0:1::1", "anna")
    world.pool.release()
    assert world.done.index("anna") < 5


def test_a_hundred_guessers_hold_nobody_up_for_longer_than_a_round(world: World) -> None:
    for number in range(300):
        world.ask(f"203.0.113.{number % 100}", "guess")
    world.ask("192.0.2.7", "anna")
    world.pool.release()
    assert world.done.index("anna") <= 102


def test_when_it_is_full_who_has_most_in_it_loses_its_newest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing_queue, "_MOST_WAITING", 4)
    guesses = [world.ask("203.0.113.9", f"guess {number}") for number in range(6)]
    put_off = world.ask("203.0.113.9", "guess 6")
    with pytest.raises(LoginsBusy):
        result_of(put_off)
    anna = world.ask("192.0.2.7", "anna")
    with pytest.raises(LoginsBusy):
        result_of(guesses[5])
    world.pool.release()
    assert result_of(anna) == "anna"
    assert world.done == ["guess 0", "guess 1", "guess 2", "anna", "guess 3", "guess 4"]


def test_alone_and_put_off_leaves_nothing_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing_queue, "_MOST_WAITING", 0)
    running = [world.ask("203.0.113.9", str(number)) for number in range(2)]
    with pytest.raises(LoginsBusy):
        result_of(world.ask("192.0.2.7", "anna"))
    world.pool.release()
    assert [result_of(one) for one in running] == ["0", "1"]
    again = world.ask("192.0.2.7", "anna")
    world.pool.release()
    assert result_of(again) == "anna"


def test_a_fault_is_told_to_who_asked_and_frees_the_thread(world: World) -> None:
    world.pool.failures.append(ValueError("damaged"))
    first, second, third = (world.ask("203.0.113.9", str(number)) for number in range(3))
    world.pool.release()
    with pytest.raises(ValueError, match="damaged"):
        result_of(first)
    assert [result_of(second), result_of(third)] == ["1", "2"]


def test_hashing_threads_leave_the_processor_to_the_others() -> None:
    """Only they do: the thread that starts the pool keeps its priority."""
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    seen: list[int] = []
    done = threading.Event()

    def work() -> None:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        done.set()

    pool = HashingPool(1)
    pool.start()
    try:
        pool.callInThread(work)
        assert done.wait(10)
    finally:
        pool.stop()
    assert seen == [min(mine + 10, 19)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine
