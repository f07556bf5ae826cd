"""Keeps count of wrong logins, and refuses who guesses: the same for SMTP AUTH and POP3.

Promises: a refused login is not checked at all, so its answer tells nothing; exempt and own addresses are
never refused; trouble of ours counts nothing. No password is kept: a distinct one is told by a short digest
under a key of this process. A delay holds no hashing thread. Memory is bounded by the three tallies below,
about 40 MB when all are full; a client that is pushed out is counted from nothing.

Flow: `GuardedPortal` asks it around every login; the rules are in policy/login_guard.py, blocks are kept by
client_ledger.py, so that they survive a restart and can be listed and lifted.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import attrs
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred

from kms.domain.address_group import ClientAddress
from kms.policy.block import Block, BlockKind
from kms.policy.distinct_tally import DistinctTally
from kms.policy.limits import Limit, Mode, client_key
from kms.policy.login_guard import (
    MINUTE,
    MOST_ADDRESSES_COUNTED,
    MOST_GUESSES_A_MINUTE,
    LoginFacts,
    LoginRules,
    LoginVerdict,
    find_delay,
    find_full_limits,
    judge_login,
    name_account,
)
from kms.service.clock import Clock
from kms.service.directory import DirectoryCache
from kms.service.security_log import SecurityLog

_R = TypeVar("_R")
_MOST_KEYS = 20_000
_MOST_THINGS = 60_000
_MOST_WAITING = 1000
_DIGEST_OCTETS = 8


class LoginRefused(Exception):
    """The client has sent too many wrong passwords; it shall try again later (454, [SYS/TEMP])."""


class KeepsBlocks(Protocol):
    """The part of `ClientLedger` that is needed."""

    def block_of(self, client: str, kind: BlockKind, account: str = "") -> Block | None:
        """The block that a client has now."""
        ...

    def block(self, client: str, kind: BlockKind, length: timedelta, why: str, account: str = "") -> object:
        """Block a client from now on, and over a restart."""
        ...


@attrs.frozen
class _Login:
    """One login under way: who asks, and the name that its account is counted by."""

    client: str
    account: str

    @property
    def pair(self) -> tuple[str, str]:
        return self.client, self.account


class LoginGuard:
    """Who may have a password checked.

    Args:
        rules: the settings; a reload replaces the attribute.
        directory: gives the domains of today.
        blocks: where blocks are kept.
        log: tells of blocks, and of limits that are only observed.
        clock: for windows and delays.
        is_own: says whether an address is this machine's.

    Attributes:
        on_tripped: called with limit and client when a block begins.
    """

    def __init__(
        self,
        rules: LoginRules,
        directory: DirectoryCache,
        blocks: KeepsBlocks,
        log: SecurityLog,
        clock: Clock,
        is_own: Callable[[ClientAddress], bool],
    ) -> None:
        self.rules = rules
        self.on_tripped: Callable[[Limit, str], object] = _ignore
        self._directory = directory
        self._blocks = blocks
        self._log = log
        self._clock = clock
        self._is_own = is_own
        self._key = os.urandom(32)
        self._serial = itertools.count()
        self._pairs = DistinctTally(_MOST_KEYS, _MOST_THINGS)
        self._addresses = DistinctTally(_MOST_KEYS, _MOST_THINGS)
        self._accounts = DistinctTally(_MOST_KEYS, _MOST_THINGS)
        self._checks: Counter[object] = Counter()
        self._waiting: dict[str, list[Deferred[None]]] = {}
        self._waiting_count = 0

    async def watch(
        self, client: ClientAddress, user: str, secret: str | None, prove: Callable[[], Deferred[_R]]
    ) -> _R:
        """Have a login proved, if this client may; its failure is counted.

        Args:
            user: as the client wrote it.
            secret: the password; None where the mechanism does not show it, so that each failure counts.
            prove: begins the check; fails with UnauthorizedLogin where the login is wrong.

        Raises:
            LoginRefused: nothing was checked.
        """
        if self._is_spared(client):
            return await prove()
        login = _Login(client_key(client), name_account(self._directory.current, user))
        await self._admit(login)
        try:
            await self._delay(login)
            return await prove()
        except UnauthorizedLogin:
            self._count(login, secret)
            raise
        finally:
            self._leave(login)

    def _is_spared(self, client: ClientAddress) -> bool:
        group = self.rules.exempt_group
        return (group is not None and client in group) or self._is_own(client)

    # Before the check

    async def _admit(self, login: _Login) -> None:
        while (verdict := judge_login(self._facts(login), self.rules)) is not LoginVerdict.CHECK:
            if verdict is not LoginVerdict.WAIT or self._waiting_count >= _MOST_WAITING:
                raise LoginRefused(verdict.value)
            await self._wait(login.client)
        self._checks[login.client] += 1
        self._checks[login.pair] += 1

    async def _wait(self, client: str) -> None:
        turn: Deferred[None] = Deferred()
        self._waiting.setdefault(client, []).append(turn)
        self._waiting_count += 1
        await turn

    def _leave(self, login: _Login) -> None:
        for key in (login.client, login.pair):
            self._checks[key] -= 1
            if not self._checks[key]:
                del self._checks[key]
        turns = self._waiting.pop(login.client, [])
        self._waiting_count -= len(turns)
        for turn in turns:
            turn.callback(None)

    def _facts(self, login: _Login) -> LoginFacts:
        now, window = self._clock.monotonic(), self.rules.window.total_seconds()
        find = self._blocks.block_of
        return LoginFacts(
            pair_failures=self._pairs.count(login.pair, now, window),
            address_failures=self._addresses.count(login.client, now, window),
            minute_failures=self._addresses.count(login.client, now, MINUTE.total_seconds()),
            pair_checks=self._checks[login.pair],
            address_checks=self._checks[login.client],
            is_pair_blocked=find(login.client, BlockKind.LOGIN, login.account) is not None,
            is_address_blocked=find(login.client, BlockKind.LOGIN) is not None,
        )

    async def _delay(self, login: _Login) -> None:
        now, window = self._clock.monotonic(), self.rules.window.total_seconds()
        delay = find_delay(self._accounts.count(login.account, now, window), self.rules)
        if delay:
            over: Deferred[None] = Deferred()
            self._clock.call_later(delay.total_seconds(), lambda: over.callback(None))
            await over

    # After a wrong one

    def _count(self, login: _Login, secret: str | None) -> None:
        rules = self.rules
        now, window = self._clock.monotonic(), max(rules.window, MINUTE).total_seconds()
        guess = next(self._serial) if secret is None else self._digest(login.account, secret)
        most = max(rules.failed_logins_per_address, MOST_GUESSES_A_MINUTE)
        self._accounts.add(login.account, login.client, now, window, MOST_ADDRESSES_COUNTED)
        self._addresses.add(login.client, guess, now, window, most)
        if self._pairs.add(login.pair, guess, now, window, max(rules.failed_logins, 1)):
            for limit, mode in find_full_limits(self._facts(login), rules):
                self._trip(login, limit, mode)

    def _digest(self, account: str, secret: str) -> bytes:
        text = f"{account}\0{secret}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).digest()[:_DIGEST_OCTETS]

    def _trip(self, login: _Login, limit: Limit, mode: Mode) -> None:
        account = login.account if limit is Limit.FAILED_LOGINS else ""
        if mode is Mode.OBSERVE:
            self._log.login_limit_observed(login.client, account, limit.value)
            return
        why = f"too many wrong passwords ({limit.value})"
        length = self.rules.block
        self._log.logins_blocked(login.client, account, length.total_seconds() / 60, why)
        self._blocks.block(login.client, BlockKind.LOGIN, length, why, account)
        self.on_tripped(limit, login.client)

    def sweep(self) -> None:
        """Forget what does not count any more."""
        now, window = self._clock.monotonic(), max(self.rules.window, MINUTE).total_seconds()
        for tally in (self._pairs, self._addresses, self._accounts):
            tally.sweep(now, window)


def _ignore(*_: Any) -> None:
    """Nobody is told."""
