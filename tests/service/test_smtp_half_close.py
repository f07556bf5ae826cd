"""A client that sends no more, but listens, gets all its answers; one that has closed holds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface.verify import verifyObject

from kms.policy.limits import ClientLimits
from tests.support.results import result_of
from tests.support.smtp_parts import Client
from tests.support.smtp_rig import STRANGER, SmtpRig

MESSAGE = b"Subject: hello\r\n\r\nHello\r\n.\r\n"
MAIL = b"MAIL FROM:<x@slow.example>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\n"
TAKEN = ["250 2.1.0", "250 2.1.5", "354 Send ", "250 2.0.0"]


def make_rig(folder: Path, **more: object) -> SmtpRig:
    rig = SmtpRig(folder, **more)  # type: ignore[arg-type]
    rig.factory.doStart()
    return rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SmtpRig]:
    rig = make_rig(tmp_path)
    yield rig
    rig.factory.stop_watching()


def heard(client: Client) -> list[str]:
    """What the client hears, a status each; it closes where the server has."""
    said = [line[:9] for line in client.hear()]
    client.close_with_server()
    return said


def is_forgotten(rig: SmtpRig, client: Client) -> bool:
    """Nothing of it is left."""
    assert client.is_lost
    assert client.wire.producer is None
    assert rig.mail_lines()[-1].endswith(f"disconnect from unknown[{STRANGER}]")
    return rig.factory.live == set() and rig.ledger.connections.count(STRANGER) == 0


def test_a_connection_is_told_of_the_end_of_the_input(rig: SmtpRig) -> None:
    client = rig.connect()
    assert verifyObject(IHalfCloseableProtocol, client.connection)
    client.connection.writeConnectionLost()
    assert not client.wire.disconnecting


def test_who_closes_with_nothing_under_way_is_gone_at_once(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.end_input()
    assert client.hear() == []
    assert is_forgotten(rig, client)


def test_who_closes_within_a_command_or_a_transaction_hears_nothing(rig: SmtpRig) -> None:
    for data in (
        b"NOO",
        b"NOOP\r",
        MAIL,
        MAIL + b"Subject: half\r\n\r\nHel",
        MAIL + b"a\r\n.\r",
        b"AUTH LOGIN\r\n",
    ):
        client = rig.greeted()
        client.send(data)
        client.hear()
        client.end_input()
        assert client.hear() == [], data
        assert is_forgotten(rig, client)
    assert rig.stored == []
    assert rig.body_files() == []


def test_a_message_that_waits_for_its_commit_is_answered(rig: SmtpRig) -> None:
    client = rig.greeted()
    rig.database.is_held = True
    client.send(MAIL + MESSAGE)
    client.end_input()
    assert heard(client) == TAKEN[:3]
    assert rig.ledger.connections.count(STRANGER) == 1
    rig.database.release()
    assert heard(client) == TAKEN[3:]
    assert rig.envelopes() == ["x@slow.example -> anna@example.org"]
    assert is_forgotten(rig, client)


def test_what_waits_for_a_check_is_carried_out_and_answered(rig: SmtpRig) -> None:
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.send(MAIL + MESSAGE + b"QUIT\r\n")
    client.end_input()
    assert heard(client) == []
    resolver.waiting.pop().callback(None)
    assert heard(client) == [*TAKEN, "221 2.0.0"]
    assert len(rig.stored) == 1
    assert is_forgotten(rig, client)


def test_without_quit_the_last_answer_is_the_end(rig: SmtpRig) -> None:
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.send(MAIL + MESSAGE + b"NOOP\r\nQUI")
    client.end_input()
    resolver.waiting.pop().callback(None)
    assert heard(client) == [*TAKEN, "250 2.0.0"]
    assert is_forgotten(rig, client)


def test_a_content_without_its_end_is_thrown_away_after_a_check(rig: SmtpRig) -> None:
    for content in (b"Subject: half\r\n\r\nHel", b"Subject: half\r\n.\r"):
        resolver = rig.slow_down_dns()
        client = rig.greeted()
        client.send(MAIL + content)
        client.end_input()
        resolver.waiting.pop().callback(None)
        assert heard(client) == TAKEN[:3]
        assert is_forgotten(rig, client)
    assert rig.stored == []


def test_a_chunk_that_is_cut_short_is_thrown_away(rig: SmtpRig) -> None:
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.send(MAIL.replace(b"DATA", b"BDAT 9") + b"Subject: BDAT 100 LAST\r\nto few")
    client.end_input()
    resolver.waiting.pop().callback(None)
    assert heard(client)[:2] == TAKEN[:2]
    assert rig.stored == []
    assert is_forgotten(rig, client)


def test_a_large_content_that_is_being_written_is_answered_or_thrown_away(rig: SmtpRig) -> None:
    for end, wanted in ((b"\r\n.\r\n", TAKEN), (b"", TAKEN[:3])):
        client = rig.greeted()
        rig.bodies.is_held = True
        client.send(MAIL + b"x" * 500 + b"\r\n" + (b"y" * 98 + b"\r\n") * 1000 + end)
        client.end_input()
        rig.bodies.is_held = False
        rig.bodies.release()
        assert heard(client) == wanted
        assert is_forgotten(rig, client)
    assert len(rig.stored) == 1
    assert len(rig.body_files()) == 1


def test_thousands_of_commands_are_answered_to_the_last(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.send(b"NOOP\r\n" * 3000)
    client.end_input()
    assert heard(client) == ["250 2.0.0"] * 3000
    assert is_forgotten(rig, client)


def test_a_client_that_does_not_read_is_answered_when_it_does(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.connection.pauseProducing()
    client.send(b"NOOP\r\nHELP\r\n")
    client.end_input()
    assert heard(client) == []
    assert not client.is_lost
    client.connection.resumeProducing()
    assert len(heard(client)) == 2
    assert is_forgotten(rig, client)


def test_a_client_that_never_reads_is_cut_in_its_time(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.connection.pauseProducing()
    client.send(b"NOOP\r\n")
    client.end_input()
    rig.advance(302)
    client.close_with_server()
    assert is_forgotten(rig, client)


def test_its_end_is_not_awaited_again_after_a_full_buffer(rig: SmtpRig) -> None:
    """Reading goes on when the buffer is emptied; once the end was read, it must not."""
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.send(MAIL[:28] + b"NOOP\r\n" * 11_000)
    assert client.wire.producerState == "paused"
    client.connection._has_heard_all = True
    resolver.waiting.pop().callback(None)
    assert len(heard(client)) == 11_001
    assert client.wire.producerState == "paused"


def test_who_says_nothing_does_not_wait_for_its_greeting(tmp_path: Path) -> None:
    rig = slow_greeting(tmp_path)
    client = rig.connect()
    client.end_input()
    assert is_forgotten(rig, client)
    rig.resolver.waiting.pop().callback(None)
    assert client.hear() == []


def test_who_talks_before_its_greeting_is_greeted_and_answered(tmp_path: Path) -> None:
    for data, wanted in ((b"HELO a.example\r\nNOOP\r\n", ["250 mail.", "250 2.0.0"]), (b"HEL", [])):
        folder = tmp_path / str(len(data))
        folder.mkdir()
        rig = slow_greeting(folder)
        client = rig.connect()
        client.send(data)
        client.end_input()
        assert not client.is_lost
        while rig.resolver.waiting:
            rig.resolver.waiting.pop().callback(None)
        assert heard(client) == ["220 mail.", *wanted]
        assert is_forgotten(rig, client)


def slow_greeting(folder: Path) -> SmtpRig:
    rig = make_rig(folder, limits=ClientLimits(0, 0, 0, client_must_have_ptr=True))
    rig.resolver.names[STRANGER] = ["stranger.example"]
    rig.resolver.is_slow = True
    return rig


def test_over_lmtp_each_recipient_is_answered(tmp_path: Path) -> None:
    rig = make_rig(tmp_path, session={"is_lmtp": True})
    client = rig.connect()
    client.say("LHLO client.example")
    rig.database.is_held = True
    client.send(MAIL.replace(b"DATA", b"RCPT TO:<bert@example.org>\r\nDATA") + MESSAGE)
    client.end_input()
    rig.database.release()
    assert heard(client) == ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354 Send ", "250 2.0.0", "250 2.0.0"]
    assert client.is_lost
    assert rig.factory.live == set()


def test_starttls_is_no_use_any_more(tmp_path: Path) -> None:
    rig = make_rig(tmp_path, session={"offers_starttls": True})
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.send(MAIL[:28] + b"RSET\r\nSTARTTLS\r\nNOOP\r\n")
    client.end_input()
    resolver.waiting.pop().callback(None)
    assert heard(client) == ["250 2.1.0", "250 2.0.0", "220 2.0.0"]
    assert client.wire.tls_context is None
    assert is_forgotten(rig, client)


def test_a_connection_that_breaks_while_it_waits_is_forgotten(rig: SmtpRig) -> None:
    resolver = rig.slow_down_dns()
    client = rig.greeted()
    client.send(MAIL + MESSAGE)
    client.end_input()
    client.lose()
    assert rig.factory.live == set()
    assert rig.ledger.connections.count(STRANGER) == 0
    resolver.waiting.pop().callback(None)
    assert rig.stored == []


def test_shutdown_waits_for_its_answer_and_no_longer(rig: SmtpRig) -> None:
    client = rig.greeted()
    rig.database.is_held = True
    client.send(MAIL + MESSAGE + b"NOOP\r\n")
    client.end_input()
    drained = rig.factory.drain()
    assert not drained.called
    rig.database.release()
    assert heard(client)[3] == TAKEN[3]
    assert is_forgotten(rig, client)
    result_of(drained)


def test_an_end_that_comes_while_we_close_changes_nothing(rig: SmtpRig) -> None:
    client = rig.greeted()
    client.keeps_line = True
    client.send(b"QUIT\r\n")
    client.end_input()
    assert heard(client) == ["221 2.0.0"]
    assert client.wire.disconnecting
