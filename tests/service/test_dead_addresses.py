from twisted.internet.task import Clock

from kms.service import dead_addresses
from kms.service.clock import ClockOf
from kms.service.dead_addresses import REMEMBERED_SECONDS, DeadAddresses


def test_the_dead_come_last_and_else_the_order_stays() -> None:
    dead = DeadAddresses(ClockOf(Clock()))
    dead.add("b", 25)
    assert dead.sort(("a", "b", "c"), 25) == ["a", "c", "b"]
    assert dead.sort(("a", "b", "c"), 587) == ["a", "b", "c"]


def test_who_answers_is_dead_no_more() -> None:
    dead = DeadAddresses(ClockOf(Clock()))
    dead.add("a", 25)
    dead.remove("a", 25)
    dead.remove("b", 25)
    assert dead.sort(("a", "b"), 25) == ["a", "b"]


def test_it_is_forgotten_after_its_time() -> None:
    clock = Clock()
    dead = DeadAddresses(ClockOf(clock))
    dead.add("a", 25)
    clock.advance(REMEMBERED_SECONDS)
    assert dead.sort(("a", "b"), 25) == ["a", "b"]


def test_what_is_remembered_is_bounded() -> None:
    dead = DeadAddresses(ClockOf(Clock()))
    for number in range(dead_addresses._MOST_REMEMBERED + 1):
        dead.add(str(number), 25)
    assert dead.sort(("0", "x"), 25) == ["0", "x"]
