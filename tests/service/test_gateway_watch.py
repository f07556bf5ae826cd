"""Trusted addresses that behave like gateways; that MAIL is noted is shown in test_reception_logins.py."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, cast

import attrs
import pytest
from twisted.internet.task import Clock

from kms.domain.account import Account
from kms.domain.address import Mailbox
from kms.domain.address_group import build_groups
from kms.domain.decision import Decision, Rule, Stage
from kms.domain.reply import SENDER_OK
from kms.policy.gateway import GatewayRules
from kms.protocol.smtp_server import SmtpServerSession, SmtpServerSettings
from kms.service.clock import ClockOf
from kms.service.decisions import Case
from kms.service.directory import DirectoryCache
from kms.service.gateway_watch import GatewayWatch
from kms.service.visit import Transaction, Visit
from tests.support.smtp_rig import SETTINGS

ROUTER, SERVER, STRANGER = "192.0.2.7", "192.0.2.1", "203.0.113.9"
RULES = GatewayRules(build_groups({"office": ["192.0.2.0/24"]})["office"], alarm=3, suspends_trust=True)


def make_visit(client: str, hello: str = "", **more: Any) -> Visit:
    session = SmtpServerSession(SmtpServerSettings("mx"))
    session.client_name = hello
    session.login_name = "anna" if "account" in more else None
    return Visit(ip_address(client), session, **more)


class World:
    """A watch, and what it tells."""

    def __init__(self) -> None:
        self.reactor = Clock()
        self.told: list[tuple[str, int, bool]] = []
        self.watch = GatewayWatch(
            RULES,
            lambda *offence: self.told.append(offence),
            ClockOf(self.reactor),
            lambda client: str(client) == SERVER,
            DirectoryCache(cast(Any, None), SETTINGS),
        )

    def note(self, visit: Visit, sender: Mailbox | None = None) -> None:
        self.watch.note_sender(Case(visit, Stage.MAIL, sender), Decision(Rule.SENDER_FINE, SENDER_OK))

    def note_all(self, client: str, **more: Any) -> None:
        for name in ("pc1", "pc2", "pc3"):
            self.note(make_visit(client, name, **more))

    def is_suspended(self, visit: Visit | None = None) -> bool:
        return self.watch.is_suspended(visit or make_visit(ROUTER), self.watch.rules)


@pytest.fixture
def world() -> World:
    return World()


def test_a_trusted_address_with_many_names_loses_its_trust_until_it_behaves_for_an_hour(world: World) -> None:
    for name in ("pc1", "pc2", "pc3"):
        assert not world.is_suspended()
        world.note(make_visit(ROUTER, name))
    assert world.is_suspended()
    assert world.told == [(ROUTER, 3, True)]
    world.reactor.advance(3599)
    assert world.is_suspended()
    assert not world.is_suspended(make_visit(ROUTER, ahead_seconds=1))
    world.reactor.advance(1)
    world.watch.sweep()
    assert not world.is_suspended()


def test_what_its_own_transaction_shows_counts_whether_it_was_noted_or_not(world: World) -> None:
    for name in ("pc1", "pc2"):
        world.note(make_visit(ROUTER, name))
    third = make_visit(ROUTER, "pc3", transaction=Transaction(None))
    assert world.is_suspended(third)
    assert not world.is_suspended(make_visit(ROUTER, "pc2", transaction=Transaction(None)))
    world.note(third)
    assert world.is_suspended(third)


def test_foreign_senders_count_and_ours_do_not(world: World) -> None:
    for domain in ("example.org", "relay.example", "second.example", "a.example", "b.example"):
        world.note(make_visit(ROUTER, "mx"), Mailbox("x", domain))
    assert world.told == []
    world.note(make_visit(ROUTER, "mx"), Mailbox("x", "c.example"))
    assert world.told == [(ROUTER, 3, True)]


@pytest.mark.parametrize("client", [SERVER, STRANGER])
def test_strangers_and_this_machine_are_not_watched(world: World, client: str) -> None:
    world.note_all(client)
    assert world.told == []
    assert not world.is_suspended(make_visit(client, "pc4", transaction=Transaction(None)))


@pytest.mark.parametrize("more", [{"account": Account("anna", "example.org")}, {"is_submission": True}])
def test_who_must_log_in_or_has_is_not_watched(world: World, more: dict[str, Any]) -> None:
    world.note_all(ROUTER, **more)
    assert world.told == []


@pytest.mark.parametrize(
    ("rules", "told"),
    [(attrs.evolve(RULES, suspends_trust=False), 1), (attrs.evolve(RULES, alarm=0), 0)],
)
def test_without_the_settings_no_trust_is_suspended(world: World, rules: GatewayRules, told: int) -> None:
    world.watch.rules = rules
    world.note_all(ROUTER)
    assert len(world.told) == told
    assert not world.is_suspended()
