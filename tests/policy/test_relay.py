"""Who may relay: the whole table of conditions, and the one exception."""

from __future__ import annotations

import ipaddress
import itertools

import attrs
import pytest

from kms.domain.address_group import build_groups
from kms.policy.relay import (
    Authentication,
    RelayFacts,
    RelayMode,
    RelayRules,
    RelayVerdict,
    judge_relay,
)

INSIDE = ipaddress.ip_address("10.0.0.1")
OUTSIDE = ipaddress.ip_address("192.0.2.1")
GROUP = build_groups({"Office": ["10.0.0.0/8"]})["Office"]
ALL_ON = RelayRules(address_group=GROUP)
STRANGER = RelayFacts(client=OUTSIDE, authentication=Authentication.NONE, has_open_window=False)
COLLEAGUE = attrs.evolve(STRANGER, client=INSIDE)


def with_authentication(facts: RelayFacts, authentication: Authentication) -> RelayFacts:
    return attrs.evolve(facts, authentication=authentication)


class TestRestrictedMode:
    def test_refuses_a_stranger(self) -> None:
        verdict = judge_relay(STRANGER, ALL_ON)
        assert verdict is RelayVerdict.DENIED
        assert not verdict.is_allowed

    def test_lets_a_member_of_the_address_group_relay(self) -> None:
        verdict = judge_relay(COLLEAGUE, ALL_ON)
        assert verdict is RelayVerdict.BY_ADDRESS_GROUP
        assert verdict.is_allowed

    def test_lets_an_authenticated_client_relay(self) -> None:
        facts = with_authentication(STRANGER, Authentication.SUCCEEDED)
        assert judge_relay(facts, ALL_ON) is RelayVerdict.BY_AUTHENTICATION

    def test_lets_a_client_with_an_open_window_relay(self) -> None:
        facts = attrs.evolve(STRANGER, has_open_window=True)
        assert judge_relay(facts, ALL_ON) is RelayVerdict.BY_RELAY_WINDOW

    def test_counts_an_ipv4_mapped_address_as_the_ipv4_address(self) -> None:
        facts = attrs.evolve(STRANGER, client=ipaddress.ip_address("::ffff:10.0.0.1"))
        assert judge_relay(facts, ALL_ON) is RelayVerdict.BY_ADDRESS_GROUP


class TestConditionThatIsOff:
    def test_address_group(self) -> None:
        assert judge_relay(COLLEAGUE, attrs.evolve(ALL_ON, address_group=None)) is RelayVerdict.DENIED

    def test_smtp_auth(self) -> None:
        facts = with_authentication(STRANGER, Authentication.SUCCEEDED)
        assert judge_relay(facts, attrs.evolve(ALL_ON, smtp_auth=False)) is RelayVerdict.DENIED

    def test_pop_before_smtp(self) -> None:
        facts = attrs.evolve(STRANGER, has_open_window=True)
        assert judge_relay(facts, attrs.evolve(ALL_ON, pop_before_smtp=False)) is RelayVerdict.DENIED


class TestFailedAuthentication:
    FACTS = with_authentication(COLLEAGUE, Authentication.FAILED)

    def test_voids_the_address_group(self) -> None:
        verdict = judge_relay(self.FACTS, ALL_ON)
        assert verdict is RelayVerdict.DENIED_AFTER_FAILED_AUTHENTICATION
        assert not verdict.is_allowed

    def test_does_not_touch_the_relay_window(self) -> None:
        facts = attrs.evolve(self.FACTS, has_open_window=True)
        assert judge_relay(facts, ALL_ON) is RelayVerdict.BY_RELAY_WINDOW

    def test_is_mended_by_a_later_success(self) -> None:
        facts = with_authentication(self.FACTS, Authentication.SUCCEEDED)
        assert judge_relay(facts, ALL_ON).is_allowed

    def test_leaves_the_address_group_alone_where_smtp_auth_is_off(self) -> None:
        rules = attrs.evolve(ALL_ON, smtp_auth=False)
        assert judge_relay(self.FACTS, rules) is RelayVerdict.BY_ADDRESS_GROUP

    def test_of_a_stranger_is_a_plain_refusal(self) -> None:
        facts = with_authentication(STRANGER, Authentication.FAILED)
        assert judge_relay(facts, ALL_ON) is RelayVerdict.DENIED


class TestSubmission:
    def test_asks_for_authentication_whatever_the_address(self) -> None:
        facts = attrs.evolve(COLLEAGUE, has_open_window=True, needs_authentication=True)
        assert judge_relay(facts, ALL_ON) is RelayVerdict.DENIED

    def test_lets_an_authenticated_client_relay(self) -> None:
        facts = attrs.evolve(STRANGER, needs_authentication=True, authentication=Authentication.SUCCEEDED)
        assert judge_relay(facts, ALL_ON) is RelayVerdict.BY_AUTHENTICATION


def test_an_address_without_trust_is_judged_without_the_group() -> None:
    rules = RelayRules(address_group=GROUP)
    facts = RelayFacts(INSIDE, Authentication.NONE, False, is_trust_suspended=True)
    assert judge_relay(facts, rules) is RelayVerdict.DENIED_WITHOUT_TRUST
    assert not judge_relay(facts, rules).is_allowed
    with_window = attrs.evolve(facts, has_open_window=True)
    assert judge_relay(with_window, rules) is RelayVerdict.BY_RELAY_WINDOW
    failed = attrs.evolve(facts, authentication=Authentication.FAILED)
    assert judge_relay(failed, rules) is RelayVerdict.DENIED_AFTER_FAILED_AUTHENTICATION


@pytest.mark.parametrize("authentication", Authentication)
@pytest.mark.parametrize("needs_authentication", [False, True])
def test_open_mode_lets_everybody_relay(authentication: Authentication, needs_authentication: bool) -> None:
    rules = RelayRules(mode=RelayMode.OPEN, smtp_auth=False, pop_before_smtp=False)
    facts = attrs.evolve(STRANGER, authentication=authentication, needs_authentication=needs_authentication)
    verdict = judge_relay(facts, rules)
    assert verdict is RelayVerdict.OPEN_RELAY
    assert verdict.is_allowed


def test_the_whole_table_follows_the_sentence_of_the_specification() -> None:
    switches = [False, True]
    for in_group, window, group_on, auth_on, pop_on in itertools.product(switches, repeat=5):
        for authentication in Authentication:
            rules = RelayRules(
                address_group=GROUP if group_on else None, smtp_auth=auth_on, pop_before_smtp=pop_on
            )
            client = INSIDE if in_group else OUTSIDE
            facts = RelayFacts(client=client, authentication=authentication, has_open_window=window)
            by_group = group_on and in_group and not (auth_on and authentication is Authentication.FAILED)
            by_auth = auth_on and authentication is Authentication.SUCCEEDED
            by_window = pop_on and window
            assert judge_relay(facts, rules).is_allowed is (by_group or by_auth or by_window)
