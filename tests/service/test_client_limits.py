"""Edge case 10 and promises 42 to 44, as far as clients' limits go, on a whole SMTP side."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from kms.domain.address_group import parse_client_address
from kms.domain.decision import Rule, parse_decision_id
from kms.policy.block import BlockKind
from kms.policy.limits import ClientLimits, Limit
from kms.service.client_ledger import ClientLedger
from kms.store import decisions
from tests.support.results import result_of, without_ids
from tests.support.smtp_parts import Client
from tests.support.smtp_rig import GROUP, MEMBER, STRANGER, SmtpRig

OTHER = "198.51.100.7"
LIMITS = ClientLimits(messages_per_hour=3, connections_per_client=2, unknown_recipients=2, exempt_group=GROUP)
FULL = "450 4.7.1 Too many messages from your address within an hour, try again later"
BLOCKED = "421 4.7.0 Your address is blocked: too many unknown recipients; try again later"
CROWDED = "421 4.7.0 Too many connections from your address, try again later"
HARVESTED = "421 4.7.0 Too many unknown recipients, your address is blocked for a time"
WELCOME = "220 mail.example.org ESMTP ready"


@pytest.fixture
def rig(tmp_path: Path) -> SmtpRig:
    return SmtpRig(tmp_path, limits=LIMITS)


def say(client: Client, *commands: str) -> list[str]:
    return without_ids(client.say(*commands))


def send(rig: SmtpRig, client: str = STRANGER) -> str:
    """Send a message; gives the answer to MAIL where that is no 250, else the one to the end."""
    session = rig.greeted(client)
    answer = say(session, "MAIL FROM:<a@far.example>")[-1]
    if answer.startswith("250"):
        answer = say(session, "RCPT TO:<anna@example.org>", "DATA", "Subject: x\r\n\r\nx\r\n.")[-1]
    session.lose()
    return answer


def harvest(rig: SmtpRig, *names: str, client: str = STRANGER) -> list[str]:
    session = rig.greeted(client)
    say(session, "MAIL FROM:<a@far.example>")
    answers = say(session, *(f"RCPT TO:<{name}@example.org>" for name in names))
    session.lose()
    return answers


class TestMessagesPerHour:
    def test_n_within_60_minutes_are_taken_and_the_next_is_deferred(self, rig: SmtpRig) -> None:
        for _ in range(3):
            assert send(rig).startswith("250 2.0.0")
            rig.reactor.advance(1000)
        assert send(rig) == FULL
        rig.reactor.advance(599)
        assert send(rig) == FULL
        rig.reactor.advance(1)
        assert send(rig).startswith("250 2.0.0")
        assert send(rig) == FULL

    def test_others_are_untouched_and_the_exempt_group_is_not_counted(self, rig: SmtpRig) -> None:
        for _ in range(4):
            send(rig)
        assert send(rig, OTHER).startswith("250 ")
        for _ in range(5):
            assert send(rig, MEMBER).startswith("250 ")
        assert rig.ledger.messages_of(MEMBER) == 0

    def test_ipv6_counts_by_64(self, rig: SmtpRig) -> None:
        for number in range(3):
            assert send(rig, f"2001:db8::{number + 1}").startswith("250 ")
        assert send(rig, "2001:db8::ffff") == FULL
        assert send(rig, "2001:db8:0:1::1").startswith("250 ")

    @pytest.mark.parametrize("end", ["RSET", "EHLO client.example", "QUIT", "lost", "refused content"])
    def test_a_place_is_given_back_where_no_message_comes(self, rig: SmtpRig, end: str) -> None:
        client = rig.greeted()
        say(client, "MAIL FROM:<a@far.example>")
        assert rig.ledger.messages_of(STRANGER) == 1
        match end:
            case "lost":
                client.lose()
            case "refused content":
                client.say("RCPT TO:<anna@example.org>", "DATA")
                client.send(b"bare\nnewline\r\n.\r\n")
            case _:
                client.say(end)
        assert rig.ledger.messages_of(STRANGER) == 0

    def test_places_under_way_count_so_that_no_crowd_gets_past(self, rig: SmtpRig) -> None:
        rig.clients.limits = attrs.evolve(LIMITS, connections_per_client=0)
        clients = [rig.greeted() for _ in range(4)]
        answers = [say(client, "MAIL FROM:<a@far.example>")[-1] for client in clients]
        assert answers == ["250 2.1.0 Sender ok"] * 3 + [FULL]

    def test_a_message_that_cannot_be_stored_is_not_counted(self, rig: SmtpRig) -> None:
        client = rig.greeted()
        say(client, "MAIL FROM:<a@far.example>", "RCPT TO:<anna@example.org>", "DATA")
        rig.database.failures.append(OSError("the disk is full"))
        assert say(client, "x\r\n.")[-1].startswith("451 ")
        assert rig.ledger.messages_of(STRANGER) == 0

    def test_a_client_that_goes_while_its_sender_is_looked_up_keeps_no_place(self, rig: SmtpRig) -> None:
        resolver = rig.slow_down_dns()
        client = rig.greeted()
        client.send(b"MAIL FROM:<a@slow.example>\r\n")
        client.lose()
        resolver.waiting.pop().callback(None)
        assert rig.ledger.messages_of(STRANGER) == 0

    def test_the_count_survives_a_restart(self, rig: SmtpRig) -> None:
        for _ in range(3):
            send(rig)
        ledger = ClientLedger(rig.database, rig.clock, rig.security_log)
        ledger.take(rig.database.connection)
        assert ledger.messages_of(STRANGER) == 3

    def test_the_log_says_which_limit_and_until_when(self, rig: SmtpRig) -> None:
        for _ in range(4):
            send(rig)
        assert (
            "sender <a@far.example> rejected: more than 3 messages within an hour, until"
            in (rig.security_lines()[-1])
        )


class TestConnections:
    def test_one_too_many_is_turned_away_and_the_others_are_untouched(self, rig: SmtpRig) -> None:
        first, second = rig.greeted(), rig.greeted()
        third = rig.connect()
        assert without_ids(third.hear()) == [CROWDED]
        assert third.is_lost
        assert say(first, "NOOP") == say(second, "NOOP") == ["250 2.0.0 Ok"]
        assert rig.connect(OTHER).hear() == [WELCOME]
        assert rig.security_lines()[-1] == (
            "SMTP connection from 203.0.113.9 rejected: more than 2 connections at one time"
        )

    def test_a_connection_that_ends_makes_room(self, rig: SmtpRig) -> None:
        first, _ = rig.greeted(), rig.greeted()
        first.lose()
        assert rig.connect().hear() == [WELCOME]

    def test_a_thousand_that_come_and_go_leave_nothing_behind(self, rig: SmtpRig) -> None:
        for _ in range(1000):
            client = rig.connect()
            assert client.hear() == [WELCOME]
            client.lose()
        assert rig.ledger.connections.count(STRANGER) == 0

    def test_the_exempt_group_connects_as_often_as_it_likes(self, rig: SmtpRig) -> None:
        assert [rig.connect(MEMBER).hear() for _ in range(5)] == [[WELCOME]] * 5


class TestHarvest:
    def test_it_is_counted_across_sessions_and_the_block_lasts_an_hour_exactly(self, rig: SmtpRig) -> None:
        assert harvest(rig, "one")[0].startswith("550 5.1.1")
        assert harvest(rig, "two")[0].startswith("550 5.1.1")
        assert harvest(rig, "three") == [HARVESTED]
        rig.reactor.advance(3599)
        assert without_ids(rig.connect().hear()) == [BLOCKED]
        assert (
            rig.security_lines()[-1] == "SMTP connection from 203.0.113.9 rejected: directory harvest attack"
        )
        rig.reactor.advance(1)
        assert rig.connect().hear() == [WELCOME]
        assert rig.security_lines()[-1] == "Block of IP address 203.0.113.9 has ended: harvest"

    def test_what_is_an_hour_old_does_not_count(self, rig: SmtpRig) -> None:
        harvest(rig, "one", "two")
        rig.reactor.advance(3600)
        assert harvest(rig, "three")[0].startswith("550 5.1.1")

    def test_deferred_and_disabled_recipients_do_not_count(self, rig: SmtpRig) -> None:
        harvest(rig, "dora", "round", "dora", "round", "dora")
        assert rig.ledger.unknown_recipients_of(STRANGER) == 0

    def test_the_exempt_group_and_others_are_untouched(self, rig: SmtpRig) -> None:
        assert all(answer.startswith("550 5.1.1") for answer in harvest(rig, *"abcde", client=MEMBER))
        harvest(rig, *"abc")
        assert rig.connect(OTHER).hear() == [WELCOME]
        assert rig.connect(MEMBER).hear() == [WELCOME]

    def test_the_block_survives_a_restart_and_can_be_lifted(self, rig: SmtpRig) -> None:
        harvest(rig, *"abc")
        ledger = ClientLedger(rig.database, rig.clock, rig.security_log)
        ledger.take(rig.database.connection)
        assert [block.client for block in ledger.blocks()] == [STRANGER]
        assert result_of(rig.ledger.lift(STRANGER)) == 1
        assert rig.connect().hear() == [WELCOME]

    def test_a_limit_that_observes_blocks_nobody_and_is_logged(self, rig: SmtpRig) -> None:
        rig.clients.limits = attrs.evolve(LIMITS, observed=frozenset(Limit))
        assert all(answer.startswith("550 5.1.1") for answer in harvest(rig, *"abc"))
        assert rig.ledger.block_of(STRANGER, BlockKind.HARVEST) is None
        assert (
            "Client with IP address 203.0.113.9 over the limit unknown_recipients, which only observes"
            in (rig.security_lines())
        )

    def test_a_block_of_before_is_observed_too(self, rig: SmtpRig) -> None:
        rig.ledger.block(STRANGER, BlockKind.HARVEST, timedelta(hours=1), "a test")
        rig.clients.limits = attrs.evolve(LIMITS, observed=frozenset(Limit))
        assert rig.connect().hear() == [WELCOME]


class TestName:
    def test_a_client_waits_for_its_greeting_until_the_dns_answers(self, rig: SmtpRig) -> None:
        rig.clients.limits = attrs.evolve(LIMITS, client_must_have_ptr=True)
        rig.resolver.is_slow = True
        rig.resolver.names[STRANGER] = ["stranger.example"]
        client = rig.connect()
        client.send(b"NOOP\r\n")
        assert client.hear() == []
        rig.resolver.waiting.pop().callback(None)
        assert client.hear() == [WELCOME, "250 2.0.0 Ok"]

    def test_a_client_that_goes_meanwhile_is_not_judged(self, rig: SmtpRig) -> None:
        rig.clients.limits = attrs.evolve(LIMITS, client_must_have_ptr=True)
        rig.resolver.is_slow = True
        client = rig.connect()
        client.lose()
        rig.resolver.waiting.pop().callback(None)
        assert rig.security_lines() == []
        assert rig.ledger.connections.count(STRANGER) == 0

    def test_the_log_has_the_line_that_fail2ban_knows(self, rig: SmtpRig) -> None:
        rig.clients.limits = attrs.evolve(LIMITS, client_must_have_ptr=True)
        rig.connect()
        assert rig.security_lines() == [
            "Client with IP address 203.0.113.9 has no reverse DNS entry, connection rejected before SMTP greeting"
        ]


def test_lmtp_is_not_limited(tmp_path: Path) -> None:
    strict = attrs.evolve(LIMITS, connections_per_client=1, client_must_have_ptr=True)
    rig = SmtpRig(tmp_path, session={"is_lmtp": True}, limits=strict)
    for _ in range(5):
        client = rig.connect()
        answers = say(client, "LHLO filter.example", "MAIL FROM:<>", *["RCPT TO:<nobody@example.org>"] * 3)
        assert answers[-1].startswith("550 5.1.1")
    assert (rig.ledger.connections.count(STRANGER), len(rig.ledger.memory)) == (0, 0)


class TestRefusedBeforeItIsConnected:
    """In a flood a client that would hear 421 gets no connection at all; everything else is as if it had one."""

    def refuse(self, rig: SmtpRig, client: str = STRANGER) -> list[str]:
        said = rig.factory.refuse(parse_client_address(client))
        return without_ids(said.decode().splitlines())

    def told(self, rig: SmtpRig, act: Callable[[], object]) -> list[str]:
        """What stands in the logs since, without decision ids."""
        before = [len(self.read(rig, number)) for number in (0, 1)]
        act()
        return [
            re.sub(r" \([0-9A-Z]{6}\)", "", line)
            for number in (0, 1)
            for line in self.read(rig, number)[before[number] :]
        ]

    def read(self, rig: SmtpRig, number: int) -> list[str]:
        rig.mail_log.lines.flush()
        rig.security_log.lines.flush()
        return rig.logs[number].read_text().splitlines()

    def test_only_with_too_many_connections_or_a_block(self, rig: SmtpRig) -> None:
        assert self.refuse(rig) == []
        rig.greeted()
        assert self.refuse(rig) == []
        rig.greeted()
        assert self.refuse(rig) == [CROWDED]
        assert self.refuse(rig, OTHER) == []
        harvest(rig, "no", "nobody", "none", client=OTHER)
        assert self.refuse(rig, OTHER) == [BLOCKED]
        assert rig.ledger.connections.count(STRANGER) == 2

    def test_as_a_connected_client_is_refused(self, rig: SmtpRig) -> None:
        rig.greeted()
        rig.greeted()
        connected = self.told(rig, lambda: rig.connect().lose())
        refused = self.told(rig, lambda: self.refuse(rig))
        assert len(connected) == 4
        assert refused == connected

    def test_with_a_record_that_its_reply_names(self, rig: SmtpRig) -> None:
        rig.greeted()
        rig.greeted()
        said = rig.factory.refuse(parse_client_address(STRANGER)).decode()
        number = parse_decision_id(said.rstrip()[-7:-1])
        assert number is not None
        record = decisions.find(rig.database.connection, number)
        assert record is not None
        assert record.rule == Rule.CONNECTIONS_PER_CLIENT.value

    def test_never_where_the_limit_only_observes_nor_over_lmtp_nor_the_exempt_group(
        self, rig: SmtpRig, tmp_path: Path
    ) -> None:
        for _ in range(2):
            rig.greeted()
            rig.greeted(MEMBER)
        assert self.refuse(rig, MEMBER) == []
        rig.clients.limits = attrs.evolve(LIMITS, observed=frozenset({Limit.CONNECTIONS_PER_CLIENT}))
        assert self.told(rig, lambda: self.refuse(rig)) == []
        (tmp_path / "lmtp").mkdir()
        lmtp = SmtpRig(tmp_path / "lmtp", limits=LIMITS, session={"is_lmtp": True})
        lmtp.ledger.connections.add(STRANGER)
        lmtp.ledger.connections.add(STRANGER)
        assert self.refuse(lmtp) == []

    def test_never_at_shutdown_which_has_its_own_word(self, rig: SmtpRig) -> None:
        rig.greeted()
        rig.greeted()
        assert rig.factory.is_suspect(parse_client_address(STRANGER))
        rig.factory.drain()
        assert not rig.factory.is_suspect(parse_client_address(STRANGER))
