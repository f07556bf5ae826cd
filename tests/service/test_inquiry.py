from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from kms.domain import reply
from kms.domain.decision import Decision, Rule, Stage
from kms.policy.relay import Authentication
from kms.service.inquiry import Inquiry, InquiryError, Step, describe_step, read_inquiry


def test_every_option_is_read() -> None:
    asked = {
        "client": "::ffff:192.0.2.1",
        "service": "submission",
        "helo": "x.test",
        "tls": True,
        "auth": "ok",
        "login": "anna",
        "sender": "a@b.test",
        "recipients": ["c@d.test", "e@f.test"],
        "size": 7,
        "message": "eA0K",
        "ahead_seconds": 60,
    }
    assert read_inquiry(asked) == Inquiry(
        ip_address("192.0.2.1"),
        "submission",
        "x.test",
        True,
        Authentication.SUCCEEDED,
        "anna",
        "a@b.test",
        ("c@d.test", "e@f.test"),
        7,
        b"x\r\n",
        60.0,
    )


def test_only_the_client_must_be_named() -> None:
    assert read_inquiry({"client": "2001:db8::1"}) == Inquiry(ip_address("2001:db8::1"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"client": "nobody"},
        {"client": None},
        {"service": "pop3"},
        {"auth": "maybe"},
        {"size": "large"},
        {"recipients": 7},
        {"message": "not base64!"},
        {"message": 7},
        {"ahead_seconds": "soon"},
    ],
)
def test_a_value_that_is_none_for_its_field_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InquiryError):
        read_inquiry({"client": "192.0.2.1", **wrong})


def test_a_client_that_is_not_named_is_refused() -> None:
    with pytest.raises(InquiryError, match="client"):
        read_inquiry({})


def test_a_step_tells_rule_facts_and_what_was_only_observed() -> None:
    observed = Decision(Rule.MAX_RECIPIENTS, reply.TOO_MANY_RECIPIENTS)
    decision = Decision(Rule.QUOTA, reply.MAILBOX_FULL, {"account": "a@b.test"}, observed=(observed,))
    assert describe_step(Step("RCPT TO:<a@b.test>", ["452 …"], Stage.RCPT, decision)) == {
        "command": "RCPT TO:<a@b.test>",
        "replies": ["452 …"],
        "stage": "RCPT",
        "rule": Rule.QUOTA.value,
        "facts": {"account": "a@b.test"},
        "observed": [{"rule": Rule.MAX_RECIPIENTS.value, "reply": str(reply.TOO_MANY_RECIPIENTS)}],
    }


def test_a_step_that_only_syntax_answered_has_no_rule() -> None:
    step = describe_step(Step("NOOP", ["250 …"]))
    assert (step["rule"], step["stage"], step["facts"], step["observed"]) == (None, None, {}, [])
