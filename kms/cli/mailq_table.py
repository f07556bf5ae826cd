"""The queue as mailq(1) prints it, in Postfix's table, which scripts read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

_HEAD = "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n"
_SIGNS = {"active": "*", "held": "!"}


def print_mailq(rows: Iterable[dict[str, Any]]) -> str:
    """Print rows of `kmsctl queue list --json`; times are local."""
    octets = count = 0
    parts = []
    for facts in rows:
        count += 1
        octets += facts["message_size"]
        parts.append("\n".join(_print_entry(facts)) + "\n\n")
    if not count:
        return "Mail queue is empty\n"
    requests = "1 Request" if count == 1 else f"{count} Requests"
    return f"{_HEAD}{''.join(parts)}-- {(octets + 1023) // 1024} Kbytes in {requests}.\n"


def _print_entry(facts: dict[str, Any]) -> Iterator[str]:
    name = facts["queue_id"] + _SIGNS.get(facts["state"], " ")
    at = datetime.fromtimestamp(facts["arrival_time"]).strftime("%a %b %e %H:%M:%S")
    yield f"{name:<16} {facts['message_size']:>8} {at}  {facts['sender'] or 'MAILER-DAEMON'}"
    for one in facts["recipients"]:
        if one["delay_reason"]:
            yield f"{'(' + one['delay_reason'] + ')':>78}"
        yield f"{'':41}{one['address']}"
