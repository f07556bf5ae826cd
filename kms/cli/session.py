"""What all commands of one call of kmsctl share: the configuration, the way to print, and whom to ask.

Flow: main.py makes a `Session`; commands take it by `@pass_session`, ask `session.administration()` (the
running server, or where none runs the store itself) and print with `session.emit`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import click

from kms.cli import failure
from kms.cli.connection import is_running
from kms.cli.failure import CommandFailed
from kms.cli.offline import OfflineStore
from kms.cli.online import OnlineServer
from kms.config.loader import load_settings
from kms.config.problems import ConfigError
from kms.config.settings import Settings


class QueueAdministration(Protocol):
    """What can be asked about the queue; values are those of the JSON API."""

    def list(self, query: str, after: str, limit: int, is_trash: bool) -> list[dict[str, Any]]:
        """A page of the queue, or of the trash."""
        ...

    def show(self, queue_id: str) -> dict[str, Any]:
        """One entry."""
        ...

    def count(self) -> dict[str, Any]:
        """How much there is."""
        ...

    def forecast(self, query: str, hours: int) -> dict[str, Any]:
        """What is to come."""
        ...

    def change(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """Carry out an order, or withhold something; `what` as the commands are called."""
        ...


class Administration(Protocol):
    """What can be asked of a running server and of the store alike; values are those of the JSON API."""

    def list_users(self) -> list[dict[str, Any]]:
        """All accounts."""
        ...

    def add_user(self, login: str, password: str) -> dict[str, Any]:
        """Make an account."""
        ...

    def set_password(self, login: str, password: str) -> dict[str, Any]:
        """Give an account another password; its relay windows end."""
        ...

    def change_user(self, login: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change an account."""
        ...

    def remove_user(self, login: str) -> dict[str, Any]:
        """Remove an account; its mailbox stays."""
        ...

    def list_aliases(self) -> list[dict[str, Any]]:
        """All aliases."""
        ...

    def add_alias(self, address: str, targets: Sequence[str]) -> dict[str, Any]:
        """Make an alias."""
        ...

    def remove_alias(self, address: str) -> dict[str, Any]:
        """Remove an alias."""
        ...

    def resolve_alias(self, address: str) -> dict[str, Any]:
        """Find who gets the mail of an address."""
        ...

    def list_windows(self) -> list[dict[str, Any]]:
        """All open relay windows."""
        ...

    def revoke_windows(self, address: str, user: str | None) -> dict[str, Any]:
        """End the windows of an address, or of one user there."""
        ...

    def check_queue(self) -> dict[str, Any]:
        """Look whether the store is whole; see `store.fsck`."""
        ...

    @property
    def queue(self) -> QueueAdministration:
        """The queue."""
        ...

    def tell_why(self, identifier: str) -> dict[str, Any]:
        """Tell of a decision or a message."""
        ...

    def list_blocks(self) -> list[dict[str, Any]]:
        """All blocks that last."""
        ...

    def lift_blocks(self, address: str) -> dict[str, Any]:
        """End the blocks of a client."""
        ...

    def show_limits(self, address: str) -> dict[str, Any]:
        """What is counted of a client, and its blocks."""
        ...


class Session:
    """One call of kmsctl.

    Attributes:
        config: path of the configuration.
        is_json: print JSON, not text.
    """

    def __init__(self, config: Path, is_json: bool) -> None:
        self.config = config
        self.is_json = is_json

    @cached_property
    def settings(self) -> Settings:
        """The configuration without the aliases file, whose faults hinder nobody; raises CommandFailed."""
        return self.load_settings(with_aliases=False)

    def load_settings(self, *, with_aliases: bool = True) -> Settings:
        """Read the configuration; raises CommandFailed with every fault of it."""
        try:
            return load_settings(self.config, with_aliases=with_aliases)
        except ConfigError as error:
            lines = map(str, error.problems)
            raise CommandFailed(failure.BAD_CONFIGURATION, *lines) from None

    @contextmanager
    def administration(self) -> Iterator[Administration]:
        """Give the running server, or where none runs the store, locked so that none can start meanwhile."""
        settings = self.settings
        if is_running(settings.control_socket):
            yield OnlineServer(settings.control_socket)
        else:
            with OfflineStore(self.load_settings()) as store:
                yield store

    def server(self) -> OnlineServer:
        """Give the running server; raises CommandFailed where none runs."""
        path = self.settings.control_socket
        if not is_running(path):
            raise CommandFailed(failure.UNAVAILABLE, f"no server is running (nothing answers at {path})")
        return OnlineServer(path)

    def emit(self, value: Any, text: str) -> None:
        """Print `value` as JSON, or else `text`."""
        if self.is_json:
            click.echo(json.dumps(value, ensure_ascii=False, indent=2))
        elif text:
            click.echo(text)


def pass_session(command: Callable[..., None]) -> Callable[..., None]:
    """Give the session to a command, and the option `--json` to its user."""

    def note_json(context: click.Context, _: click.Parameter, value: bool) -> None:
        context.find_object(Session).is_json |= value  # type: ignore[union-attr]

    option = click.option(
        "--json", is_flag=True, expose_value=False, callback=note_json, help="Print JSON for programs."
    )
    return option(click.pass_obj(command))


def make_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Set out rows below their heads, in columns; no rows give no text."""
    if not rows:
        return ""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
