"""The sentences of the security log; those about strangers are fail2ban's `kerio` filter's."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from kms.domain.address import Mailbox
from kms.service.clock import ClockOf
from kms.service.security_log import SecurityLog

CLIENT = ip_address("203.0.113.9")
MAX = Mailbox("max", "stranger.example")
FAR = Mailbox("far", "elsewhere.example")
STAMP = re.compile(r"\[\d\d/[A-Z][a-z][a-z]/\d{4} \d\d:\d\d:\d\d\] ")

# What the filter looks for, in our own words: the beginning of a sentence, and where the address stands.
FILTER = (
    r"Relay attempt from IP address (?P<host>\S+),",
    r"Attempt to deliver to unknown recipient \S+, from \S+, IP address (?P<host>\S+)$",
    r"Failed SMTP login from (?P<host>\S+) with SASL method",
    r"Failed POP3 login from (?P<host>\S+) with SASL method",
    r"Message from IP address (?P<host>\S+), sender \S+ rejected: sender domain does not exist$",
)

Call = Callable[[SecurityLog], None]
SENTENCES: list[tuple[Call, str]] = [
    (
        lambda log: log.relay_denied(CLIENT, MAX, FAR),
        "Relay attempt from IP address 203.0.113.9, mail from <max@stranger.example> to <far@elsewhere.example>"
        " rejected",
    ),
    (
        lambda log: log.recipient_unknown(CLIENT, None, Mailbox("x", "example.org")),
        "Attempt to deliver to unknown recipient <x@example.org>, from <>, IP address 203.0.113.9",
    ),
    (
        lambda log: log.smtp_login_failed(CLIENT, "PLAIN"),
        "Failed SMTP login from 203.0.113.9 with SASL method PLAIN.",
    ),
    (
        lambda log: log.pop3_login_failed(ip_address("2001:db8::1"), "USER"),
        "Failed POP3 login from 2001:db8::1 with SASL method USER.",
    ),
    (
        lambda log: log.sender_domain_missing(CLIENT, MAX),
        "Message from IP address 203.0.113.9, sender <max@stranger.example> rejected: sender domain does not exist",
    ),
]
OTHERS: list[tuple[Call, str]] = [
    (
        lambda log: log.sender_refused(CLIENT, MAX, "anna@example.org"),
        "Message from IP address 203.0.113.9, sender <max@stranger.example> rejected: address not owned, user"
        " anna@example.org",
    ),
    (
        lambda log: log.sender_refused(CLIENT, MAX, None),
        "Message from IP address 203.0.113.9, sender <max@stranger.example> rejected: address not owned, nobody"
        " logged in",
    ),
    (
        lambda log: log.access_denied(CLIENT, "POP3"),
        "POP3 connection from 203.0.113.9 rejected: not in the access group",
    ),
    (
        lambda log: log.window_opened(CLIENT, "anna@example.org", 30.0),
        "Relay window of IP address 203.0.113.9 opened by user anna@example.org for 30 minutes",
    ),
    (
        lambda log: log.window_opened(CLIENT, "anna@example.org", 1.0),
        "Relay window of IP address 203.0.113.9 opened by user anna@example.org for 1 minute",
    ),
    (
        lambda log: log.window_revoked("203.0.113.9", "anna@example.org"),
        "Relay window of IP address 203.0.113.9, user anna@example.org, revoked",
    ),
    (
        lambda log: log.open_relay_started(),
        "OPEN RELAY: relay control is off ([relay] mode = open), any client may send to any domain",
    ),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "security.log"


def lines_of(path: Path, *calls: Call) -> list[str]:
    log = SecurityLog(str(path), ClockOf(Clock()))
    log.lines.open()
    for call in calls:
        call(log)
    log.lines.close()
    return path.read_text(encoding="ascii").splitlines()


@pytest.mark.parametrize(("call", "sentence"), SENTENCES + OTHERS)
def test_an_event_is_one_sentence_behind_its_time(call: Call, sentence: str, path: Path) -> None:
    [line] = lines_of(path, call)
    assert STAMP.sub("", line, count=1) == sentence
    assert STAMP.match(line)


@pytest.mark.parametrize(("call", "sentence"), SENTENCES)
def test_fail2ban_finds_the_address_of_a_stranger(call: Call, sentence: str) -> None:
    [found] = [match for pattern in FILTER if (match := re.match(pattern, sentence))]
    assert ip_address(found["host"]) in (CLIENT, ip_address("2001:db8::1"))


def test_what_a_stranger_chose_can_neither_forge_a_line_nor_blame_another_address(path: Path) -> None:
    evil = Mailbox("x>, from <>, IP address 198.51.100.1\n[24/Nov/2026 12:00:00] Failed", "stranger.example")
    lines = lines_of(
        path,
        lambda log: log.recipient_unknown(CLIENT, evil, evil),
        lambda log: log.relay_denied(CLIENT, evil, evil),
        lambda log: log.smtp_login_failed(CLIENT, "PLAIN\nx"),
        lambda log: log.sender_refused(CLIENT, evil, "anna\n"),
    )
    assert len(lines) == 4
    for line in lines:
        for pattern in FILTER:
            found = re.match(pattern, STAMP.sub("", line, count=1))
            assert found is None or found["host"] == "203.0.113.9"
