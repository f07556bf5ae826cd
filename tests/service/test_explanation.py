"""`explain` against the real thing: the same made-up clients, asked about and then let in."""

from __future__ import annotations

import random
import re
from base64 import b64encode
from collections import Counter
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from kms.domain.account import Alias
from kms.domain.decision import Decision, Rule
from kms.policy.account_limit import AccountRules
from kms.policy.gateway import GatewayRules
from kms.policy.limits import ClientLimits, Limit
from kms.policy.login_guard import LoginRules
from kms.policy.relay import Authentication, RelayMode, RelayRules
from kms.policy.transaction import TransactionRules
from kms.service.explanation import Explainer
from kms.service.inquiry import Inquiry, InquiryError, Step
from kms.service.mailboxes import MailboxUsage
from kms.store import credentials, decisions
from tests.support.results import result_of, without_ids
from tests.support.smtp_parts import SlowResolver
from tests.support.smtp_rig import GROUP, MEMBER, SETTINGS, STRANGER, SmtpRig, routes_giving_back

SESSIONS = 20_000
AT_LEAST = 100
WINDOW_HOLDERS = ("203.0.113.10", "203.0.113.11")
CLIENTS = (STRANGER, MEMBER, MEMBER, "192.0.2.99", "2001:db8::7", *WINDOW_HOLDERS, *WINDOW_HOLDERS)
LOGINS = ("anna@example.org", "bert", "otto@example.org")
SENDERS = (
    "", "anna@example.org", "bert@example.org", "anna+tag@example.net", "nobody@second.example",
    "x@with.example", "x@missing.example", "x@null.example", "x@dark.example", "a b@c", "x@[192.0.2.1]",
)  # fmt: skip
RECIPIENTS = (
    "anna@example.org", "ANNA@EXAMPLE.net", "team@example.org", "away@example.org", "round@example.org",
    "dora@example.org", "fritz@example.org", "nobody@example.org", "nobody@second.example", "postmaster",
    "x@relay.example", "x%far.example@relay.example", "x@far.example", "y@far.example", "z@far.example",
    "x@[192.0.2.5]", "bad@@address", "far%far.example@example.org",
)  # fmt: skip
CONTENTS = (
    b"Subject: x\r\n\r\nHello\r\n", b"", b".\r\n..\r\n", b"Received: x\r\n" * 3 + b"\r\n", b"bare\nnewline\r\n",
    b"Delivered-To: anna@example.org\r\n\r\nx\r\n", b"x" * 3000 + b"\r\n",
)  # fmt: skip
STRICT = TransactionRules(max_recipients=3, max_message_octets=2000, max_received_hops=2)
GUARDED = attrs.evolve(STRICT, sender_must_match_login=True, local_sender_needs_auth=True)
MEMBERS = RelayRules(address_group=GROUP)
HARVESTED = ClientLimits(0, 0, 1, timedelta(minutes=15), exempt_group=GROUP)
NAMELESS = ClientLimits(0, 0, 0, client_must_have_ptr=True, exempt_group=GROUP)
WORLDS: dict[str, dict[str, Any]] = {
    "restricted": {"relay": MEMBERS, "rules": STRICT},
    "guarded": {"relay": MEMBERS, "rules": GUARDED},
    "open": {"relay": attrs.evolve(MEMBERS, mode=RelayMode.OPEN), "rules": GUARDED},
    "newborn": {"relay": MEMBERS, "rules": STRICT},
    "rates": {"relay": MEMBERS, "rules": STRICT},
    "brakes": {"relay": MEMBERS, "rules": STRICT},
    "submission": {
        "relay": MEMBERS,
        "rules": STRICT,
        "session": {"needs_authentication": True},
        "service": {"is_submission": True},
    },
    "harvested": {"relay": MEMBERS, "rules": STRICT, "limits": HARVESTED},
    "busy": {"relay": MEMBERS, "rules": STRICT, "limits": ClientLimits(1, 1, 0, exempt_group=GROUP)},
    "nameless": {"relay": MEMBERS, "rules": STRICT, "limits": NAMELESS},
    "observed": {
        "relay": MEMBERS,
        "rules": attrs.evolve(STRICT, observed=frozenset(Limit)),
        "limits": attrs.evolve(NAMELESS, observed=frozenset(Limit)),
        "session": {"max_message_octets": 0, "max_failed_commands": 1, "observes_failed_commands": True},
    },
}
RATES = AccountRules(messages_per_hour=1, messages_per_day=7)
BRAKES = AccountRules(max_message_octets=15, new_recipients_per_day=1)
GATEWAYS = GatewayRules(GROUP, alarm=1, suspends_trust=True)
NEVER_EXPLAINED = {
    Rule.ACCOUNT_DISABLED,
    Rule.FAILED_COMMANDS,
    Rule.FAILED_LOGINS_OF_SESSION,
    Rule.DATA_RATE,
}
"""A made-up client logs in now, which whose account is disabled cannot; and it does not go on for so long."""


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "verify_password", lambda password, verifier: password == "secret")


