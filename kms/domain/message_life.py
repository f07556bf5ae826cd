"""What happened to one message, from its acceptance on: the answer to `kmsctl why QUEUE-ID`."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

import attrs


class LifeEvent(enum.Enum):
    """ACCEPTED: answered 250, or a report of ours. ATTEMPTED: an attempt is over. ORDERED: by an operator."""

    ACCEPTED = "accepted"
    ATTEMPTED = "attempted"
    ORDERED = "ordered"


@attrs.frozen
class LifeEntry:
    """One event of a message's life.

    Attributes:
        at: when.
        event: what.
        facts: a JSON object. ACCEPTED: `client`, `helo`, `login`, `protocol`, `decisions` (each with `stage`,
            `rule`, `reply`, `facts`), or `report_about`, a queue id. ATTEMPTED: `outcomes` (each with `to`,
            `status`, `where`, `reply`), `next_try` or none, `report`, a queue id, or none. ORDERED: `order`, `by`.
    """

    at: datetime
    event: LifeEvent
    facts: dict[str, Any]
