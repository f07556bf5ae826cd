"""What MAIL asks, tells and leaves; its answers stand in tests/dialogues/reception/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kms.policy.transaction import TransactionRules
from kms.store.accounts import set_enabled
from tests.support.log_events import logged
from tests.support.results import result_of, without_ids
from tests.support.smtp_parts import SlowResolver
from tests.support.smtp_rig import MEMBER, SmtpRig

MAIL = "MAIL FROM:<max@stranger.example>"


def make_rig(folder: Path, **rules: Any) -> SmtpRig:
    resolver = SlowResolver(mx={"with.example": [(10, "mx")], "null.example": [(0, "")], "bare.example": []})
    resolver.addresses = {"bare.example": ["192.0.2.1"]}
    return SmtpRig(folder, rules=TransactionRules(**rules), resolver=resolver)


def test_a_sender_in_a_local_domain_is_not_looked_up(tmp_path: Path) -> None:
    rig = make_rig(tmp_path)
    client = rig.greeted()
    for sender in ("x@example.org", "x@example.net", "x@[192.0.2.1]", ""):
        assert client.say(f"MAIL FROM:<{sender}>", "RSET")[0] == "250 2.1.0 Sender ok"
    assert rig.resolver.asked == []


def test_addresses_are_looked_up_only_where_there_is_no_mx(tmp_path: Path) -> None:
    rig = make_rig(tmp_path)
    client = rig.greeted()
    client.say("MAIL FROM:<x@with.example>", "RSET", "MAIL FROM:<x@bare.example>", "RSET")
    assert rig.resolver.asked == [
        ("mx", "with.example"),
        ("mx", "bare.example"),
        ("addresses", "bare.example"),
    ]


def test_with_the_check_off_nothing_is_looked_up(tmp_path: Path) -> None:
    rig = make_rig(tmp_path, sender_domain_must_exist=False)
    assert rig.greeted().say(MAIL) == ["250 2.1.0 Sender ok"]
    assert rig.resolver.asked == []


def test_a_missing_domain_is_told_to_both_logs(tmp_path: Path) -> None:
    rig = make_rig(tmp_path)
    rig.greeted().say(MAIL)
    assert rig.security_lines() == [
        "Message from IP address 203.0.113.9, sender <max@stranger.example> rejected: sender domain does not exist"
    ]
    assert "NOQUEUE: reject: MAIL from unknown[203.0.113.9]: 550 5.1.8" in rig.mail_lines()[-1]


def test_a_domain_that_takes_no_mail_exists_all_the_same(tmp_path: Path) -> None:
    rig = make_rig(tmp_path)
    refused = without_ids(rig.greeted().say("MAIL FROM:<x@null.example>"))
    assert refused == ["550 5.7.27 The sender's domain takes no mail"]
    assert rig.security_lines() == []


def test_the_spoofing_guard_is_told_to_the_security_log_with_the_account(tmp_path: Path) -> None:
    rig = make_rig(
        tmp_path, local_sender_needs_auth=True, sender_must_match_login=True, sender_domain_must_exist=False
    )
    client = rig.greeted()
    client.say("MAIL FROM:<anna@example.org>")
    client.say("AUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAc2VjcmV0", "MAIL FROM:<bert@example.org>")
    assert rig.security_lines() == [
        "Message from IP address 203.0.113.9, sender <anna@example.org> rejected: address not owned, nobody "
        "logged in",
        "Message from IP address 203.0.113.9, sender <bert@example.org> rejected: address not owned, user "
        "anna@example.org",
    ]


def test_the_spoofing_guard_is_asked_before_the_dns(tmp_path: Path) -> None:
    rig = make_rig(tmp_path, sender_must_match_login=True)
    client = rig.greeted()
    client.say("AUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAc2VjcmV0", "MAIL FROM:<x@missing.example>")
    assert rig.resolver.asked == []


def test_low_space_is_told_to_the_mail_log(tmp_path: Path) -> None:
    rig = make_rig(tmp_path)
    rig.free_octets = 0
    rig.greeted(MEMBER).say(MAIL)
    assert "reject: MAIL from unknown[192.0.2.7]: 452 4.3.1 <max@stranger.example>" in rig.mail_lines()[-1]


def test_a_client_that_goes_while_the_dns_is_asked_leaves_nothing(tmp_path: Path) -> None:
    rig = make_rig(tmp_path)
    assert isinstance(rig.resolver, SlowResolver)
    rig.resolver.is_slow = True
    client = rig.greeted()
    client.send(b"MAIL FROM:<x@with.example>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\n")
    client.lose()
    with logged("kms") as told:
        rig.resolver.waiting.pop().callback(None)
    assert told == []
    assert client.hear() == []


def test_a_resolver_that_breaks_its_promise_is_trouble_of_ours(tmp_path: Path) -> None:
    class Broken(SlowResolver):
        async def lookup_mx(self, domain: str) -> Any:
            raise RuntimeError("broken")

    rig = SmtpRig(tmp_path, rules=TransactionRules(), resolver=Broken())
    client = rig.greeted()
    with logged("kms.reception") as told:
        assert client.say(MAIL) == ["451 4.3.0 Temporary trouble here, try again later"]
    assert len(told) == 1
    assert client.say("NOOP") == ["250 2.0.0 Ok"]


@pytest.mark.parametrize("limit", [0, 100])
def test_a_declared_size_is_judged_by_the_newest_rules(tmp_path: Path, limit: int) -> None:
    rig = make_rig(tmp_path, sender_domain_must_exist=False)
    client = rig.greeted()
    rig.senders.rules = TransactionRules(max_message_octets=limit, sender_domain_must_exist=False)
    [answer] = client.say(f"{MAIL} SIZE=101")
    assert answer.startswith("552 5.3.4" if limit else "250 2.1.0")


def test_a_login_ends_with_its_account_also_in_an_open_session(tmp_path: Path) -> None:
    rig = make_rig(tmp_path, sender_domain_must_exist=False)
    client = rig.greeted()
    assert client.say("AUTH PLAIN AGFubmFAZXhhbXBsZS5vcmcAc2VjcmV0")[0].startswith("235 ")
    assert client.say(MAIL, "RCPT TO:<far@elsewhere.example>", "RSET")[1].startswith("250 ")
    set_enabled(rig.database.connection, "anna@example.org", False)
    result_of(rig.directory.load())
    assert without_ids(client.say(MAIL)) == ["421 4.7.0 Your account is not enabled, closing connection"]
    assert client.is_lost