def make_world(folder: Path, name: str) -> SmtpRig:
    """A server with everything that a rule can be about."""
    resolver = SlowResolver(mx={"with.example": [(10, "mx")], "null.example": [(0, "")]})
    resolver.failing |= {"dark.example", "2001:db8::7"}
    resolver.names |= {STRANGER: ["stranger.example"], MEMBER: ["member.example"]}
    world = dict(WORLDS[name])
    session = {"max_message_octets": STRICT.max_message_octets, **world.pop("session", {})}
    rig = SmtpRig(folder, resolver=resolver, session=session, **world)
    rig.mailboxes.usages["fritz@example.org"] = MailboxUsage(1000, 1)
    rig.guard.rules = LoginRules(failed_logins=0, failed_logins_per_address=0)  # whoever logs in is asked for
    if name == "rates":
        rig.accounts.rules = RATES
    if name in ("brakes", "submission"):
        rig.accounts.rules = BRAKES
        rig.gateways.rules = rig.relay.gateway_rules = GATEWAYS
    if name in ("restricted", "guarded", "open"):
        rig.recipients.error_routes = routes_giving_back("second.example")
    if name == "restricted":
        rig.directory.take_file((Alias("nobody", "", (), "its list cannot be read"),))
    if name == "newborn":
        rig.directory.take({}, {})
    return rig


def make_explainer(rig: SmtpRig) -> Explainer:
    state: Any = None
    return Explainer(
        cast(Any, rig.database),
        state,
        lambda: (rig.checks, rig.directory),
        lambda settings, name: rig.factory.rules,
        lambda: SETTINGS,
    )


def make_up(chance: random.Random, has_accounts: bool) -> Inquiry:
    authentication = chance.choice(list(Authentication)[: 3 if has_accounts else 2])
    return Inquiry(
        client=ip_address(chance.choice(CLIENTS)),
        authentication=authentication,
        login=chance.choice(LOGINS) if authentication is Authentication.SUCCEEDED else "",
        sender=chance.choice(SENDERS),
        recipients=tuple(chance.choices(RECIPIENTS, k=chance.choice((1, 1, 2, 5)))),
        declared_octets=chance.choice((None, None, None, 100, 2001)),
        message=chance.choice((None, *CONTENTS)),
    )


def let_in(rig: SmtpRig, inquiry: Inquiry) -> list[list[str]]:
    """Be that client, and give what the server says to each command, without ids."""
    client = rig.connect(str(inquiry.client))
    heard = [client.hear()]
    is_welcome = heard[0][0].startswith("220 ")
    heard.append(client.say(f"EHLO {inquiry.helo}"))
    if is_welcome and inquiry.authentication is not Authentication.NONE:
        is_right = inquiry.authentication is Authentication.SUCCEEDED
        login, password = (inquiry.login, "secret") if is_right else ("anna@example.org", "wrong")
        answer = client.say("AUTH PLAIN " + b64encode(f"\0{login}\0{password}".encode()).decode())
        assert answer[0].startswith("235 " if is_right else "535 ")
    size = "" if inquiry.declared_octets is None else f" SIZE={inquiry.declared_octets}"
    heard.append(client.say(f"MAIL FROM:<{inquiry.sender}>{size}"))
    heard += [client.say(f"RCPT TO:<{recipient}>") for recipient in inquiry.recipients]
    if inquiry.message is not None:
        heard.append(client.say("DATA"))
        if heard[-1] and heard[-1][0].startswith("354 "):
            stuffed = re.sub(rb"(?m)^\.", b"..", inquiry.message)
            client.send(stuffed + b".\r\n")
            heard.append(client.hear())
    client.lose()
    return [_without_queue_id(without_ids(lines)) for lines in heard if lines]


def explained(steps: list[Step]) -> list[list[str]]:
    return [_without_queue_id(step.replies) for step in steps]


def _without_queue_id(lines: list[str]) -> list[str]:
    return [re.sub(r"queued as \w+$", "queued as X", line) for line in lines]


def count(chance: random.Random, rig: SmtpRig, sessions: int) -> Counter[Rule]:
    """Ask about so many sessions and let each in; count the rules that decided."""
    explainer = make_explainer(rig)
    seen: Counter[Rule] = Counter()
    for _ in range(sessions):
        rig.free_octets = chance.choice((1 << 40,) * 15 + (0,))
        if chance.random() < 0.1:
            result_of(rig.windows.open(ip_address(chance.choice(WINDOW_HOLDERS)), "anna@example.org"))
        rig.reactor.advance(chance.choice((0, 0, 0, 600)))
        inquiry = make_up(chance, bool(rig.directory.current.accounts))
        others = [rig.connect(str(inquiry.client)) for _ in range(chance.choice((0, 0, 0, 1)))]
        before = look_at(rig)
        steps = result_of(explainer.explain(inquiry))
        assert look_at(rig) == before
        last = decisions.greatest_number(rig.database.connection)
        assert explained(steps) == let_in(rig, inquiry), inquiry
        assert [one.rule.value for step in steps for one in observed_by(step)] == observed_since(rig, last)
        for other in others:
            other.lose()
        seen.update(step.decision.rule for step in steps if step.decision is not None)
    return seen


