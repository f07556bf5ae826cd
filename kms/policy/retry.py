"""After an attempt: try again at, warn as well, or give up.

`decide` is asked once an attempt has left recipients deferred. Time is a parameter and the rules are read
anew each time, so a changed configuration also counts for mail already queued.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs


@attrs.frozen
class RetryRules:
    """The settings of `[queue]` that time the attempts.

    Attributes:
        intervals: waits before the second, third, … attempt; the last one repeats.
        bounce_after: age at which the sender gets a report and the attempts end.
        warn_after: age at which the sender is warned, once.
        limits_apply_to_smarthost: let `bounce_after` count for mail that goes through a smarthost too.
    """

    intervals: tuple[timedelta, ...] = (timedelta(minutes=30),)
    bounce_after: timedelta = timedelta(days=4)
    warn_after: timedelta = timedelta(hours=4)
    limits_apply_to_smarthost: bool = False


@attrs.frozen
class RetryAt:
    """Keep the message and try again at `at`; `warn` says that the sender must be told of the delay now."""

    at: datetime
    warn: bool


@attrs.frozen
class Expire:
    """Give up: report to the sender and drop the recipients (4.4.7)."""


def decide_retry(
    rules: RetryRules,
    arrived_at: datetime,
    attempts: int,
    was_warned: bool,
    through_smarthost: bool,
    now: datetime,
) -> RetryAt | Expire:
    """Say what follows an attempt that left recipients deferred.

    Args:
        arrived_at: when the message was accepted.
        attempts: attempts so far, this one included: 1 or more.
        was_warned: the delay warning has gone out already.
        through_smarthost: the recipients go through a smarthost, where `bounce_after` is not considered
            unless the rules say so. (A `[routes]` hop is not one.)
        now: the instant of the decision.
    """
    age = now - arrived_at
    may_expire = rules.limits_apply_to_smarthost or not through_smarthost
    if may_expire and age >= rules.bounce_after:
        return Expire()
    wait = rules.intervals[min(attempts, len(rules.intervals)) - 1]
    at = now + wait
    if may_expire:
        at = min(at, arrived_at + rules.bounce_after)
    return RetryAt(at, warn=not was_warned and age >= rules.warn_after)
