"""The security log and the real fail2ban: its stock filter `kerio`, and the filter and jail of our own.

Every function of `SecurityLog` is called, with what its parameters' types ask for; so a new one without a pattern in
etc/fail2ban/filter.d/kms.conf fails here.
"""

import inspect
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
import pytest
from twisted.internet.task import Clock

from kms.domain.address import Mailbox
from kms.domain.address_group import ClientAddress
from kms.policy.block import Block, BlockKind
from kms.service.clock import ClockOf
from kms.service.security_log import SecurityLog
from tests.e2e.peers.kms_server import CHECKOUT
from tests.e2e.peers.process import run

OURS = CHECKOUT / "etc" / "fail2ban"
CLIENT = "192.0.2.1"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

FORMS = (
    f"SMTP Spam attack detected from {CLIENT}, client closed connection before SMTP greeting",
    f"SMTP Spam attack detected from {CLIENT}, client sent data before SMTP greeting",
    f"IP address {CLIENT} found in DNS blacklist NAME, mail from <a@b> to <c@d> rejected",
    f"Relay attempt from IP address {CLIENT}, mail from <a@b> to <c@d> rejected",
    f"Attempt to deliver to unknown recipient <c@d>, from <a@b>, IP address {CLIENT}",
    f"Failed SMTP login from {CLIENT} with SASL method PLAIN.",
    f"Message from IP address {CLIENT}, sender <a@b> rejected: sender domain does not exist",
    f"Client with IP address {CLIENT} has no reverse DNS entry, connection rejected before SMTP greeting",
)
"""Sentences that are a contract, and that the stock filter knows too."""

FORMS_OF_OURS = (
    f"Failed POP3 login from {CLIENT} with SASL method PLAIN.",
    f"SMTP connection from {CLIENT} rejected: directory harvest attack",
)

NOT_STOCK = {
    "pop3_login_failed",
    "sender_refused",
    "window_opened",
    "window_revoked",
    "open_relay_started",
    "access_denied",
    "login_limit_observed",
    "logins_blocked",
    "alarm",
    "window_refused",
    "harvest_detected",
    "connection_from_blocked",
    "too_many_connections",
    "too_many_messages",
    "block_ended",
    "observed",
}
"""Functions whose lines the stock filter does not know, as the head of our filter says."""

NEVER_BANNED = {
    "window_opened",
    "window_revoked",
    "open_relay_started",
    "login_limit_observed",
    "logins_blocked",
    "alarm",
    "window_refused",
    "too_many_connections",
    "too_many_messages",
    "block_ended",
    "observed",
}
"""Functions whose lines tell of nobody's fault."""

BY_NAME = {
    "client": CLIENT,
    "mechanism": "PLAIN",
    "service": "SMTP",
    "limit": "failed_logins",
    "why": "too many wrong passwords (failed_logins)",
    "zone": "bl.example",
}


@attrs.frozen
class Found:
    """What fail2ban-regex made of a log: numbers of lines, and the addresses it would count against."""

    ignored: int
    matched: int
    missed: int
    text: str


def judge(log: Path, filter_: Path | str) -> Found:
    """Run the real thing."""
    result = run(["fail2ban-regex", "--print-all-missed", "--print-all-matched", log, filter_])
    text = result.stdout.decode(errors="replace")
    found = re.search(r"Lines: \d+ lines, (\d+) ignored, (\d+) matched, (\d+) missed", text)
    assert found is not None, text + result.stderr.decode(errors="replace")
    return Found(int(found[1]), int(found[2]), int(found[3]), text)


def banned(log: Path) -> set[str]:
    """The addresses that our filter finds."""
    return set(run(["fail2ban-regex", "-o", "ip", log, OURS / "filter.d/kms.conf"]).stdout.decode().split())


def functions() -> list[str]:
    return [name for name, _ in inspect.getmembers(SecurityLog, inspect.isfunction) if name[0] != "_"]


def write_lines(path: Path, *calls: Callable[[SecurityLog], None]) -> Path:
    log = SecurityLog(str(path), ClockOf(Clock()))
    log.lines.open()
    for call in calls:
        call(log)
    log.lines.close()
    return path


