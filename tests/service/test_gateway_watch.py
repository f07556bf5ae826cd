from __future__ import annotations

from ipaddress import ip_address
from typing import Any, cast

import attrs
import pytest
from twisted.internet.task import Clock

from kms.domain.address_group import build_groups
from kms.policy.gateway import GatewayRules
from kms.service.clock import ClockOf
from kms.service.gateway_watch import GatewayWatch

ROUTER, SERVER, STRANGER = ip_address("192.0.2.7"), ip_address("192.0.2.1"), ip_address("203.0.113.9")
RULES = GatewayRules(build_groups({"office": ["192.0.2.0/24"]})["office"], alarm=3, suspends_trust=True)


class World:
    """A watch, and what it tells."""

    def __init__(self) -> None:
        self.reactor = Clock()
        self.told: list[tuple[str, int, bool]] = []
        self.watch = GatewayWatch(
            RULES,
            lambda *offence: self.told.append(offence),
            ClockOf(self.reactor),
            lambda client: client == SERVER,
            cast(Any, None),  # asked for a MAIL only, see test_reception_gateways.py
        )


@pytest.fixture
def world() -> World:
    return World()


def test_a_trusted_address_with_many_names_loses_its_trust_until_it_behaves_for_an_hour(world: World) -> None:
    for name in ("pc1", "pc2", "pc3"):
        assert not world.watch.is_suspended(ROUTER)
        world.watch.note(ROUTER, name, "")
    assert world.watch.is_suspended(ROUTER)
    assert world.told == [("192.0.2.7", 3, True)]
    world.reactor.advance(3599)
    assert world.watch.is_suspended(ROUTER)
    world.reactor.advance(1)
    world.watch.sweep()
    assert not world.watch.is_suspended(ROUTER)


@pytest.mark.parametrize("client", [SERVER, STRANGER])
def test_strangers_and_this_machine_are_not_watched(world: World, client: object) -> None:
    for name in ("pc1", "pc2", "pc3"):
        world.watch.note(ip_address(str(client)), name, "")
    assert world.told == []


@pytest.mark.parametrize(
    ("rules", "told"),
    [(attrs.evolve(RULES, suspends_trust=False), 1), (attrs.evolve(RULES, alarm=0), 0)],
)
def test_without_the_settings_no_trust_is_suspended(world: World, rules: GatewayRules, told: int) -> None:
    world.watch.rules = rules
    for name in ("pc1", "pc2", "pc3"):
        world.watch.note(ROUTER, name, "")
    assert len(world.told) == told
    assert not world.watch.is_suspended(ROUTER)
