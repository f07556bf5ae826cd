"""The listener's deadlines, watched by one sweep, and its shutdown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from kms.domain.decision import Rule
from kms.policy.limits import ClientLimits, Limit
from kms.protocol.smtp_server import SmtpServerSettings
from tests.support.results import result_of, without_ids
from tests.support.smtp_parts import Client
from tests.support.smtp_rig import HOSTNAME, SmtpRig

MESSAGE = b"Subject: hello\r\n\r\nHello\r\n.\r\n"
SLOW_MAIL = b"MAIL FROM:<x@slow.example>\r\n"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SmtpRig]:
    rig = SmtpRig(tmp_path)
    rig.factory.doStart()
    yield rig
    rig.factory.stop_watching()
    assert not [
        call for call in rig.reactor.getDelayedCalls() if call.getTime() > rig.reactor.seconds() + 0.1
    ]


# Time


def test_an_idle_client_is_closed_after_its_time(rig: SmtpRig) -> None:
    client = rig.greeted()
    rig.advance(299)
    client.close_with_server()
    assert not client.is_lost
    rig.advance(2)
    client.close_with_server()
    assert client.hear() == ["421 4.4.2 Timeout, closing connection"]
    assert client.is_lost


def test_each_command_begins_the_time_anew(rig: SmtpRig) -> None:
    client = rig.greeted()
    for _ in range(5):
        rig.advance(200)
        assert client.say("NOOP") == ["250 2.0.0 Ok"]


def test_octets_that_complete_no_command_win_no_time(rig: SmtpRig) -> None:
    client = rig.greeted()
    for _ in range(4):
        rig.advance(80)
        client.send(b"N")
    assert client.hear() == ["421 4.4.2 Timeout, closing connection"]


def test_each_part_of_a_message_begins_the_time_anew(rig: SmtpRig) -> None:
    client = rig.greeted()
    assert client.say("MAIL FROM:<>", "RCPT TO:<anna@example.org>", "DATA")[-1].startswith("354")
    for _ in range(5):
        rig.advance(200)
        client.send(b"x")
    client.send(b"\r\n.\r\n")
    assert client.hear()[-1].startswith("250 2.0.0 Ok: queued as")


def in_data(rig: SmtpRig) -> Client:
    client = rig.greeted()
    assert client.say("MAIL FROM:<>", "RCPT TO:<anna@example.org>", "DATA")[-1].startswith("354")
    return client


@pytest.fixture
def strict(rig: SmtpRig) -> SmtpRig:
    rig.factory.use(attrs.evolve(rig.factory.rules, minimum_data_rate=100))
    return rig


def test_a_message_that_trickles_is_cut_after_a_minute(strict: SmtpRig) -> None:
    client = in_data(strict)
    for _ in range(5):
        strict.advance(10)
        client.send(b"x")
    assert client.hear() == []
    strict.advance(15)
    client.close_with_server()
    assert without_ids(client.hear()) == ["421 4.4.2 Message comes too slowly, closing connection"]
    assert client.is_lost
    assert strict.rows() == 0


def test_a_message_that_trickles_is_told_of_once_where_the_rate_is_only_observed(strict: SmtpRig) -> None:
    strict.factory.use(attrs.evolve(strict.factory.rules, observes_data_rate=True))
    strict.clients.limits = ClientLimits(observed=frozenset({Limit.MINIMUM_DATA_RATE}))
    client = in_data(strict)
    for _ in range(20):
        strict.advance(10)
        client.send(b"x")
    client.send(b"\r\n.\r\n")
    assert client.hear()[-1].startswith("250 2.0.0 Ok: queued as")
    rows = strict.database.connection.execute("SELECT rule, is_observed FROM decision").fetchall()
    assert rows == [(Rule.DATA_RATE.value, 1)]


def test_a_slow_line_above_the_minimum_brings_its_message(strict: SmtpRig) -> None:
    client = in_data(strict)
    for _ in range(300):
        strict.advance(10)
        client.send(b"x" * 998 + b"\r\n")
    client.send(b".\r\n")
    assert client.hear()[-1].startswith("250 2.0.0 Ok: queued as")


def test_the_total_deadline_holds_in_the_midst_of_a_message_too(strict: SmtpRig) -> None:
    client = in_data(strict)
    for _ in range(361):
        strict.advance(10)
        client.send(b"x" * 998 + b"\r\n")
    assert client.hear() == ["421 4.4.2 Session lasted too long, closing connection"]
    assert strict.body_files() == []


def test_the_data_rate_is_no_matter_between_messages_nor_while_we_do_not_read(strict: SmtpRig) -> None:
    client = in_data(strict)
    strict.advance(50)
    client.connection._waits = True
    strict.advance(50)
    client.connection._waits = False
    strict.advance(50)
    client.send(MESSAGE)
    strict.advance(200)
    assert client.hear()[-1].startswith("250 2.0.0 Ok: queued as")
    assert client.say("NOOP") == ["250 2.0.0 Ok"]


def test_slow_clients_are_all_cut_and_others_are_served_meanwhile(strict: SmtpRig) -> None:
    strict.clients.limits = ClientLimits(connections_per_client=0)
    commands = [strict.greeted() for _ in range(60)]
    contents = [in_data(strict) for _ in range(30)]
    for _ in range(31):
        strict.advance(10)
        for client in commands + contents:
            if not client.is_lost:
                client.send(b"x")
        other = strict.greeted()
        assert other.say("NOOP", "QUIT")[0] == "250 2.0.0 Ok"
    assert {client.hear()[-1] for client in commands} == {"421 4.4.2 Timeout, closing connection"}
    assert {without_ids(client.hear())[-1] for client in contents} == {
        "421 4.4.2 Message comes too slowly, closing connection"
    }


def test_nobody_holds_a_slot_for_ever(rig: SmtpRig) -> None:
    client = rig.greeted()
    heard: list[str] = []
    for _ in range(40):
        rig.advance(100)
        heard = client.say("NOOP") or heard
    assert heard == ["421 4.4.2 Session lasted too long, closing connection"]
    assert client.is_lost


def test_the_time_of_a_pending_check_is_not_the_clients(rig: SmtpRig) -> None:
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.send(SLOW_MAIL)
    rig.advance(4000)
    assert client.hear() == []
    resolver.waiting.pop().callback(None)
    assert client.hear() == ["250 2.1.0 Sender ok"]
    rig.advance(1)
    client.close_with_server()
    assert client.hear() == ["421 4.4.2 Session lasted too long, closing connection"]


def test_a_client_that_does_not_take_the_goodbye_is_cut_off(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.keeps_line = True
    client.say("QUIT")
    rig.advance(9)
    assert not client.wire.disconnected
    rig.advance(2)
    assert client.wire.disconnected


def test_octets_after_the_goodbye_buy_no_time(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.keeps_line = True
    client.say("QUIT")
    for _ in range(12):
        client.send(b"NOOP\r\n")
        rig.advance(1)
    assert client.wire.disconnected
    assert client.hear() == []


def test_a_client_that_never_reads_is_cut_off(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.keeps_line = True
    client.connection.pauseProducing()
    client.send(b"NOOP\r\n")
    rig.advance(312)
    assert client.wire.disconnected


def test_a_message_that_stops_in_the_middle_leaves_nothing(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.say("MAIL FROM:<>", "RCPT TO:<anna@example.org>", "DATA")
    client.send(b"x\r\n" * 50_000)
    assert len(rig.body_files()) == 1
    rig.advance(302)
    client.close_with_server()
    assert client.hear() == ["421 4.4.2 Timeout, closing connection"]
    assert rig.body_files() == []


def test_idle_sessions_cost_one_timer_together(rig: SmtpRig) -> None:
    for _ in range(50):
        rig.greeted()
    rig.advance(5)
    assert len(rig.reactor.getDelayedCalls()) == 1


def test_a_fault_in_one_session_does_not_end_the_watch(rig: SmtpRig) -> None:
    broken, client = rig.greeted(), rig.greeted()

    def fail(now: float) -> None:
        raise RuntimeError("a fault")

    broken.connection.check_time = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        rig.advance(1)
    del broken.connection.check_time
    rig.advance(301)
    client.close_with_server()
    assert client.is_lost


def test_the_watch_begins_once_however_many_ports_there_are(rig: SmtpRig) -> None:
    rig.factory.doStart()
    assert len(rig.reactor.getDelayedCalls()) == 1
    rig.factory.stop_watching()
    rig.factory.stop_watching()
    assert rig.reactor.getDelayedCalls() == []


def test_a_reload_changes_times_at_once_and_words_for_new_sessions(rig: SmtpRig) -> None:
    old = rig.greeted()
    rules = rig.factory.rules
    rig.factory.use(
        type(rules)(
            session=SmtpServerSettings("new.example.org"),
            is_submission=False,
            is_tls_at_once=False,
            command_timeout=timedelta(seconds=10),
            session_timeout=timedelta(minutes=1),
            may_send_plain_passwords=rules.may_send_plain_passwords,
        )
    )
    assert old.say("HELO x") == [f"250 {HOSTNAME}"]
    assert rig.connect().hear() == ["220 new.example.org ESMTP ready"]
    rig.advance(12)
    assert old.hear() == ["421 4.4.2 Timeout, closing connection"]


# Shutdown


def test_with_nobody_there_the_drain_is_over_at_once(rig: SmtpRig) -> None:
    assert result_of(rig.factory.drain()) is None


def test_idle_sessions_end_at_once_and_busy_ones_when_their_message_is_answered(rig: SmtpRig) -> None:
    idle, busy = rig.greeted(), rig.greeted()
    busy.say("MAIL FROM:<>", "RCPT TO:<anna@example.org>", "DATA")
    drained = rig.factory.drain()
    idle.close_with_server()
    assert idle.hear() == ["421 4.3.2 Service shutting down, try again later"]
    assert busy.hear() == []
    rig.database.is_held = True
    busy.send(MESSAGE)
    assert not drained.called
    rig.database.release()
    busy.close_with_server()
    queued, goodbye = busy.hear()
    assert queued.startswith("250 2.0.0 Ok: queued as ")
    assert goodbye == "421 4.3.2 Service shutting down, try again later"
    assert drained.called
    assert rig.rows() == 1


def test_an_idle_client_that_does_not_close_cannot_hold_up_the_shutdown(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.keeps_line = True
    drained = rig.factory.drain()
    assert client.hear() == ["421 4.3.2 Service shutting down, try again later"]
    assert not drained.called
    rig.advance(1)
    assert client.wire.disconnected
    client.lose()
    assert drained.called


def test_a_session_whose_check_is_pending_is_not_idle(rig: SmtpRig) -> None:
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.send(SLOW_MAIL)
    drained = rig.factory.drain()
    assert client.hear() == []
    resolver.waiting.pop().callback(None)
    assert client.hear() == ["250 2.1.0 Sender ok"]
    assert client.say("RSET") == ["250 2.0.0 Reset", "421 4.3.2 Service shutting down, try again later"]
    assert drained.called


def test_new_clients_are_turned_away_while_the_server_shuts_down(rig: SmtpRig) -> None:
    rig.greeted().say("MAIL FROM:<>")
    rig.factory.drain()
    client = rig.connect()
    assert client.hear() == ["421 4.3.2 Service shutting down, try again later"]
    assert client.is_lost


def test_who_is_left_when_the_time_is_over_is_cut(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.say("MAIL FROM:<>", "RCPT TO:<anna@example.org>", "DATA")
    client.send(b"x\r\n" * 50_000)
    drained = rig.factory.drain()
    assert not drained.called
    rig.factory.cut()
    client.close_with_server()
    assert client.hear() == ["421 4.3.2 Service shutting down, try again later"]
    assert drained.called
    assert rig.body_files() == []


def test_a_late_answer_to_a_session_that_was_cut_is_ignored(rig: SmtpRig) -> None:
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.keeps_line = True
    client.send(SLOW_MAIL)
    rig.factory.cut()
    resolver.waiting.pop().callback(None)
    assert client.hear() == ["421 4.3.2 Service shutting down, try again later"]
