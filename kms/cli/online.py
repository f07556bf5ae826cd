"""The running server, asked over its control socket. Every change acts at once.

Flow: `Session.administration` gives one where a server answers; it is the other half of offline.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from kms.cli.connection import call
from kms.cli.queue_online import OnlineQueue

_Facts = dict[str, Any]


class OnlineServer:
    """The server at one control socket; methods as in `session.Administration`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _call(self, method: str, target: str, body: _Facts | None = None) -> Any:
        return call(self._path, method, f"/api/v1/{target}", body)

    def list_users(self) -> list[_Facts]:
        """See `Administration`."""
        return cast(list[_Facts], self._call("GET", "users"))

    def add_user(self, login: str, password: str) -> _Facts:
        """See `Administration`."""
        return cast(_Facts, self._call("POST", "users", {"login": login, "password": password}))

    def set_password(self, login: str, password: str) -> _Facts:
        """See `Administration`."""
        return cast(_Facts, self._call("PUT", f"users/{_part(login)}/password", {"password": password}))

    def change_user(self, login: str, changes: Mapping[str, Any]) -> _Facts:
        """See `Administration`."""
        return cast(_Facts, self._call("PATCH", f"users/{_part(login)}", dict(changes)))

    def remove_user(self, login: str) -> _Facts:
        """See `Administration`."""
        return cast(_Facts, self._call("DELETE", f"users/{_part(login)}"))

    def list_aliases(self) -> list[_Facts]:
        """See `Administration`."""
        return cast(list[_Facts], self._call("GET", "aliases"))

    def add_alias(self, address: str, targets: Sequence[str]) -> _Facts:
        """See `Administration`."""
        return cast(_Facts, self._call("POST", "aliases", {"address": address, "targets": list(targets)}))

    def remove_alias(self, address: str) -> _Facts:
        """See `Administration`."""
        return cast(_Facts, self._call("DELETE", f"aliases/{_part(address)}"))

    def resolve_alias(self, address: str) -> _Facts:
        """See `Administration`."""
        return cast(_Facts, self._call("GET", f"aliases/{_part(address)}/targets"))

    def load_aliases_file(self) -> _Facts:
        """Let it read the aliases file anew; raises CommandFailed where that has faults."""
        return cast(_Facts, self._call("POST", "aliases-file/load"))

    def verify_address(self, address: str) -> _Facts:
        """Ask what would become of a message to an address; see `Control.verify_address`."""
        return cast(_Facts, self._call("POST", "verify", {"address": address}))

    def list_windows(self) -> list[_Facts]:
        """See `Administration`."""
        return cast(list[_Facts], self._call("GET", "windows"))

    def revoke_windows(self, address: str, user: str | None) -> _Facts:
        """See `Administration`."""
        query = "" if user is None else f"?user={_part(user)}"
        return cast(_Facts, self._call("DELETE", f"windows/{_part(address)}{query}"))

    def check_queue(self) -> _Facts:
        """See `Administration`."""
        return cast(_Facts, self._call("GET", "queue/fsck"))

    @property
    def queue(self) -> OnlineQueue:
        """See `Administration`."""
        return OnlineQueue(self._call)

    def tell_why(self, identifier: str) -> _Facts:
        """See `Administration`."""
        return cast(_Facts, self._call("GET", f"why/{_part(identifier)}"))

    def explain(self, inquiry: _Facts) -> list[_Facts]:
        """Ask what would happen to a made-up session; see `Control.explain`."""
        return cast(list[_Facts], self._call("POST", "explain", inquiry))

    def list_blocks(self) -> list[_Facts]:
        """See `Administration`."""
        return cast(list[_Facts], self._call("GET", "blocks"))

    def lift_blocks(self, address: str) -> _Facts:
        """See `Administration`."""
        return cast(_Facts, self._call("DELETE", f"blocks/{_part(address)}"))

    def show_limits(self, address: str) -> _Facts:
        """See `Administration`."""
        return cast(_Facts, self._call("GET", f"limits/{_part(address)}"))

    def status(self) -> _Facts:
        """Ask how it is."""
        return cast(_Facts, self._call("GET", "status"))

    def reload(self) -> _Facts:
        """Make it read its configuration again; raises CommandFailed where that has faults."""
        return cast(_Facts, self._call("POST", "reload"))


def _part(text: str) -> str:
    return quote(text, safe="")
