"""What an operator may ask of the running server. Page, API and `kmsctl` all go through here.

Promises: a change is committed when its answer comes, and acts at once: the directory is read anew, and the
windows of a user who was disabled, removed or given another password are closed, before it is answered.
Passwords are hashed in the hashing threads, never on the reactor.
Flow: api.py calls these; the rules of each operation are in store/administration.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import attrs
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from kms.config.aliases_file import describe_troubles, load_aliases_file
from kms.config.problems import ConfigError
from kms.config.settings import Settings
from kms.domain.account import Directory
from kms.domain.address_group import parse_client_address
from kms.service.clock import Clock
from kms.service.control_parts import (
    KeepsLedger,
    KeepsWindows,
    KnowsDirectory,
    RunsOperations,
    TakesSubmissions,
)
from kms.service.explanation import Explainer
from kms.service.inquiry import describe_step, read_inquiry
from kms.service.queue_control import QueueControl
from kms.service.server_status import describe_status
from kms.service.submissions import Refused
from kms.store import administration, fsck
from kms.store.accounts import AccountError
from kms.store.administration import Facts, describe_block, describe_window, read_client
from kms.store.credentials import Verifiers, make_verifiers
from kms.store.history import tell_why


class ReloadRefused(Exception):
    """The configuration has faults, so nothing was changed.

    Attributes:
        problems: one line each; never empty.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Server(Protocol):
    """The part of `App` that is needed."""

    settings: Settings
    hostname: str
    clock: Clock
    reactor: Any
    hashing: ThreadPool
    queue_control: QueueControl

    @property
    def explainer(self) -> Explainer:
        """Says what would happen."""
        ...

    @property
    def database(self) -> RunsOperations:
        """The store."""
        ...

    @property
    def directory(self) -> KnowsDirectory:
        """Who exists."""
        ...

    @property
    def submissions(self) -> TakesSubmissions:
        """Takes what programs of this machine hand in."""
        ...

    @property
    def windows(self) -> KeepsWindows:
        """Who may relay for a while."""
        ...

    @property
    def ledger(self) -> KeepsLedger:
        """What clients did lately."""
        ...