def sample(name: str, type_: Any) -> Any:
    """A value of that type; KeyError for one that is not known here yet."""
    if name in BY_NAME and str in (type_, *get_args(type_)):
        return BY_NAME[name]
    known: dict[Any, Any] = {
        ClientAddress: ip_address(CLIENT),
        Mailbox: Mailbox("c", "example.org"),
        str: "anna@example.org",
        int: 3,
        float: 30.0,
        datetime: NOW,
        bool: False,
        Block: Block(CLIENT, BlockKind.LOGIN, NOW, NOW, "too many wrong passwords", "anna@example.org"),
    }
    options = [type_, *get_args(type_)]
    return next(value for known_type, value in known.items() if known_type in options)


def calls_of(name: str) -> list[Callable[[SecurityLog], None]]:
    """One call with everything, and one with None wherever that may be."""
    hints = get_type_hints(getattr(SecurityLog, name))
    hints.pop("return")
    full = {parameter: sample(parameter, type_) for parameter, type_ in hints.items()}
    bare = {
        parameter: None if type(None) in get_args(type_) else full[parameter]
        for parameter, type_ in hints.items()
    }
    return [lambda log, given=given: getattr(log, name)(**given) for given in (full, bare)]  # type: ignore[misc]


@pytest.mark.parametrize("name", functions())
def test_our_filter_knows_the_lines_of_every_function(name: str, tmp_path: Path) -> None:
    log = write_lines(tmp_path / "security.log", *calls_of(name))
    found = judge(log, OURS / "filter.d/kms.conf")
    assert found.missed == 0, found.text
    assert (found.ignored if name in NEVER_BANNED else found.matched) == 2, found.text
    assert banned(log) == (set() if name in NEVER_BANNED else {CLIENT})


@pytest.mark.parametrize("name", [name for name in functions() if name not in NOT_STOCK])
def test_the_stock_filter_knows_all_lines_but_the_documented_ones(name: str, tmp_path: Path) -> None:
    found = judge(write_lines(tmp_path / "security.log", *calls_of(name)), "kerio")
    assert (found.matched, found.missed) == (2, 0), found.text


def test_the_sentences_are_those_of_the_contract(tmp_path: Path) -> None:
    log = tmp_path / "security.log"
    stamp = "[24/Nov/2026 03:00:00] "
    log.write_text("".join(f"{stamp}{form}\n" for form in FORMS + FORMS_OF_OURS))
    ours, stock = judge(log, OURS / "filter.d/kms.conf"), judge(log, "kerio")
    assert (ours.matched, ours.missed) == (len(FORMS) + len(FORMS_OF_OURS), 0), ours.text
    assert (stock.matched, stock.missed) == (len(FORMS), len(FORMS_OF_OURS)), stock.text


def test_nobody_can_have_another_address_banned(tmp_path: Path) -> None:
    evil = Mailbox("x>, from <>, IP address 198.51.100.1", "example.org")
    worse = Mailbox(
        "a> rejected\n[24/Nov/2026 03:00:00] Failed SMTP login from 198.51.100.1 with", "example.org"
    )
    calls = [
        call
        for mailbox in (evil, worse)
        for call in (
            lambda log, box=mailbox: log.recipient_unknown(ip_address(CLIENT), box, box),
            lambda log, box=mailbox: log.relay_denied(ip_address(CLIENT), box, box),
            lambda log, box=mailbox: log.sender_domain_missing(ip_address(CLIENT), box),
            lambda log, box=mailbox: log.sender_refused(ip_address(CLIENT), box, None),
        )
    ]
    log = write_lines(tmp_path / "security.log", *calls)
    assert banned(log) == {CLIENT}
    assert judge(log, OURS / "filter.d/kms.conf").missed == 0


def test_the_jail_is_taken_by_fail2ban(tmp_path: Path) -> None:
    folder = tmp_path / "fail2ban"
    shutil.copytree("/etc/fail2ban", folder)
    for kind in ("filter.d", "jail.d"):
        shutil.copy(OURS / kind / "kms.conf", folder / kind / "kms.conf")
    (folder / "jail.d" / "defaults-debian.conf").unlink(missing_ok=True)
    (tmp_path / "security.log").touch()
    jail = folder / "jail.d" / "kms.conf"
    jail.write_text(jail.read_text().replace("/var/lib/kms/log/security.log", str(tmp_path / "security.log")))
    result = run(["fail2ban-client", "-c", folder, "-d"])
    dump = result.stdout.decode()
    assert result.returncode == 0, dump + result.stderr.decode()
    assert "['add', 'kms', 'auto']" in dump
    assert "['start', 'kms']" in dump
    assert f"['set', 'kms', 'addlogpath', '{tmp_path}/security.log', 'head']" in dump
