from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from twisted.internet.task import Clock

from kms.service import login_delay
from kms.service.clock import ClockOf
from kms.service.login_delay import LoginDelay, LoginTooSoon

ANNA = "anna@example.org"


def test_the_next_login_is_refused_until_the_time_has_passed() -> None:
    clock = Clock()
    delay = LoginDelay(ClockOf(clock), timedelta(minutes=2))
    delay.check(ANNA)
    delay.note(ANNA)
    clock.advance(119)
    with pytest.raises(LoginTooSoon):
        delay.check(ANNA)
    delay.check("bert@example.org")
    clock.advance(1)
    delay.check(ANNA)


def test_without_a_delay_nothing_is_remembered() -> None:
    delay = LoginDelay(ClockOf(Clock()), timedelta(0))
    delay.note(ANNA)
    delay.length = timedelta(minutes=2)
    delay.check(ANNA)


def test_what_is_too_old_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_delay, "_SWEEP_ABOVE", 2)
    clock = Clock()
    delay: Any = LoginDelay(ClockOf(clock), timedelta(minutes=2))
    for name in ("a", "b", "c"):
        delay.note(name)
        clock.advance(60)
    assert set(delay._last) == {"b", "c"} | ({"a"} & set(delay._last))
    clock.advance(600)
    delay.note("d")
    assert set(delay._last) == {"d"}
