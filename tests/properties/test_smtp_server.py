"""Whatever comes, and however it is cut: the same replies, the same events, and never an exception."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kms.domain import reply as replies
from kms.protocol.smtp_events import Event, TlsRequested
from kms.protocol.smtp_server import BareNewlines, SmtpServerSession, SmtpServerSettings
from tests.support.dialogue import ScriptedReception

SETTINGS = [
    SmtpServerSettings(
        "mail.example.org",
        max_message_octets=limit,
        max_failed_commands=failed,
        bare_newlines=bare,
        mechanisms=("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"),
        make_nonce=lambda: "fresh",
    )
    for limit in (0, 30)
    for failed in (0, 3)
    for bare in BareNewlines
]
SETTINGS.append(SmtpServerSettings("mail.example.org", is_lmtp=True, offers_dsn=True))
ANSWERS = {
    "MAIL <later@client.example>": replies.LOW_DISK_SPACE,
    "RCPT <jürgen@example.org>": replies.relaying_denied("jürgen@example.org"),
    "RCPT <nobody@example.org>": replies.UNKNOWN_RECIPIENT,
    "RCPT <far@elsewhere.example>": replies.relaying_denied("far@elsewhere.example"),
    "LOGIN anna secret": replies.AUTHENTICATED,
    "CONTENT": replies.queued("1"),
}
LINES = [
    b"EHLO client.example",
    b"HELO client.example",
    b"LHLO client.example",
    b"MAIL FROM:<> RET=FULL ENVID=a+2Bb",
    b"RCPT TO:<bert@example.org> NOTIFY=NEVER ORCPT=rfc822;b",
    b"MAIL FROM:<anna@client.example>",
    b"MAIL FROM:<later@client.example> SIZE=5",
    b"MAIL FROM:<> BODY=8BITMIME",
    b"MAIL FROM:<j\xc3\xbcrgen@cl\xc3\xbcb.example> SMTPUTF8",
    b"RCPT TO:<j\xc3\xbcrgen@example.org>",
    b"VRFY j\xc3\xbcrgen SMTPUTF8",
    b"RCPT TO:<bert@example.org>",
    b"RCPT TO:<nobody@example.org>",
    b"RCPT TO:<far@elsewhere.example>",
    b'RCPT TO:<"b\\"t"@example.org> X=1',
    b"DATA",
    b".",
    b"..",
    b".x",
    b"text\xff",
    b"x" * 40,
    b"x" * 2049,
    b"BDAT 4",
    b"BDAT 9",
    b"BDAT 0 LAST",
    b"BDAT 6 last",
    b"BDAT 99",
    b"AUTH PLAIN AGFubmEAc2VjcmV0",
    b"AUTH PLAIN AGFubmEAd3Jvbmc=",
    b"AUTH LOGIN",
    b"AUTH SCRAM-SHA-256 biwsbj1hbm5hLHI9YWJj",
    b"AUTH SCRAM-SHA-256",
    b"biwsbj1hbm5hLHI9YWJj",
    b"Yz1iaXdzLHI9YWJjZnJlc2gscD1BQUFB",
    b"AUTH CRAM-MD5",
    b"YW5uYSAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA==",
    b"YW5uYQ==",
    b"*",
    b"RSET",
    b"NOOP",
    b"VRFY anna",
    b"STARTTLS",
    b"QUIT",
    b"",
    b"GET / HTTP/1.1",
]
ENDS = [b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b""]

Streams = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)).map(b"".join),
        st.sampled_from(
            [
                b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<bert@example.org>\r\nDATA\r\n",
                b"\r\n.\r\n",
                b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<bert@example.org>\r\nBDAT 3\r\nab\r",
                b"LHLO c.example\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<bert@example.org>\r\n" * 2 + b"DATA\r\n",
                b"BDAT 5\r\n\ncd\r\n",
                b"BDAT 2 LAST\r\nxy",
                b"BDAT 10 LAST\r\nNOOP\r\nRSET",
            ]
        ),
        st.binary(max_size=12),
    ),
    max_size=25,
).map(b"".join)


def run(
    stream: bytes, cuts: list[int], server_settings: SmtpServerSettings, *, is_encrypted: bool = True
) -> tuple[bytes, list[Event], bool]:
    """Give all replies, all events (contents whole) and whether it is closing."""
    session = SmtpServerSession(server_settings, is_encrypted=is_encrypted)
    reception = ScriptedReception(dict(ANSWERS))
    session.greet(replies.greeting("mail.example.org"))
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        session.receive_data(stream[start:end])
        reception.serve(session)
        assert session.buffered_octets <= 2048 + 12288
    return session.data_to_send(), reception.events, session.is_closing


@settings(max_examples=400, deadline=None)
@given(
    stream=Streams, cuts=st.lists(st.integers(0, 400), max_size=8), server_settings=st.sampled_from(SETTINGS)
)
def test_any_split_of_the_octets_gives_the_same_session(
    stream: bytes, cuts: list[int], server_settings: SmtpServerSettings
) -> None:
    assert run(stream, cuts, server_settings) == run(stream, [], server_settings)


@settings(max_examples=100, deadline=None)
@given(stream=Streams, server_settings=st.sampled_from(SETTINGS))
def test_octet_by_octet_is_the_same_as_all_at_once(
    stream: bytes, server_settings: SmtpServerSettings
) -> None:
    assert run(stream, list(range(len(stream))), server_settings) == run(stream, [], server_settings)


@settings(max_examples=400, deadline=None)
@given(stream=st.one_of(st.binary(max_size=300), Streams), is_encrypted=st.booleans())
def test_garbage_is_answered_in_whole_short_lines_and_never_raises(stream: bytes, is_encrypted: bool) -> None:
    offering = SmtpServerSettings("mail.example.org", offers_starttls=True)

    said, events, _ = run(stream, [], offering, is_encrypted=is_encrypted)

    assert said.endswith(b"\r\n")
    for line in said.split(b"\r\n")[:-1]:
        assert line[:3].isdigit()
        assert line[3:4] in b" -"
        assert len(line) <= 510
        assert line.decode("utf-8").isprintable()
    assert events.count(TlsRequested()) <= 1


NEWLINES = [b"\n", b"\r", b"\r\n", b"\r\r", b"\n\r", b"\r\r\n", b"\0", b"\r\0\n", b"\x85", b" \r\n"]


@pytest.mark.parametrize(
    ("before", "after"),
    [pair for pair in itertools.product(NEWLINES, repeat=2) if b"\r\n.\r\n" not in b".".join(pair)],
)
def test_no_newlines_around_a_dot_smuggle_a_second_message(before: bytes, after: bytes) -> None:
    start = b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<bert@example.org>\r\nDATA\r\n"
    inner = b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<bert@example.org>\r\nDATA\r\nevil\r\n"
    stream = start + b"good" + before + b"." + after + inner + b".\r\nNOOP\r\n"
    for bare in BareNewlines:
        server_settings = SmtpServerSettings("mail.example.org", bare_newlines=bare)
        whole = run(stream, [], server_settings)
        assert len([event for event in whole[1] if type(event).__name__ == "SenderOffered"]) == 1
        assert whole[0].endswith(b"250 2.0.0 Ok\r\n")
        for event in whole[1]:
            data = getattr(event, "data", b"")
            assert data.count(b"\n") == data.count(b"\r") == data.count(b"\r\n")
        for cut in range(len(start), len(start) + 20):
            assert run(stream, [cut], server_settings) == whole
