"""The sliding window against an exact log: whatever is sent when, no 60 minutes hold more than N messages."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kms.policy.client_memory import HOUR_SECONDS, SlidingTally
from kms.policy.limits import is_reached

CLIENTS = ("192.0.2.1", "2001:db8::/64")


class ClientsThatSend(RuleBasedStateMachine):
    """`log` has every accepted message; time is monotonic, in eighths of a second, so that sums are exact."""

    @initialize(limit=st.integers(1, 6))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.tally = SlidingTally()
        self.log: dict[str, list[float]] = {client: [] for client in CLIENTS}
        self.now = -5000.0

    def within_the_hour(self, client: str) -> list[float]:
        return [at for at in self.log[client] if self.now - at < HOUR_SECONDS]

    @rule(eighths=st.one_of(st.integers(0, 8 * 4000), st.just(8 * 3600), st.just(8 * 1200)))
    def wait(self, eighths: int) -> None:
        self.now += eighths / 8

    @rule(client=st.sampled_from(CLIENTS))
    def send(self, client: str) -> None:
        may_send = not is_reached(self.tally.count(client, self.now), self.limit)
        assert may_send == (len(self.within_the_hour(client)) < self.limit)
        if may_send:
            self.tally.add(client, self.now)
            self.log[client].append(self.now)
        else:
            room_at = self.tally.room_at(client, self.limit, self.now)
            assert room_at == self.log[client][-self.limit] + HOUR_SECONDS

    @rule()
    def sweep(self) -> None:
        self.tally.forget_ended(self.now)

    @invariant()
    def counts_are_those_of_the_log(self) -> None:
        for client in CLIENTS:
            assert self.tally.count(client, self.now) == len(self.within_the_hour(client))

    @invariant()
    def no_hour_holds_more_than_the_limit(self) -> None:
        for log in self.log.values():
            for first, last in zip(log, log[self.limit :], strict=False):
                assert last - first >= HOUR_SECONDS


TestClientsThatSend = ClientsThatSend.TestCase
