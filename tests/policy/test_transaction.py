"""The rules of one transaction, each at its border."""

from __future__ import annotations

import attrs
import pytest

from kms.domain import reply
from kms.domain.address import Mailbox
from kms.policy.transaction import (
    SenderFacts,
    TransactionRules,
    judge_declared_size,
    judge_free_space,
    judge_hops,
    judge_recipient_count,
    judge_sender_identity,
)

RULES = TransactionRules(max_recipients=3, max_message_octets=1000, max_received_hops=5, min_free_octets=50)
NO_LIMITS = TransactionRules(max_recipients=0, max_message_octets=0, max_received_hops=0, min_free_octets=0)


@pytest.mark.parametrize(
    ("count_so_far", "refusal"),
    [(0, None), (2, None), (3, reply.TOO_MANY_RECIPIENTS), (4, reply.TOO_MANY_RECIPIENTS)],
)
def test_one_recipient_too_many_is_deferred(count_so_far: int, refusal: reply.Reply | None) -> None:
    assert judge_recipient_count(count_so_far, RULES) == refusal


@pytest.mark.parametrize(
    ("declared", "refusal"), [(None, None), (0, None), (1000, None), (1001, reply.DECLARED_TOO_LARGE)]
)
def test_a_declared_size_over_the_limit_is_refused(declared: int | None, refusal: reply.Reply | None) -> None:
    assert judge_declared_size(declared, RULES) == refusal


@pytest.mark.parametrize(("received", "refusal"), [(0, None), (5, None), (6, reply.TOO_MANY_HOPS)])
def test_too_many_received_fields_are_a_loop(received: int, refusal: reply.Reply | None) -> None:
    assert judge_hops(received, RULES) == refusal


@pytest.mark.parametrize(
    ("free", "refusal"), [(0, reply.LOW_DISK_SPACE), (49, reply.LOW_DISK_SPACE), (50, None)]
)
def test_little_free_space_defers(free: int, refusal: reply.Reply | None) -> None:
    assert judge_free_space(free, RULES) == refusal


def test_zero_is_no_limit() -> None:
    assert judge_recipient_count(10**6, NO_LIMITS) is None
    assert judge_declared_size(10**12, NO_LIMITS) is None
    assert judge_hops(10**6, NO_LIMITS) is None
    assert judge_free_space(0, NO_LIMITS) is None


def test_the_defaults_are_those_of_the_manual() -> None:
    rules = TransactionRules()
    assert (rules.max_recipients, rules.max_received_hops) == (100, 100)
    assert (rules.max_message_octets, rules.min_free_octets) == (20 * 2**20, 100 * 2**20)
    assert rules.sender_domain_must_exist
    assert not rules.sender_must_match_login
    assert not rules.local_sender_needs_auth


class TestSpoofingGuard:
    GUARDED = TransactionRules(sender_must_match_login=True, local_sender_needs_auth=True)
    STRANGER = SenderFacts(
        reverse_path=Mailbox("anna", "local.test"),
        is_local_sender=True,
        is_authenticated=False,
        may_use_sender=False,
        fulfils_a_condition=False,
    )
    USER = attrs.evolve(STRANGER, is_authenticated=True, fulfils_a_condition=True)

    def test_is_off_by_default(self) -> None:
        assert judge_sender_identity(self.STRANGER, TransactionRules()) is None
        assert judge_sender_identity(self.USER, TransactionRules()) is None

    def test_refuses_a_stranger_with_a_local_sender(self) -> None:
        assert judge_sender_identity(self.STRANGER, self.GUARDED) == reply.LOCAL_SENDER_NEEDS_AUTH

    def test_lets_a_stranger_with_a_foreign_sender_pass(self) -> None:
        facts = attrs.evolve(self.STRANGER, is_local_sender=False)
        assert judge_sender_identity(facts, self.GUARDED) is None

    def test_lets_a_client_pass_that_fulfils_a_condition(self) -> None:
        facts = attrs.evolve(self.STRANGER, fulfils_a_condition=True)
        assert judge_sender_identity(facts, self.GUARDED) is None

    @pytest.mark.parametrize("is_local_sender", [True, False])
    def test_refuses_a_user_with_the_address_of_another(self, is_local_sender: bool) -> None:
        facts = attrs.evolve(self.USER, is_local_sender=is_local_sender)
        assert judge_sender_identity(facts, self.GUARDED) == reply.SENDER_NOT_OWNED

    def test_lets_a_user_with_an_own_address_pass(self) -> None:
        facts = attrs.evolve(self.USER, may_use_sender=True)
        assert judge_sender_identity(facts, self.GUARDED) is None

    def test_asks_no_login_of_a_user_who_has_logged_in(self) -> None:
        rules = TransactionRules(local_sender_needs_auth=True)
        facts = attrs.evolve(self.USER, fulfils_a_condition=False)
        assert judge_sender_identity(facts, rules) is None

    @pytest.mark.parametrize("facts", [STRANGER, USER])
    def test_always_lets_the_null_reverse_path_pass(self, facts: SenderFacts) -> None:
        assert judge_sender_identity(attrs.evolve(facts, reverse_path=None), self.GUARDED) is None
