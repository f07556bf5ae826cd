"""The store itself, where no server runs: locked, so that none can start meanwhile.

Promises: one command is one transaction. Run by root, it works as the owner of the data folder, so that no
file is left behind that the server could not write.
Flow: `Session.administration` gives one where no server answers; it is the other half of online.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import Any, TypeVar

from kms.cli import failure
from kms.cli.failure import CommandFailed
from kms.cli.queue_offline import OfflineQueue
from kms.config.settings import Settings
from kms.domain.address_group import parse_client_address
from kms.store import administration, fsck, relay_windows
from kms.store.accounts import AccountError
from kms.store.bodies import require_database
from kms.store.credentials import PasswordError, Verifiers, make_verifiers
from kms.store.data_folder import DataFolder
from kms.store.history import tell_why
from kms.store.schema import StoreError, open_database

R = TypeVar("R")
_Facts = dict[str, Any]


class OfflineStore:
    """The store of one configuration, for a `with` statement; methods as in `session.Administration`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._domains = settings.directory
        self._folder = DataFolder(settings.server.data_dir)

    def __enter__(self) -> OfflineStore:
        become_owner(self._settings.server.data_dir)
        try:
            self._folder.open()
        except StoreError as error:
            raise CommandFailed(failure.TRY_AGAIN, str(error)) from None
        try:
            require_database(self._settings.database_path, self._settings.spool_dir)
            self._connection = open_database(self._settings.database_path)
        except StoreError as error:
            self._folder.close()
            raise CommandFailed(failure.UNAVAILABLE, str(error)) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._folder.close()

    def _run(self, operation: Callable[[Connection], R]) -> R:
        """Run an operation in a transaction of its own; what it refuses becomes `CommandFailed`."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = operation(self._connection)
            self._connection.execute("COMMIT")
        except administration.NotFound as error:
            raise CommandFailed(failure.NO_SUCH_USER, str(error)) from None
        except AccountError as error:
            raise CommandFailed(failure.BAD_DATA, str(error)) from None
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()
        return result

    def _make_verifiers(self, password: str) -> Verifiers:
        try:
            auth, pop3 = self._settings.auth, self._settings.pop3
            return make_verifiers(password, auth.has_scram, auth.has_cram, pop3.apop)
        except PasswordError as error:
            raise CommandFailed(failure.BAD_DATA, str(error)) from None

    def list_users(self) -> list[_Facts]:
        """See `Administration`."""
        return self._run(administration.list_users)

    def add_user(self, login: str, password: str) -> _Facts:
        """See `Administration`."""
        verifiers = self._make_verifiers(password)
        return self._run(lambda store: administration.add_user(store, self._domains, login, verifiers))

    def set_password(self, login: str, password: str) -> _Facts:
        """See `Administration`."""
        verifiers = self._make_verifiers(password)
        return self._run(lambda store: administration.set_password(store, self._domains, login, verifiers))

    def change_user(self, login: str, changes: Mapping[str, Any]) -> _Facts:
        """See `Administration`."""
        return self._run(lambda store: administration.change_user(store, self._domains, login, changes))

    def remove_user(self, login: str) -> _Facts:
        """See `Administration`."""
        return self._run(lambda store: administration.remove_user(store, self._domains, login))

    def list_aliases(self) -> list[_Facts]:
        """See `Administration`."""
        return self._run(administration.list_aliases)

    def add_alias(self, address: str, targets: Sequence[str]) -> _Facts:
        """See `Administration`."""
        return self._run(lambda store: administration.add_alias(store, self._domains, address, targets))

    def remove_alias(self, address: str) -> _Facts:
        """See `Administration`."""
        return self._run(lambda store: administration.remove_alias(store, self._domains, address))

    def resolve_alias(self, address: str) -> _Facts:
        """See `Administration`."""
        return self._run(lambda store: administration.resolve(store, self._domains, address))

    def list_windows(self) -> list[_Facts]:
        """See `Administration`."""
        now = datetime.now(UTC)
        return self._run(lambda store: administration.list_windows(store, now))

    def revoke_windows(self, address: str, user: str | None) -> _Facts:
        """See `Administration`."""
        try:
            client = str(parse_client_address(address))
        except ValueError:
            raise CommandFailed(failure.BAD_DATA, f"{address!r} is no IP address") from None
        count = self._run(lambda store: relay_windows.revoke(store, client, user))
        return {"revoked": count}

    def check_queue(self) -> _Facts:
        """See `Administration`."""
        return {"is_offline": True, "faults": [fault.describe() for fault in self._run(self._find_faults)]}

    def repair_queue(self) -> _Facts:
        """Look, take out of the way what can be, deleting nothing, and look again."""
        found = self._run(self._find_faults)
        done = self._run(lambda store: fsck.repair(store, self._settings.server.data_dir, found))
        return {**self.check_queue(), "found": [fault.describe() for fault in found], "done": done}

    def _find_faults(self, store: Connection) -> list[fsck.Fault]:
        return fsck.find_faults(store, self._settings.server.data_dir, datetime.now(UTC), is_offline=True)

    @property
    def queue(self) -> OfflineQueue:
        """See `Administration`."""
        return OfflineQueue(self._run, self._settings)

    def tell_why(self, identifier: str) -> _Facts:
        """See `Administration`."""
        return self._run(lambda store: tell_why(store, identifier))

    def list_blocks(self) -> list[_Facts]:
        """See `Administration`."""
        now = datetime.now(UTC)
        return self._run(lambda store: administration.list_blocks(store, now))

    def lift_blocks(self, address: str) -> _Facts:
        """See `Administration`."""
        now = datetime.now(UTC)
        return self._run(lambda store: administration.lift_blocks(store, address, now))

    def show_limits(self, address: str) -> _Facts:
        """See `Administration`."""
        now = datetime.now(UTC)
        return self._run(lambda store: administration.show_limits(store, address, now))


def become_owner(folder: Path) -> None:
    """Let root act as the owner of `folder` from now on; where it does not exist yet, nothing changes."""
    if os.geteuid() != 0 or not folder.exists():
        return
    owner = folder.stat()
    if owner.st_uid != 0:
        os.setgroups([])
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