def observed_by(step: Step) -> tuple[Decision, ...]:
    return (*(step.decision.observed if step.decision else ()), *step.observed)


def observed_since(rig: SmtpRig, number: int) -> list[str]:
    """The records of limits that only observed."""
    rows = rig.database.connection.execute(
        "SELECT rule FROM decision WHERE is_observed AND number > ? ORDER BY number", (number,)
    )
    return [rule for (rule,) in rows]


def look_at(rig: SmtpRig) -> tuple[object, ...]:
    """Everything that a session could change."""
    rig.mail_log.lines.flush()
    rig.security_log.lines.flush()
    return (
        rig.database.connection.total_changes,
        [path.stat().st_size for path in rig.logs],
        rig.windows.list(),
        len(rig.stored),
        len(rig.notices),
        len(rig.alarms),
        [rig.account_counts.messages(login) for login in LOGINS],
        [rig.account_counts.contacts(login) for login in LOGINS],
        len(rig.factory.live),
        len(rig.ledger.memory),
        rig.ledger.blocks(),
        rig.ledger.counters_of(STRANGER),
    )


@pytest.mark.timeout(600)
def test_it_says_what_the_server_does_in_many_thousand_sessions(tmp_path: Path) -> None:
    chance = random.Random(20261124)
    seen: Counter[Rule] = Counter()
    for name in WORLDS:
        (tmp_path / name).mkdir()
        share = 3 if name in ("rates", "brakes", "harvested") else 1
        seen += count(chance, make_world(tmp_path / name, name), share * SESSIONS // len(WORLDS))
    rare = {rule.name: seen[rule] for rule in set(Rule) - NEVER_EXPLAINED if seen[rule] < AT_LEAST}
    assert rare == {}


def test_a_window_that_has_ended_by_then_is_none(tmp_path: Path) -> None:
    rig = make_world(tmp_path, "restricted")
    result_of(rig.windows.open(ip_address(STRANGER), "anna@example.org"))
    explainer = make_explainer(rig)
    rules = []
    for minutes in (0, 29, 31):
        inquiry = Inquiry(ip_address(STRANGER), recipients=("x@far.example",), ahead_seconds=minutes * 60)
        decision = result_of(explainer.explain(inquiry))[-1].decision
        assert decision is not None
        rules.append(decision.rule)
    assert rules == [Rule.RELAY_BY_WINDOW, Rule.RELAY_BY_WINDOW, Rule.RELAY_DENIED]


@pytest.mark.parametrize(
    "inquiry",
    [
        Inquiry(ip_address(STRANGER), authentication=Authentication.SUCCEEDED, login="nobody"),
        Inquiry(ip_address(STRANGER), authentication=Authentication.SUCCEEDED, login="dora@example.org"),
        Inquiry(ip_address(STRANGER), helo="x\r\nMAIL FROM:<>"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, inquiry: Inquiry) -> None:
    with pytest.raises(InquiryError):
        result_of(make_explainer(make_world(tmp_path, "restricted")).explain(inquiry))


def test_a_candidate_is_judged_by_its_own_rules_against_the_live_accounts(tmp_path: Path) -> None:
    rig = make_world(tmp_path, "restricted")
    explainer = Explainer(
        cast(Any, rig.database),
        rig.state,
        lambda: (rig.checks, rig.directory),
        lambda settings, name: rig.factory.rules,
        lambda: SETTINGS,
    )
    candidate = tmp_path / "candidate.ini"
    candidate.write_text("[domains]\nlocal = example.org\n[relay]\naddress_group =\n")
    inquiry = Inquiry(ip_address(MEMBER), recipients=("x@far.example", "anna@example.org"))
    rules = [
        [step.decision.rule for step in result_of(explainer.explain(inquiry, path)) if step.decision][1:]
        for path in (None, candidate)
    ]
    assert rules == [
        [Rule.RELAY_BY_ADDRESS_GROUP, Rule.LOCAL_RECIPIENT],
        [Rule.RELAY_DENIED, Rule.LOCAL_RECIPIENT],
    ]


def test_an_address_beyond_ascii_is_explained_as_with_smtputf8(tmp_path: Path) -> None:
    rig = make_world(tmp_path, next(iter(WORLDS)))
    inquiry = Inquiry(ip_address("203.0.113.9"), recipients=("jürgen@bücher.example",))
    steps = result_of(make_explainer(rig).explain(inquiry))
    assert steps[-1].replies == ["250 2.1.5 Recipient ok"]


def test_lmtp_is_explained_with_its_own_hello(tmp_path: Path) -> None:
    rig = SmtpRig(tmp_path, session={"is_lmtp": True})
    inquiry = Inquiry(
        ip_address("192.0.2.7"), "lmtp", recipients=("anna@example.org", "far@elsewhere.example")
    )
    steps = result_of(make_explainer(rig).explain(inquiry))
    assert [step.replies[-1][:3] for step in steps[-2:]] == ["250", "550"]
