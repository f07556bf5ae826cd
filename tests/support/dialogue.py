r"""Plays dialogue files: what the client says, what the server answers, line by line.

A file of tests/dialogues/ is text; `#` begins a comment line. Then:

    GIVEN max_failed_commands = 2        a setting of the server
    GIVEN encrypted                      TLS is on from the start; likewise `plain passwords`
    GIVEN RCPT <a@b.example> -> 450 4.7.1 text   what reception answers; likewise MAIL <…>, CONTENT, CONNECT,
                                         LOGIN user password. Without one it says yes (LOGIN: no)
    C: EHLO client.example               the client sends this line and CRLF
    C= one\r\n.\r\ntwo                    the client sends exactly this; \r \n \t \0 \xff \\ are escapes
    S: 250 2.0.0 Ok                      the server answers exactly this line; … at its end = and any more;
                                         (ID) at its end = the id of a decision
    S= one\xe4                           the same with the escapes of C=
    TLS                                  both start TLS
    EVENT TransactionAborted()           (sessions only) the last event that the session told
    CLOSED                               the server has closed and said nothing more; the last line of a file

{x*2048} in a C line is 2048 times x. C lines that follow one another go out in one piece.

`play` needs a `Peer`: `SessionPeer` here, a socket in tests/e2e.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import attrs

from kms.domain import reply as replies
from kms.domain.reply import Reply
from kms.domain.scram import make_fake_verifier
from kms.domain.status import EnhancedStatus
from kms.protocol.smtp_events import (
    ContentEnded,
    ContentReceived,
    ContentRefused,
    Event,
    LoginOffered,
    RecipientOffered,
    SenderOffered,
    VerifierWanted,
)
from kms.protocol.smtp_server import BareNewlines, SmtpServerSession, SmtpServerSettings

DIALOGUES = Path(__file__).parent.parent / "dialogues"
HOSTNAME = "mail.example.org"
VERIFIER = make_fake_verifier(b"of the tests", "everybody", 4096)

_REPEATED = re.compile(rb"\{(.)\*(\d+)\}")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|(.))")
_PLAIN_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_DECISION_ID = re.compile(rb"\([0-9A-Z]{6}\)$")
_REPLY = re.compile(r"(\d{3}) (?:([245]\.\d{1,3}\.\d{1,3}) )?(.*)")


class DialogueError(AssertionError):
    """The server said something else, or the file is wrong; names the line of the file."""


@attrs.frozen
class Step:
    """One line of the file after the GIVENs.

    Attributes:
        line_number: of the file.
        kind: "C", "S", "TLS", "EVENT" or "CLOSED".
        data: what to send; what to expect; the event's repr.
    """

    line_number: int
    kind: str
    data: bytes = b""


@attrs.frozen
class Dialogue:
    """A file, read.

    Attributes:
        givens: the text behind each GIVEN.
        steps: in order.
    """

    givens: tuple[str, ...]
    steps: tuple[Step, ...]


class Peer(Protocol):
    """The server as a client sees it."""

    def send(self, data: bytes) -> None:
        """Send to the server."""

    def read_line(self) -> bytes | None:
        """Await the next line, without its CRLF; None when none comes, or the connection is closed."""

    def start_tls(self) -> None:
        """Start TLS, as the client's side of it."""

    def is_closed(self) -> bool:
        """The server has closed the connection, and everything it said was read."""

    def last_event(self) -> str | None:
        """The last event as its repr; None where none can be seen."""


def parse(text: str) -> Dialogue:
    """Read the text of a dialogue file."""
    givens, steps = [], []
    for number, line in enumerate(text.splitlines(), 1):
        word, _, rest = line.partition(" ")
        match word:
            case "" | "#":
                pass
            case "GIVEN":
                givens.append(rest)
            case "C:":
                steps.append(Step(number, "C", _expand(rest.encode()) + b"\r\n"))
            case "C=":
                steps.append(Step(number, "C", _expand(unescape(rest.encode()))))
            case "S=":
                steps.append(Step(number, "S", unescape(rest.encode())))
            case "S:" | "EVENT" | "TLS" | "CLOSED":
                steps.append(Step(number, word.rstrip(":"), rest.encode()))
            case _:
                raise DialogueError(f"line {number}: what is {word!r}?")
    return Dialogue(tuple(givens), tuple(steps))


def read(name: str) -> Dialogue:
    """Read tests/dialogues/`name`."""
    return parse((DIALOGUES / name).read_text(encoding="utf-8"))


def play(dialogue: Dialogue, peer: Peer, *, split_octets: int = 0) -> None:
    """Play it.

    Args:
        dialogue: what to say and to hear.
        peer: who answers.
        split_octets: how many octets the client sends at a time; 0 = as many as it can.

    Raises:
        DialogueError: the server says anything else.
    """
    unsent = b""
    for step in dialogue.steps:
        if step.kind == "C":
            unsent += step.data
            continue
        for start in range(0, len(unsent), split_octets or len(unsent) or 1):
            peer.send(unsent[start : start + (split_octets or len(unsent))])
        unsent = b""
        _check(step, peer)
    if not dialogue.steps or dialogue.steps[-1].kind != "CLOSED":
        raise DialogueError("the file must end with CLOSED")


