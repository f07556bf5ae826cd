from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from kms.domain.scram import make_fake_verifier
from kms.protocol.pop3_content import MessageEncoder
from kms.protocol.pop3_events import DeletionRequested, LoginOffered, MessageRequested, Pop3ServerSettings
from kms.protocol.pop3_server import Pop3ServerSession
from kms.protocol.sasl import VerifierWanted, encode_challenge
from kms.store.maildir_listing import _measure

stored = st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\n\n", b"A: b\n"]), max_size=30).map(
    b"".join
)
cuts = st.lists(st.integers(0, 80), max_size=6)


def pieces(data: bytes, where: list[int]) -> list[bytes]:
    borders = [0, *sorted(min(cut, len(data)) for cut in where), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


def encode(chunks: list[bytes], body_lines: int | None) -> bytes:
    encoder = MessageEncoder(body_lines)
    sent = b""
    for chunk in chunks:
        sent += encoder.feed(chunk)
        if encoder.is_complete:
            break
    return sent + encoder.finish()


def as_lines(data: bytes) -> list[bytes]:
    """Do line by line what the encoder does in bulk."""
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    return lines if lines[-1] else lines[:-1]


def stuffed(lines: list[bytes]) -> bytes:
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"


@settings(max_examples=300, deadline=None)
@given(stored, cuts)
def test_any_cut_of_a_message_sends_the_same_octets(data: bytes, where: list[int]) -> None:
    assert encode(pieces(data, where), None) == stuffed(as_lines(data))


@settings(max_examples=300, deadline=None)
@given(stored, cuts, st.integers(0, 4))
def test_any_cut_of_a_message_has_the_same_top(data: bytes, where: list[int], count: int) -> None:
    lines = as_lines(data)
    wanted = lines[: lines.index(b"") + 1 + count] if b"" in lines else lines
    assert encode(pieces(data, where), count) == stuffed(wanted)


@settings(max_examples=100, deadline=None)
@given(stored)
def test_the_size_that_is_listed_is_the_size_that_is_sent(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "new").mkdir()
        (Path(folder) / "new" / "1.a.h").write_bytes(data)
        sent = b"".join(line + b"\r\n" for line in as_lines(data))
        assert _measure(folder, "new/1.a.h") == len(sent)


@attrs.frozen
class Listed:
    octets: int
    uidl: str


SETTINGS = Pop3ServerSettings(
    "mx.test", mechanisms=("SCRAM-SHA-256", "PLAIN"), offers_apop=True, make_nonce=lambda: "fresh"
)
VERIFIER = make_fake_verifier(b"of the tests", "everybody", 4096)


def play(chunks: list[bytes]) -> bytes:
    session = Pop3ServerSession(SETTINGS, is_encrypted=True)
    sent = b""
    for chunk in chunks:
        session.receive_data(chunk)
        while (event := session.next_event()) is not None:
            match event:
                case VerifierWanted():
                    session.take_verifier(VERIFIER)
                case LoginOffered():
                    session.log_in((Listed(3, "a"), Listed(4, "b")))
                case MessageRequested():
                    session.send_content(b"A: b\n\n.\n", is_last=True)
                case DeletionRequested(numbers):
                    assert numbers
                    session.finish_update(True)
        sent += session.data_to_send()
    return sent


command = st.sampled_from(
    [b"USER joe", b"PASS x", b"STAT", b"LIST", b"UIDL 1", b"RETR 1", b"TOP 2 0", b"DELE 1", b"RSET", b"NOOP", b"CAPA",
     b"QUIT", b"AUTH PLAIN", b"AGEAYg==", b"AUTH PLAIN AGEAYg==", b"AUTH", b"UTF8", b"LANG", b"LANG en",
     b"AUTH SCRAM-SHA-256", b"biwsbj1hbm5hLHI9YWJj", b"Yz1iaXdzLHI9YWJjZnJlc2gscD1BQUFB",
     b"APOP joe 00000000000000000000000000000000", b"x" * 300, b"", b"\xff\0", b"*"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(command, max_size=15), st.lists(st.integers(0, 600), max_size=8))
def test_any_cut_of_the_commands_gives_the_same_replies(commands: list[bytes], where: list[int]) -> None:
    data = b"".join(line + b"\r\n" for line in commands)
    assert play(pieces(data, where)) == play([data])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=10))
def test_garbage_never_breaks_a_session(chunks: list[bytes]) -> None:
    play(chunks)


scram_text = st.text(st.sampled_from("nypc=,abr12=3D=2C\0\u00e9+/"), max_size=30)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(scram_text, st.just("n,,n=a,r=b"), st.just("c=biws,r=bfresh,p=AAAA")), max_size=4))
def test_no_message_of_scram_breaks_an_exchange(texts: list[str]) -> None:
    lines = [b"AUTH SCRAM-SHA-256", *(encode_challenge(text.encode()).encode() for text in texts), b"NOOP"]
    play([line + b"\r\n" for line in lines])
