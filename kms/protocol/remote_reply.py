"""Replies of a remote server, read from whatever octets it sends (RFC 5321 4.2).

Promises: what is kept of a server that never ends its line or its reply is bounded; what becomes a `Reply` is
printable ASCII, whatever was sent, so no log and no report can be forged with it.

Flow: octets from the transport -> `ReplyReader` -> `RemoteReply` -> the client session, which makes a `Reply`
only of what becomes somebody's outcome.
"""

from __future__ import annotations

import attrs

from kms.domain.reply import Reply
from kms.domain.status import EnhancedStatus

MAX_LINE_OCTETS = 8 * 1024
MAX_LINES = 100
MAX_TEXT_OCTETS = 4 * 1024

_SAFE = bytes(octet if 32 <= octet < 127 else ord("?") for octet in range(256))


class ReplyError(ValueError):
    """The server sent what is no reply; the message quotes it, cleaned."""


def clean(octets: bytes) -> str:
    """Make `octets` printable ASCII: every other octet becomes "?"."""
    return octets.translate(_SAFE).decode("ascii")


@attrs.define
class RemoteReply:
    """One reply as it came.

    Attributes:
        code: 200 to 599.
        lines: the text of each line, without code and separator, not cleaned.
    """

    code: int
    lines: list[bytes]

    def to_reply(self, klass: int | None = None) -> Reply:
        """Make the value that outcomes, logs and reports carry.

        The enhanced status is that of the text; where it has none it is made up from the code, and where it
        contradicts the code, the code's class wins (RFC 2034 4).

        Args:
            klass: 4 makes a permanent reply a transient one (RFC 5321 4.5.3.1.10); None leaves it as it came.
        """
        texts = [clean(line) for line in self.lines]
        first_digit = klass or self.code // 100
        status = EnhancedStatus.find_at_start(texts[-1])
        if status is None:
            status = EnhancedStatus(first_digit, 0, 0)
        else:
            texts = [_without_status(text) for text in texts]
            status = EnhancedStatus(first_digit, status.subject, status.detail)
        return Reply(first_digit * 100 + self.code % 100, status, "\n".join(texts)[:MAX_TEXT_OCTETS])

    def __str__(self) -> str:
        return f"{self.code} {clean(b' '.join(self.lines))}"[:MAX_TEXT_OCTETS]


def _without_status(text: str) -> str:
    return text.partition(" ")[2] if EnhancedStatus.find_at_start(text) else text


class ReplyReader:
    """Cuts a stream of octets into replies."""

    __slots__ = ("_buffer", "_code", "_lines", "_start")

    def __init__(self) -> None:
        self._buffer = b""
        self._start = 0
        self._code = 0
        self._lines: list[bytes] = []

    @property
    def is_empty(self) -> bool:
        """Nothing has been received that is not part of a reply already given out."""
        return self._start == len(self._buffer) and not self._lines

    def feed(self, data: bytes) -> None:
        """Take the octets that came."""
        self._buffer = self._buffer[self._start :] + data if self._start < len(self._buffer) else data
        self._start = 0

    def next_reply(self) -> RemoteReply | None:
        """Give the next whole reply; None when more octets are needed.

        Raises:
            ReplyError: what came is no reply, or too long for one; nothing more can be read from this server.
        """
        while (end := self._buffer.find(b"\n", self._start)) >= 0:
            line = self._buffer[self._start : end]
            self._start = end + 1
            if self._take_line(line.removesuffix(b"\r")):
                reply = RemoteReply(self._code, self._lines)
                self._lines = []
                return reply
        if len(self._buffer) - self._start > MAX_LINE_OCTETS:
            raise ReplyError("a reply line without end")
        return None

    def _take_line(self, line: bytes) -> bool:
        digits = line[:3]
        if len(line) > MAX_LINE_OCTETS or len(self._lines) >= MAX_LINES:
            raise ReplyError("a reply too long")
        if len(digits) < 3 or not digits.isdigit() or line[3:4] not in (b" ", b"-", b""):
            raise ReplyError(f"not a reply: {clean(line[:80])}")
        code = int(digits)
        if not 200 <= code < 600 or (self._lines and code != self._code):
            raise ReplyError(f"not a reply: {clean(line[:80])}")
        self._code = code
        self._lines.append(line[4:])
        return line[3:4] != b"-"


def quote(reply: Reply, remark: object) -> Reply:
    """Say `reply` with its reason: the server's own words, or what is wrong with them."""
    return Reply(reply.code, reply.status, f"{reply.text}: {remark}")


def read_capabilities(reply: RemoteReply) -> dict[str, str]:
    """Read the extensions of an EHLO answer (RFC 5321 4.1.1.1), the old form `AUTH=PLAIN` included.

    Returns:
        Parameters by keyword, keywords in upper case. The first line is the server's name, and no keyword.
    """
    capabilities: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, _, parameters = clean(line).strip().replace("=", " ", 1).partition(" ")
        name = keyword.upper()
        known = capabilities.get(name)
        capabilities[name] = f"{known} {parameters}" if known else parameters.strip()
    return capabilities
