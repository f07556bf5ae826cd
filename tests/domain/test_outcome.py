"""Outcomes: three values that are never mistaken for each other."""

from __future__ import annotations

from kms.domain import reply, status
from kms.domain.outcome import Deferred, Delivered, Failed, Outcome
from kms.domain.reply import Reply

OK = Reply(250, status.OK, "ok")


def test_the_three_are_never_equal() -> None:
    outcomes: set[Outcome] = {Delivered(OK, "x"), Deferred(OK, "x"), Failed(OK, "x")}
    assert len(outcomes) == 3


def test_a_deferral_is_unambiguous_unless_said_otherwise() -> None:
    assert not Deferred(reply.CONNECTION_LOST, "none").is_ambiguous
