from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from kms.domain.address import Mailbox
from kms.domain.content import Content, FileContent, InlineContent
from kms.domain.envelope import Envelope, Recipient
from kms.domain.outcome import Deferred, Delivered, Failed
from kms.protocol.client_events import ContentWanted, SmtpClientSettings, TransactionEnded
from kms.protocol.content_encoder import ContentEncoder, encode_whole
from kms.protocol.outgoing_message import OutgoingMessage
from kms.protocol.remote_reply import ReplyError, ReplyReader
from kms.protocol.smtp_client import SmtpClientSession
from kms.protocol.smtp_server import SmtpServerSettings
from tests.support.wire import CLOSE, ScriptedServer, SessionServer, join

PIECES = st.lists(
    st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"x", b"\0", b"MAIL FROM:<e@x>"]), max_size=20
)
SAID = st.sampled_from(
    [
        "250 ok",
        "354 go",
        "450 no",
        "452 4.5.3 many",
        "550 no",
        "552 x",
        "421 bye",
        "junk",
        CLOSE,
        "200-a\r\n200 b",
    ]
)
SCRIPTS = st.dictionaries(
    st.sampled_from(["MAIL", "RCPT", "DATA", ".", "RSET"]), st.lists(SAID, max_size=4), max_size=4
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@settings(max_examples=300)
@given(PIECES.map(b"".join), st.lists(st.integers(0, 200), max_size=6))
def test_a_content_leaves_the_same_however_it_is_cut(data: bytes, places: list[int]) -> None:
    encoder = ContentEncoder()
    sent = b"".join([encoder.encode(piece) for piece in cut(data, places)]) + encoder.finish()
    assert sent == encode_whole(data)


@settings(max_examples=300)
@given(PIECES.map(b"".join))
def test_a_content_ends_once_and_arrives_as_it_was(data: bytes) -> None:
    sent = b"\r\n" + encode_whole(data)
    assert sent.find(b"\r\n.\r\n") == len(sent) - 5
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", sent)
    arrived = sent[:-3].replace(b"\r\n.", b"\r\n")[2:]
    expected = re.sub(rb"\r\n|\r|\n", b"\r\n", data)
    assert arrived == (expected if expected.endswith(b"\r\n") or not expected else expected + b"\r\n")


@settings(max_examples=100)
@given(PIECES.map(b"".join), st.booleans())
def test_what_kms_sends_kms_receives(data: bytes, has_file: bool) -> None:
    data = re.sub(rb"\r\n|\r|\n", b"\r\n", data + b"\r\n")
    server = SessionServer(SmtpServerSettings("mx.test"))
    session = SmtpClientSession(SmtpClientSettings("kms.test", "mx"))
    join(session, server)
    session.start(_message(1, FileContent("x", len(data)) if has_file else InlineContent(data)))
    if has_file:
        assert join(session, server) == [ContentWanted()]
        for octet in data:
            session.send_content(bytes([octet]))
        session.end_content()
    (event,) = join(session, server)
    assert isinstance(event.outcomes[1], Delivered)
    assert server.received[0].content == data


@settings(max_examples=200)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_replies_are_the_same_however_they_are_cut(data: bytes, places: list[int]) -> None:
    def read(pieces: list[bytes]) -> list[str]:
        reader, found = ReplyReader(), []
        try:
            for piece in pieces:
                reader.feed(piece)
                while reply := reader.next_reply():
                    found.append(str(reply))
        except ReplyError:
            found.append("error")
        return found

    data = b"250-ab\r\n250 c\r\n421 x\n550-" + data + b"\r\n550 y\r\n"
    assert read(cut(data, places)) == read([data])


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_garbage_never_raises_and_never_delivers(pieces: list[bytes], is_ready: bool) -> None:
    session = SmtpClientSession(SmtpClientSettings("kms.test", "mx"))
    if is_ready:
        join(session, ScriptedServer())
        session.start(_message(2))
        session.data_to_send()
    for piece in pieces:
        session.receive_data(piece)
    session.lose()
    events = []
    while event := session.next_event():
        events.append(event)
    assert session.is_over
    for event in events:
        if isinstance(event, TransactionEnded):
            assert set(event.outcomes) == {1, 2}
            assert not any(isinstance(outcome, Delivered) for outcome in event.outcomes.values())


@settings(max_examples=400)
@given(SCRIPTS, st.booleans(), st.booleans(), st.integers(1, 4))
def test_whatever_a_server_says_each_recipient_gets_one_true_outcome(
    script: dict[str, list[str]], has_pipelining: bool, is_lmtp: bool, count: int
) -> None:
    extensions = ("PIPELINING",) if has_pipelining else ()
    server = ScriptedServer(extensions=extensions, replies=script, is_lmtp=is_lmtp)
    session = SmtpClientSession(SmtpClientSettings("kms.test", "mx", is_lmtp=is_lmtp))
    join(session, server)
    for _ in range(2):
        if not session.is_ready:
            return
        taken_before = len(server.received)
        session.start(_message(count))
        event = join(session, server)[0]
        assert isinstance(event, TransactionEnded)
        assert set(event.outcomes) == set(range(1, count + 1))
        taken = [path for mail in server.received[taken_before:] for path in mail.recipients]
        for number, outcome in event.outcomes.items():
            times = taken.count(f"<r{number}@far.test>")
            assert times <= 1
            if isinstance(outcome, Delivered) and not is_lmtp:
                assert times == 1
            if isinstance(outcome, Failed):
                assert outcome.reply.is_permanent
            if isinstance(outcome, Deferred):
                assert outcome.reply.is_transient


def _message(count: int, content: Content = InlineContent(b"x\r\n")) -> OutgoingMessage:  # noqa: B008
    mailboxes = [(number, Mailbox(f"r{number}", "far.test")) for number in range(1, count + 1)]
    recipients = tuple(Recipient(number, mailbox, mailbox) for number, mailbox in mailboxes)
    message, _ = OutgoingMessage.prepare(Envelope(None, recipients), recipients, content)
    return message
