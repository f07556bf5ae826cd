"""Every line of the mail log, in the wording that tools for Postfix's log read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from kms.domain import reply
from kms.domain.address import Mailbox
from kms.domain.outcome import Deferred, Delivered, Failed
from kms.domain.reply import Reply
from kms.domain.status import EnhancedStatus
from kms.service.clock import ClockOf
from kms.service.mail_log import MailLog
from tests.support.queue_entries import make_entry

CLIENT = ip_address("203.0.113.9")
MAX = Mailbox("max", "stranger.example")
ANNA = Mailbox("anna", "example.org")
ENTRY = make_entry(number=1000, recipients=2)
REPORT = make_entry(number=1001, reverse_path=None)
SENT = Delivered(reply.DELIVERED_TO_MAILBOX, "local")
REMOTE = Delivered(Reply(250, EnhancedStatus(2, 0, 0), "Ok: queued as 7"), "mx.far[198.51.100.1]:25")
LATER = Deferred(Reply(450, EnhancedStatus(4, 2, 0), "Greylisted"), "mx.far[198.51.100.1]:25")
LOST = Deferred(reply.CONNECTION_LOST, "mx.far[198.51.100.1]:25", is_ambiguous=True)
NEVER = Failed(Reply(550, EnhancedStatus(5, 1, 1), "No\nsuch user"), "mx.far[198.51.100.1]:25")
OLD = Failed(Reply(550, None, "Go away"), "mx.far[198.51.100.1]:25")

Call = Callable[[MailLog], None]
LINES: list[tuple[Call, list[str]]] = [
    (lambda log: log.connected(CLIENT), ["smtpd: connect from unknown[203.0.113.9]"]),
    (
        lambda log: log.proxy_refused("submissions", CLIENT, "no PROXY header"),
        ["smtpd: warning: proxy 203.0.113.9: PROXY header to submissions refused: no PROXY header"],
    ),
    (
        lambda log: log.proxy_refused("pop3s", CLIENT, "no PROXY header"),
        ["pop3d: warning: proxy 203.0.113.9: PROXY header to pop3s refused: no PROXY header"],
    ),
    (lambda log: log.disconnected(CLIENT), ["smtpd: disconnect from unknown[203.0.113.9]"]),
    (
        lambda log: log.accepted(ENTRY, CLIENT, "client.example", None),
        [
            "smtpd: {ID}: client=unknown[203.0.113.9], helo=<client.example>",
            "qmgr: {ID}: from=<joe@sender.test>, size=25, nrcpt=2 (queue active)",
        ],
    ),
    (
        lambda log: log.accepted(ENTRY, CLIENT, "client.example", "anna@example.org", "ESMTPSA"),
        [
            "smtpd: {ID}: client=unknown[203.0.113.9], helo=<client.example>, sasl_username=anna@example.org, "
            "proto=ESMTPSA",
            "qmgr: {ID}: from=<joe@sender.test>, size=25, nrcpt=2 (queue active)",
        ],
    ),
    (
        lambda log: log.queued(REPORT),
        ["qmgr: {NEXT}: from=<>, size=25, nrcpt=1 (queue active)"],
    ),
    (
        lambda log: log.rejected("MAIL", CLIENT, "client.example", reply.SENDER_DOMAIN_UNKNOWN, MAX),
        [
            "smtpd: NOQUEUE: reject: MAIL from unknown[203.0.113.9]: 550 5.1.8 <max@stranger.example>: The "
            "sender's domain does not exist; from=<max@stranger.example> helo=<client.example>"
        ],
    ),
    (
        lambda log: log.rejected(
            "RCPT", CLIENT, "client.example", reply.UNKNOWN_RECIPIENT, None, ANNA, "SMTP"
        ),
        [
            "smtpd: NOQUEUE: reject: RCPT from unknown[203.0.113.9]: 550 5.1.1 <anna@example.org>: No such "
            "mailbox here; from=<> to=<anna@example.org> proto=SMTP helo=<client.example>"
        ],
    ),
    (
        lambda log: log.attempted(ENTRY, ANNA, ANNA, SENT, 0.126),
        [
            "local: {ID}: to=<anna@example.org>, relay=local, delay=0.13, dsn=2.0.0, status=sent "
            "(250 2.0.0 delivered to mailbox)"
        ],
    ),
    (
        lambda log: log.attempted(ENTRY, ANNA, MAX, REMOTE, 3),
        [
            "smtp: {ID}: to=<anna@example.org>, orig_to=<max@stranger.example>, relay=mx.far[198.51.100.1]:25, "
            "delay=3.00, "
            "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 7)"
        ],
    ),
    (
        lambda log: log.attempted(ENTRY, MAX, MAX, LATER, 3),
        [
            "smtp: {ID}: to=<max@stranger.example>, relay=mx.far[198.51.100.1]:25, "
            "delay=3.00, dsn=4.2.0, status=deferred "
            "(450 4.2.0 Greylisted)"
        ],
    ),
    (
        lambda log: log.attempted(ENTRY, MAX, MAX, LOST, 3),
        [
            "smtp: {ID}: to=<max@stranger.example>, relay=mx.far[198.51.100.1]:25, "
            "delay=3.00, dsn=4.4.2, status=deferred "
            "(450 4.4.2 the connection was lost, ambiguous: lost after the final dot)"
        ],
    ),
    (
        lambda log: log.attempted(ENTRY, MAX, MAX, NEVER, 3),
        [
            "smtp: {ID}: to=<max@stranger.example>, relay=mx.far[198.51.100.1]:25, "
            "delay=3.00, dsn=5.1.1, status=bounced "
            "(550 5.1.1 No such user)"
        ],
    ),
    (
        lambda log: log.attempted(ENTRY, MAX, MAX, OLD, 3),
        [
            "smtp: {ID}: to=<max@stranger.example>, relay=mx.far[198.51.100.1]:25, "
            "delay=3.00, dsn=5.0.0, status=bounced (550 Go away)"
        ],
    ),
    (lambda log: log.removed(ENTRY.queue_id), ["qmgr: {ID}: removed"]),
    (
        lambda log: log.reported(ENTRY, REPORT, "non-delivery"),
        ["bounce: {ID}: sender non-delivery notification: {NEXT}"],
    ),
    (lambda log: log.report_dropped(REPORT, "null sender"), ["bounce: {NEXT}: no notification: null sender"]),
    (
        lambda log: log.set_aside(ENTRY.queue_id, "the content is missing"),
        ["qmgr: {ID}: set aside: the content is missing"],
    ),
    (
        lambda log: log.logged_in("anna@example.org", CLIENT, "TLSv1.3 X"),
        ["pop3d: login: user=<anna@example.org>, client=unknown[203.0.113.9], TLS=TLSv1.3 X"],
    ),
    (
        lambda log: log.logged_in("anna@example.org", CLIENT, None),
        ["pop3d: login: user=<anna@example.org>, client=unknown[203.0.113.9]"],
    ),
    (
        lambda log: log.ended("anna@example.org", CLIENT, 2),
        ["pop3d: logout: user=<anna@example.org>, client=unknown[203.0.113.9], deleted=2"],
    ),
]


def lines_of(path: Path, *calls: Call) -> list[str]:
    log = MailLog(str(path), ClockOf(Clock()), "mail.example.org")
    log.lines.open()
    for call in calls:
        call(log)
    log.lines.close()
    return path.read_text(encoding="ascii").splitlines()


@pytest.mark.parametrize(("call", "expected"), LINES)
def test_an_event_is_told_in_postfixs_words(call: Call, expected: list[str], tmp_path: Path) -> None:
    lines = lines_of(tmp_path / "mail.log", call)
    process = f"[{os.getpid()}]"
    expected = [line.format(ID=ENTRY.queue_id, NEXT=REPORT.queue_id) for line in expected]
    assert [line.split(" kms/", 1)[1].replace(process, "", 1) for line in lines] == expected


def test_a_line_begins_as_a_syslog_line(tmp_path: Path) -> None:
    [line] = lines_of(tmp_path / "mail.log", lambda log: log.removed(ENTRY.queue_id))
    assert re.match(r"[A-Z][a-z][a-z] [ \d]\d \d\d:\d\d:\d\d mail kms/qmgr\[\d+\]: \w+: removed$", line)


def test_what_strangers_and_other_servers_said_cannot_forge_a_line(tmp_path: Path) -> None:
    evil = Mailbox("x\nNov 24 12:00:00 mail kms/qmgr[1]: 1: removed", "stranger.example")
    bad = Failed(Reply(550, None, "no\r\nNov 24"), "mx\r\n[198.51.100.1]")
    lines = lines_of(
        tmp_path / "mail.log",
        lambda log: log.rejected("RCPT", CLIENT, "x\ny", reply.relaying_denied(str(evil)), evil, evil),
        lambda log: log.attempted(ENTRY, evil, evil, bad, 1),
        lambda log: log.report_dropped(ENTRY, "a\nb"),
        lambda log: log.set_aside(ENTRY.queue_id, "a\nb"),
        lambda log: log.logged_in("a\nb", CLIENT, "c\nd"),
        lambda log: log.ended("a\nb", CLIENT, 0),
        lambda log: log.accepted(ENTRY, CLIENT, "a\nb", "c\nd"),
    )
    assert len(lines) == 8
