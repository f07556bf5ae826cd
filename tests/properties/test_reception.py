"""Whatever a client says, in whatever order: no far recipient is taken that no condition allows."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kms.policy.relay import RelayRules
from tests.support.log_events import logged
from tests.support.results import result_of
from tests.support.smtp_rig import GROUP, MEMBER, STRANGER, SmtpRig

GOOD = "AUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAc2VjcmV0"
BAD = "AUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAd3Jvbmc="
FAR = "far@elsewhere.example"
LINES = st.sampled_from(
    [
        "EHLO client.example",
        "HELO client.example",
        "MAIL FROM:<>",
        "MAIL FROM:<anna@example.org>",
        "MAIL FROM:<max@stranger.example>",
        f"RCPT TO:<{FAR}>",
        "RCPT TO:<anna@example.org>",
        "RCPT TO:<nobody@example.org>",
        "RCPT TO:<x@relay.example>",
        "DATA",
        "Subject: hello",
        ".",
        "RSET",
        "NOOP",
        GOOD,
        BAD,
        "AUTH PLAIN",
        "*",
        "STARTTLS",
    ]
)
STEPS = st.one_of(
    LINES.map(lambda line: (line,)),
    st.sampled_from(
        [
            (".", "RSET", "MAIL FROM:<>", f"RCPT TO:<{FAR}>"),
            (".", "RSET", "MAIL FROM:<anna@example.org>", f"RCPT TO:<{FAR}>", "DATA", "."),
            (".", "RSET", BAD),
            (".", "RSET", "AUTH PLAIN", "*"),
            (".", "RSET", "STARTTLS", "EHLO client.example"),
        ]
    ),
)


class Model:
    """What AUTH has shown, as seen from outside: by the server's own answers."""

    def __init__(self, client: str, has_window: bool) -> None:
        self.is_member = client == MEMBER
        self.has_window = has_window
        self.has_failed = self.has_succeeded = False

    def hear(self, said: list[str]) -> None:
        for line in said:
            if line.startswith("235 "):
                self.has_failed, self.has_succeeded = False, True
            elif line.startswith("535 "):
                self.has_failed, self.has_succeeded = True, False
            elif line == "220 2.0.0 Ready to start TLS":
                self.has_failed = self.has_succeeded = False

    @property
    def may_relay(self) -> bool:
        return self.has_succeeded or self.has_window or (self.is_member and not self.has_failed)


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(STEPS, min_size=8, max_size=25),
    client=st.sampled_from([MEMBER, MEMBER, STRANGER]),
    has_window=st.sampled_from([False, False, False, True]),
)
def test_a_far_recipient_is_taken_exactly_where_a_condition_holds(
    steps: list[tuple[str, ...]], client: str, has_window: bool
) -> None:
    session = {"max_failed_commands": 0, "offers_starttls": True}
    with tempfile.TemporaryDirectory() as folder, logged("kms.reception") as told:
        rig = SmtpRig(Path(folder), RelayRules(address_group=GROUP), session=session)
        connected = rig.greeted(client)
        if has_window:
            result_of(rig.windows.open(connected.connection.visit.client, "anna@example.org"))
        model = Model(client, has_window)
        stored = 0
        for line in itertools.chain.from_iterable(steps):
            said = connected.say(line)
            model.hear(said)
            if line == f"RCPT TO:<{FAR}>" and said and said[0][:5] in ("250 2", "550 5"):
                assert said[0].startswith("250 2.1.5" if model.may_relay else "550 5.7.1")
            stored += sum("queued as" in answer for answer in said)
        connected.lose()
        assert told == []
        assert len(rig.stored) == rig.rows() == stored
        assert rig.body_files() == []