class Control:
    """The operator's requests; values are those of the JSON API.

    Args:
        server: what is controlled.
        reload: reads the configuration anew; gives its faults, none when it is in force.
    """

    def __init__(self, server: Server, reload: Callable[[], Sequence[str]]) -> None:
        self._server = server
        self._reload = reload
        self._started_at: datetime = server.clock.now()
        self._log = Logger(namespace="kms.control")

    @property
    def queue(self) -> QueueControl:
        """The operator's requests about the queue."""
        return self._server.queue_control

    # Users

    async def list_users(self) -> list[Facts]:
        """All accounts, in the order of their making."""
        return await self._server.database.read(administration.list_users)

    async def add_user(self, login: str, password: str) -> Facts:
        """Make an account; raises AccountError or PasswordError."""
        verifiers = await self._hash(password)
        return await self._change(
            lambda store: administration.add_user(store, self._domains, login, verifiers), "user added"
        )

    async def set_password(self, login: str, password: str) -> Facts:
        """Give an account another password; raises AccountError or PasswordError."""
        verifiers = await self._hash(password)
        facts = await self._change(
            lambda store: administration.set_password(store, self._domains, login, verifiers),
            "password set",
        )
        await self._server.windows.revoke_user(facts["login"])
        return facts

    async def change_user(self, login: str, changes: Mapping[str, Any]) -> Facts:
        """Change an account, or enable or disable it; raises AccountError."""
        facts = await self._change(
            lambda store: administration.change_user(store, self._domains, login, changes),
            f"user changed ({', '.join(changes)})",
        )
        if not facts["is_enabled"]:
            await self._server.windows.revoke_user(facts["login"])
        return facts

    async def remove_user(self, login: str) -> Facts:
        """Remove an account; its mailbox stays. Raises AccountError."""
        facts = await self._change(
            lambda store: administration.remove_user(store, self._domains, login), "user removed"
        )
        await self._server.windows.revoke_user(facts["login"])
        return facts

    # Aliases

    async def list_aliases(self) -> list[Facts]:
        """All aliases, in the order of their making."""
        return await self._server.database.read(administration.list_aliases)

    async def add_alias(self, address: str, targets: Sequence[str]) -> Facts:
        """Make an alias; raises AccountError."""
        return await self._change(
            lambda store: administration.add_alias(store, self._domains, address, targets),
            "alias added",
        )

    async def remove_alias(self, address: str) -> Facts:
        """Remove an alias; raises AccountError."""
        return await self._change(
            lambda store: administration.remove_alias(store, self._domains, address),
            "alias removed",
        )

    async def resolve_alias(self, address: str) -> Facts:
        """Find who gets the mail of an address; raises AccountError."""
        return await self._server.database.read(
            lambda store: administration.resolve(store, self._domains, address)
        )

    async def verify_address(self, address: str) -> Facts:
        """Say what would become of a message that a program of this machine sends there; none is sent.

        Returns:
            `address`, `targets` (who would get it), `status` (of sysexits.h: 0 goes there, 65 is no address, 67
            nobody, 75 not now), `problem` ("" where there is none).
        """
        submissions = self._server.submissions
        try:
            address = str(submissions.read_address(address))
            targets = [str(target) for target in submissions.verify(address)]
        except Refused as refusal:
            problem = str(refusal)
            if refusal.status != os.EX_DATAERR:
                problem = (await self.resolve_alias(address))["problem"] or problem
            return {"address": address, "targets": [], "status": refusal.status, "problem": problem}
        return {"address": address, "targets": targets, "status": os.EX_OK, "problem": ""}

    async def load_aliases_file(self) -> Facts:
        """Read `[domains] aliases_file` anew; one with faults changes nothing. Raises AccountError.

        Returns:
            `path`, `aliases` (how many it has), `warnings` (those that cannot be used).
        """
        server = self._server
        domains = server.settings.domains
        if domains.aliases_file is None:
            raise AccountError("the running server's configuration has no [domains] aliases_file; reload it")
        try:
            aliases = load_aliases_file(domains.aliases_file, domains.local)
        except ConfigError as error:
            raise AccountError("; ".join(map(str, error.problems))) from None
        server.settings = attrs.evolve(server.settings, file_aliases=aliases)
        server.directory.take_file(aliases)
        self._log.info("{count} aliases read from {path}", count=len(aliases), path=domains.aliases_file)
        warnings = [*describe_troubles(aliases)]
        for warning in warnings:
            self._log.warn("{warning}", warning=warning)
        return {"path": str(domains.aliases_file), "aliases": len(aliases), "warnings": warnings}

    # Windows

    async def list_windows(self) -> list[Facts]:
        """The open relay windows, by address and user."""
        return [describe_window(window) for window in self._server.windows.list()]

    async def revoke_windows(self, address: str, user: str | None) -> Facts:
        """End the windows of an address, or those of one user there; `revoked` says how many ended."""
        try:
            client = parse_client_address(address)
        except ValueError:
            raise AccountError(f"{address!r} is no IP address") from None
        count = await self._server.windows.revoke(client, user)
        self._log.info("relay windows of {client} revoked: {count}", client=client, count=count)
        return {"revoked": count}

    # The queue

    async def check_queue(self) -> Facts:
        """Look whether the store is whole, as far as that can be seen while mail comes and goes; see `store.fsck`.

        Only what was wrong twice counts: a message that was delivered meanwhile has no body file any more.
        """
        data_dir, now = self._server.settings.server.data_dir, self._server.clock.now()
        look = partial(fsck.find_faults, data_dir=data_dir, now=now, is_offline=False)
        first = await self._server.database.read(look)
        second = await self._server.database.read(look) if first else []
        return {"is_offline": False, "faults": [fault.describe() for fault in first if fault in second]}

    # Decisions

    async def tell_why(self, identifier: str) -> Facts:
        """Tell of a decision, or of a message's life; raises NotFound."""
        return await self._server.database.read(lambda store: tell_why(store, identifier))

    async def explain(self, asked: Mapping[str, Any]) -> list[Facts]:
        """Say what would happen to a made-up session.

        Args:
            asked: the options of `kmsctl explain` by name; `message` in base64, `candidate` a path.

        Raises:
            InquiryError: it makes no sense.
            ReloadRefused: the candidate has faults.
        """
        inquiry = read_inquiry(asked)
        candidate = asked.get("candidate")
        try:
            steps = await self._server.explainer.explain(inquiry, Path(candidate) if candidate else None)
        except ConfigError as error:
            raise ReloadRefused([str(problem) for problem in error.problems]) from None
        return [describe_step(step) for step in steps]

    # Limits and blocks

    async def list_blocks(self) -> list[Facts]:
        """The blocks that last, by client."""
        return list(map(describe_block, self._server.ledger.blocks()))

    async def lift_blocks(self, address: str) -> Facts:
        """Lift the blocks of a client; `lifted` says how many there were. Raises AccountError."""
        count = await self._server.ledger.lift(read_client(address))
        self._log.info("blocks of {client} lifted: {count}", client=address, count=count)
        return {"lifted": count}

    async def show_limits(self, address: str) -> Facts:
        """Give the counters and blocks of a client; raises AccountError."""
        client, ledger = read_client(address), self._server.ledger
        blocks = [describe_block(block) for block in ledger.blocks() if block.client == client]
        return {**attrs.asdict(ledger.counters_of(client)), "blocks": blocks}

    # The server

    async def status(self) -> Facts:
        """How the server is; see `describe_status`."""
        return await describe_status(self._server, self._started_at)

    async def reload(self) -> Facts:
        """Read the configuration anew; `warnings` names keys without effect, or not yet. Raises ReloadRefused."""
        problems = self._reload()
        if problems:
            raise ReloadRefused(problems)
        self._log.info("configuration reloaded")
        return {"warnings": list(self._server.settings.warnings)}

    # How

    @property
    def _domains(self) -> Directory:
        return self._server.settings.directory

    async def _hash(self, password: str) -> Verifiers:
        server = self._server
        reactor: IReactorFromThreads = server.reactor
        auth, pop3 = server.settings.auth, server.settings.pop3
        kinds = (auth.has_scram, auth.has_cram, pop3.apop)
        return await deferToThreadPool(reactor, server.hashing, make_verifiers, password, *kinds)

    async def _change(self, operation: Callable[[Any], Facts], done: str) -> Facts:
        facts = await self._server.database.run(operation)
        await self._server.directory.load()
        self._log.info("{done}: {name}", done=done, name=facts.get("login") or facts["address"])
        return facts
