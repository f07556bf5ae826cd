"""Counts distinct things by key within a sliding time: wrong passwords of a client, names behind an address.

Promises: the same thing counts once however often it comes; memory is bounded, whoever fills it: at most
`most_keys` keys and `most_things` things in all (the keys longest without news go first), and per key as many
things as the caller says (the oldest goes first). It knows no clock: `now` is in seconds of one that never
jumps, and never goes back.

Flow: service/login_guard.py and gateway.py keep such tallies; what a count means is said there.
"""

from __future__ import annotations

from collections.abc import Hashable

Seconds = float


class DistinctTally:
    """Which distinct things came for each key, and when each came first."""

    def __init__(self, most_keys: int, most_things: int) -> None:
        self._most_keys = most_keys
        self._most_things = most_things
        self._total = 0
        self._things: dict[Hashable, dict[Hashable, Seconds]] = {}

    def __len__(self) -> int:
        return len(self._things)

    def add(self, key: Hashable, thing: Hashable, now: Seconds, window: Seconds, most: int) -> bool:
        """Note one thing; a thing that is known within the window keeps its time.

        Args:
            most: so many things of one key are remembered; at least 1.

        Returns:
            True where it is new within the window.
        """
        things = self._things.pop(key, None) or {}
        self._things[key] = things  # the newest stands last
        self._forget_old(things, now - window)
        if thing in things:
            return False
        while len(things) >= most:
            self._forget_first(things)
        things[thing] = now
        self._total += 1
        self._make_room()
        return True

    def has(self, key: Hashable, thing: Hashable, now: Seconds, window: Seconds) -> bool:
        """Say whether a thing first came within the window before `now`."""
        at = self._things.get(key, {}).get(thing)
        return at is not None and at > now - window

    def count(self, key: Hashable, now: Seconds, window: Seconds) -> int:
        """Count the distinct things of a key whose first time lies within the window before `now`."""
        since = now - window
        return sum(at > since for at in self._things.get(key, {}).values())

    def sweep(self, now: Seconds, window: Seconds) -> None:
        """Forget what lies before the window."""
        for key, things in list(self._things.items()):
            self._forget_old(things, now - window)
            if not things:
                del self._things[key]

    def _make_room(self) -> None:
        while len(self._things) > self._most_keys or self._total > self._most_things:
            first = next(iter(self._things))
            self._total -= len(self._things.pop(first))

    def _forget_old(self, things: dict[Hashable, Seconds], since: Seconds) -> None:
        """Drop what came at `since` or before; things lie in the order of their coming."""
        while things and next(iter(things.values())) <= since:
            self._forget_first(things)

    def _forget_first(self, things: dict[Hashable, Seconds]) -> None:
        del things[next(iter(things))]
        self._total -= 1