def _check(step: Step, peer: Peer) -> None:
    match step.kind:
        case "TLS":
            peer.start_tls()
        case "CLOSED":
            heard = peer.read_line()
            if heard is not None or not peer.is_closed():
                raise DialogueError(f"line {step.line_number}: not closed; the server said {heard!r}")
        case "EVENT":
            event = peer.last_event()
            if event is not None and event != step.data.decode():
                raise DialogueError(f"line {step.line_number}: the last event was {event}")
        case _:
            heard = peer.read_line()
            if heard is None or not _matches(step.data, heard):
                raise DialogueError(f"line {step.line_number}: the server said {heard!r}, not {step.data!r}")


def _matches(expected: bytes, heard: bytes) -> bool:
    more = "…".encode()
    if expected.endswith(more):
        return heard.startswith(expected.removesuffix(more))
    if expected.endswith(b"(ID)"):
        return _DECISION_ID.sub(b"(ID)", heard) == expected
    return heard == expected


def _expand(data: bytes) -> bytes:
    return _REPEATED.sub(lambda found: found[1] * int(found[2]), data)


def unescape(data: bytes) -> bytes:
    r"""Read \r \n \t \0 \xff and \\."""
    return _ESCAPE.sub(
        lambda found: bytes([int(found[1], 16)]) if found[1] else _PLAIN_ESCAPES[found[2]], data
    )


def parse_reply(text: str) -> Reply:
    """Read "450 4.7.1 text"."""
    found = _REPLY.fullmatch(text)
    if not found:
        raise DialogueError(f"no reply: {text!r}")
    return Reply(int(found[1]), EnhancedStatus.parse(found[2]) if found[2] else None, found[3])


@attrs.define
class ScriptedReception:
    """Answers a session's questions from a table; keeps what the session told.

    Attributes:
        answers: by question, such as "RCPT <a@b.example>", "LOGIN anna secret", "CONTENT".
        events: all of them, in order, with the parts of each content made one.
        contents: those that ended, whole.
    """

    answers: dict[str, Reply] = attrs.field(factory=dict)
    events: list[Event] = attrs.field(factory=list)
    contents: list[bytes] = attrs.field(factory=list)
    _parts: list[bytes] = attrs.field(factory=list)

    def serve(self, session: SmtpServerSession) -> None:
        """Take all events that there are, and answer what is to be answered."""
        while (event := session.next_event()) is not None:
            self.take(event)
            answer = self.answer(event)
            if answer is not None:
                session.reply(answer)

    def take(self, event: Event) -> None:
        """Keep an event; the parts of a content only as part of the whole."""
        match event:
            case ContentReceived(data):
                self._parts.append(data)
                return
            case ContentEnded(data):
                event = ContentEnded(b"".join([*self._parts, data]))
                self.contents.append(event.data)
                self._parts.clear()
            case ContentRefused():
                self._parts.clear()
        self.events.append(event)

    def answer(self, event: Event) -> Reply | None:
        """Look the answer up."""
        match event:
            case VerifierWanted(challenge=challenge):
                return challenge(VERIFIER)
            case SenderOffered(path):
                return self.answers.get(f"MAIL <{path or ''}>", replies.SENDER_OK)
            case RecipientOffered(path):
                return self.answers.get(f"RCPT <{path}>", replies.RECIPIENT_OK)
            case ContentEnded():
                return self.answers.get("CONTENT", replies.queued("1"))
            case ContentRefused(reply):
                return reply
            case LoginOffered(user=user, proof=password):
                return self.answers.get(f"LOGIN {user} {password}", replies.AUTHENTICATION_FAILED)
        return None


class SessionPeer:
    """A session and a scripted reception, made as the GIVENs say; no network."""

    def __init__(self, givens: Iterable[str] = ()) -> None:
        settings: dict[str, Any] = {}
        flags = {"encrypted": False, "plain passwords": False}
        self.reception = ScriptedReception()
        for given in givens:
            question, arrow, answer = given.partition(" -> ")
            name, equals, value = given.partition(" = ")
            if arrow:
                self.reception.answers[question] = parse_reply(answer)
            elif equals:
                settings[name] = _convert_setting(name, value)
            else:
                flags[given] = True
        self.session = SmtpServerSession(
            SmtpServerSettings(HOSTNAME, **settings),
            is_encrypted=flags["encrypted"],
            may_send_plain_passwords=flags["plain passwords"],
        )
        self.session.greet(self.reception.answers.get("CONNECT", replies.greeting(HOSTNAME)))
        self._unread = b""

    def send(self, data: bytes) -> None:
        self.session.receive_data(data)
        self.reception.serve(self.session)

    def read_line(self) -> bytes | None:
        self._unread += self.session.data_to_send()
        if not self._unread:
            return None
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line

    def start_tls(self) -> None:
        self.session.tls_started()

    def is_closed(self) -> bool:
        return self.session.is_closing and not self._unread

    def last_event(self) -> str | None:
        return repr(self.reception.events[-1]) if self.reception.events else "none"


def _convert_setting(name: str, value: str) -> object:
    match name:
        case "bare_newlines":
            return BareNewlines(value)
        case "mechanisms":
            return tuple(value.split())
        case "max_message_octets" | "max_failed_commands" | "max_recipients":
            return int(value)
        case _:
            return value == "yes"
