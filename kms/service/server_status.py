"""How the server is, as `kmsctl status` and the API tell it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from kms.domain.account import Alias
from kms.store import queue_view

if TYPE_CHECKING:
    from kms.service.control import Server


async def describe_status(server: Server, started_at: datetime) -> dict[str, Any]:
    """How the server is: version, name, process, times, and how much there is of everything."""
    count = await server.database.read(queue_view.count)
    now = server.clock.now()
    directory = server.directory.current
    return {
        "version": _version(),
        "hostname": server.hostname,
        "pid": os.getpid(),
        "started_at": started_at.isoformat(timespec="seconds"),
        "uptime_seconds": int((now - started_at).total_seconds()),
        "relay_mode": server.settings.relay.mode.value,
        "local_domains": list(directory.local_domains),
        "users": len(directory.accounts),
        "aliases": _count_aliases(directory.aliases) + len(directory.file_aliases),
        "relay_windows": len(server.windows.list()),
        "queue": {
            "messages": count.messages,
            "recipients": count.recipients,
            "octets": count.octets,
            "set_aside": count.set_aside,
        },
    }


def _version() -> str:
    """The installed version; a bare checkout has none."""
    try:
        return metadata.version("kms")
    except metadata.PackageNotFoundError:
        return "checkout"


def _count_aliases(aliases: Mapping[str, Sequence[Alias]]) -> int:
    return sum(map(len, aliases.values()))
