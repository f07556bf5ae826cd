"""One attempt at one entry of the queue: what has been tried, what came of it, and what is withheld.

Flow: the queue runner makes one for each entry that it begins, and forgets it when its outcome stands in the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import attrs

from kms.domain.address import Mailbox
from kms.domain.content import Content
from kms.domain.envelope import Recipient
from kms.domain.outcome import Deferred, Delivered, Outcome
from kms.domain.queue_entry import QueueEntry
from kms.policy.notification import may_ask_of_success
from kms.policy.settlement import TriedRecipient


@attrs.define
class Attempt:
    """One attempt at one entry.

    Attributes:
        groups_left: mailboxes and outgoing transactions that have not answered yet.
        outcomes: so far, by recipient id.
        through_smarthost: ids of the recipients whose way is a smarthost.
        withheld: why recipients are not tried, of those that are not, or until when; "" = taken back before
            their turn.
    """

    entry: QueueEntry
    content: Content
    groups_left: int = 0
    outcomes: dict[int, tuple[Recipient, Outcome]] = attrs.field(factory=dict)
    through_smarthost: set[int] = attrs.field(factory=set)
    destinations: list[str] = attrs.field(factory=list)
    withheld: list[str | datetime] = attrs.field(factory=list)

    @property
    def why_withheld(self) -> str:
        """The reason to park the entry; "" where some recipients wait for a time, or are to be judged anew."""
        reasons = [why if isinstance(why, str) else "" for why in self.withheld]
        return "" if "" in reasons else next(iter(reasons), "")

    @property
    def not_before(self) -> datetime | None:
        """When the first recipient that waits for a time may be tried; None where nobody does."""
        times = [why for why in self.withheld if isinstance(why, datetime)]
        return None if not times or "" in self.withheld else min(times)

    @property
    def expanded(self) -> dict[int, tuple[Mailbox, ...]]:
        """Who stands behind recipients that turned out to be aliases, by recipient id."""
        outcomes = self.outcomes.items()
        return {
            number: outcome.targets
            for number, (_, outcome) in outcomes
            if isinstance(outcome, Deferred) and outcome.targets
        }

    def tried(self) -> list[TriedRecipient]:
        """The recipients with what came of them, in the order of their ids."""
        return [
            TriedRecipient(recipient, outcome, number in self.through_smarthost)
            for number, (recipient, outcome) in sorted(self.outcomes.items())
        ]

    def finished_among(self, ids: Iterable[int]) -> tuple[int, ...]:
        """Those of the recipients that have the message and nothing more is due: no report can be about them."""
        outcomes = self.outcomes
        return tuple(
            number
            for number in ids
            if isinstance(outcomes[number][1], Delivered) and not may_ask_of_success(outcomes[number][0])
        )
