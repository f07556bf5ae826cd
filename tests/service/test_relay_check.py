"""The facts that the relay policy gets, and when the portal is asked for a window. The policy has its own tests."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, cast

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from kms.policy.gateway import GatewayRules
from kms.policy.relay import RelayMode, RelayRules, RelayVerdict
from kms.protocol.smtp_server import SmtpServerSession, SmtpServerSettings
from kms.service.clock import ClockOf
from kms.service.gateway_watch import GatewayWatch
from kms.service.portal import IRelayAvatar, OpenWindow, RelayAvatar
from kms.service.relay_check import RelayCheck
from kms.service.visit import Visit
from tests.support.results import result_of
from tests.support.smtp_rig import GROUP, HOSTNAME, MEMBER, STRANGER


class FakePortal:
    """Knows whether there is a window, and counts how often it was asked."""

    def __init__(self, has_window: bool) -> None:
        self.has_window = has_window
        self.asked = 0
        self.failure: Exception = UnauthorizedLogin()

    def login(self, credentials: object, mind: object, *interfaces: object) -> Deferred[Any]:
        assert isinstance(credentials, OpenWindow)
        assert credentials.client == mind
        assert interfaces == (IRelayAvatar,)
        self.asked += 1
        if self.has_window:
            return succeed((IRelayAvatar, RelayAvatar(None), lambda: None))
        return fail(self.failure)


def make_visit(client: str = STRANGER, auth: str = "none", is_submission: bool = False) -> Visit:
    session = SmtpServerSession(SmtpServerSettings(HOSTNAME))
    session.login_name = "anna" if auth == "succeeded" else None
    session.has_failed_login = auth == "failed"
    return Visit(ip_address(client), session, is_submission)


def make_check(has_window: bool, **rules: Any) -> tuple[RelayCheck, FakePortal]:
    portal = FakePortal(has_window)
    given: Any = portal
    gateways = GatewayWatch(GatewayRules(), print, ClockOf(Clock()), lambda client: False, cast(Any, None))
    return RelayCheck(RelayRules(**{"address_group": GROUP, **rules}), given, gateways), portal


@pytest.mark.parametrize(
    ("client", "auth", "has_window", "verdict", "asked"),
    [
        (STRANGER, "none", False, RelayVerdict.DENIED, 1),
        (STRANGER, "none", True, RelayVerdict.BY_RELAY_WINDOW, 1),
        (STRANGER, "failed", True, RelayVerdict.BY_RELAY_WINDOW, 1),
        (STRANGER, "succeeded", False, RelayVerdict.BY_AUTHENTICATION, 0),
        (MEMBER, "none", True, RelayVerdict.BY_ADDRESS_GROUP, 0),
        (MEMBER, "failed", False, RelayVerdict.DENIED_AFTER_FAILED_AUTHENTICATION, 1),
        (MEMBER, "failed", True, RelayVerdict.BY_RELAY_WINDOW, 1),
        (MEMBER, "succeeded", True, RelayVerdict.BY_AUTHENTICATION, 0),
    ],
)
def test_the_portal_is_asked_only_where_a_window_can_change_the_verdict(
    client: str, auth: str, has_window: bool, verdict: RelayVerdict, asked: int
) -> None:
    check, portal = make_check(has_window)
    assert result_of(check.judge(make_visit(client, auth))) is verdict
    assert portal.asked == asked


@pytest.mark.parametrize("auth", ["none", "failed"])
def test_for_a_submission_only_a_login_counts(auth: str) -> None:
    check, portal = make_check(has_window=True)
    assert result_of(check.judge(make_visit(MEMBER, auth, is_submission=True))) is RelayVerdict.DENIED
    assert portal.asked == 0
    assert result_of(check.judge(make_visit(STRANGER, "succeeded", is_submission=True))).is_allowed


def test_with_the_window_off_nobody_asks_for_one() -> None:
    check, portal = make_check(has_window=True, pop_before_smtp=False)
    assert result_of(check.judge(make_visit())) is RelayVerdict.DENIED
    assert portal.asked == 0


def test_in_open_mode_nothing_is_asked() -> None:
    check, portal = make_check(has_window=False, mode=RelayMode.OPEN)
    assert result_of(check.judge(make_visit(auth="failed"))) is RelayVerdict.OPEN_RELAY
    assert portal.asked == 0


def test_at_once_it_judges_without_the_window() -> None:
    check, portal = make_check(has_window=True)
    assert check.judge_at_once(make_visit()) is RelayVerdict.DENIED
    assert check.judge_at_once(make_visit(MEMBER)) is RelayVerdict.BY_ADDRESS_GROUP
    assert portal.asked == 0


def test_changed_rules_count_from_the_next_question() -> None:
    check, _ = make_check(has_window=False)
    check.rules = RelayRules(address_group=None)
    assert check.judge_at_once(make_visit(MEMBER)) is RelayVerdict.DENIED


def test_trouble_of_the_portal_is_no_denial() -> None:
    check, portal = make_check(has_window=False)
    portal.failure = RuntimeError("trouble")
    with pytest.raises(RuntimeError, match="trouble"):
        result_of(check.judge(make_visit()))
