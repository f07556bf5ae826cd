"""What a POP3 client that has not said UTF8 sees of a message whose header is in UTF-8 (RFC 6856 2.1, RFC 6858).

The stored message is not touched. In the surrogate text and names are encoded words; an address keeps its name,
and its domain as A-labels; a local part beyond ASCII, which such a client could not write to, gives place to one
in `.invalid`, and stands in the name. A field whose form has no place for encoded words comes as
`Downgraded-…` (RFC 6857 3). The body is as it is, and so is a header whose 8-bit octets are no UTF-8.

Promises: any cut into chunks gives the same octets; no more than 256 KiB are held back; time linear in the header.
Flow: pop3_transaction sends what comes out of a `HeaderDowngrader` through its encoder.
"""

from __future__ import annotations

import base64
import re
import urllib.parse

from kms.domain.address import AddressSyntaxError, normalise_domain

_MOST_HEADER_OCTETS = 256 * 1024
_WORD_OCTETS = 45  # as base64 within 75 characters (RFC 2047 2)
_NOBODY = "invalid@internationalized-address.invalid"

_END = re.compile(rb"(?:\A|\n)\r?\n")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:[^\n]*\n?(?:[ \t][^\n]*\n?)*")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_QUOTED = r'"(?:[^"\\]|\\.)*+\\?"?'  # also one that does not end, or the search would not be linear
_ADDRESS_PART = re.compile(_QUOTED + r'|<[^<>]*+>?|\((?:[^()\\]|\\.)*+\\?\)?|[^\s"<>(),;:]++|.', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)")
_PARAMETER = re.compile(r";\s*([!#$&+.^_`{|}~0-9A-Za-z-]+)\s*=\s*(" + _QUOTED + r"|[^\s;\"]*)")
_PHRASE = re.compile(r"(?:\x00[^\x00]*\x00\s*)+")

_OF_ADDRESSES = frozenset((
    "from", "sender", "reply-to", "to", "cc", "bcc", "resent-from", "resent-sender", "resent-reply-to",
    "resent-to", "resent-cc", "resent-bcc", "disposition-notification-to",
))  # fmt: skip
_OF_PARAMETERS = frozenset(("content-type", "content-disposition"))
_OF_ANOTHER_FORM = frozenset((
    "message-id", "in-reply-to", "references", "resent-message-id", "received", "date", "resent-date",
    "content-id", "content-transfer-encoding", "mime-version", "authentication-results", "dkim-signature",
    "list-id", "original-recipient", "return-path", "delivered-to", "x-envelope-to",
))  # fmt: skip


class HeaderDowngrader:
    """Gives a message, lines ended by LF or CRLF, with its header made ASCII.

    Attributes:
        added_octets: by how much it grew, each line end counted as two; known once anything was given.
    """

    __slots__ = ("_held", "_is_through", "added_octets")

    def __init__(self) -> None:
        self._held = b""
        self._is_through = False
        self.added_octets = 0

    def feed(self, data: bytes, is_last: bool) -> bytes:
        """Take a chunk and give what is certain; nothing while the header has not come whole."""
        if self._is_through:
            return data
        data = self._held + data
        found = _END.search(data, max(0, len(self._held) - 2))
        if found is None and not is_last and len(data) <= _MOST_HEADER_OCTETS:
            self._held = data
            return b""
        self._is_through, self._held = True, b""
        end = len(data) if found is None else found.end()
        header = data[:end]
        if header.isascii():
            return data
        made = downgrade_header(header) if end <= _MOST_HEADER_OCTETS else _NOT_ASCII.sub(b"?", header)
        self.added_octets = _measure(made) - _measure(header)
        return made + data[end:]


def _measure(data: bytes) -> int:
    return len(data) + data.count(b"\n") - data.count(b"\r\n")


def downgrade_header(header: bytes) -> bytes:
    """Make a header section ASCII; fields that are ASCII, or no UTF-8, stay what they are."""
    return _FIELD.sub(_downgrade_field, header)


def _downgrade_field(found: re.Match[bytes]) -> bytes:
    field = found[0]
    if field.isascii():
        return field
    try:
        text = field.decode("utf-8")
    except UnicodeDecodeError:
        return field
    name, _, value = text.partition(":")
    newline = "\r\n" if text.endswith("\r\n") else "\n" if text.endswith("\n") else ""
    value = " ".join(value.replace("\0", "?").split())
    kind = name.strip().lower()
    if kind in _OF_ADDRESSES:
        made = f"{name}: {_downgrade_addresses(value)}"
    elif kind in _OF_PARAMETERS:
        made = f"{name}: {_PARAMETER.sub(_downgrade_parameter, value)}"
    elif kind in _OF_ANOTHER_FORM:
        made = f"Downgraded-{name}: {_encode(value)}"
    else:
        made = f"{name}: {_encode(value)}"
    folded = made.replace("\n", newline or "\n") + newline
    return _NOT_ASCII.sub(b"?", folded.encode("utf-8"))


def _encode(text: str) -> str:
    """Write text as encoded words, one a line."""
    words, word = [], b""
    for character in text:
        octets = character.encode("utf-8")
        if len(word) + len(octets) > _WORD_OCTETS:
            words.append(word)
            word = b""
        word += octets
    words.append(word)
    return "\n ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in words)


def _downgrade_parameter(found: re.Match[str]) -> str:
    """Write a parameter's value as RFC 2231 does, where that is needed."""
    if found[0].isascii():
        return f";\n {found[1]}={found[2]}"
    value = _ESCAPED.sub(r"\1", found[2].strip('"'))
    return f";\n {found[1].rstrip('*')}*=utf-8''{urllib.parse.quote(value, safe='')}"


def _downgrade_addresses(value: str) -> str:
    """Rewrite what is not ASCII in a list of addresses, and leave its form."""
    parts: list[str] = []
    for part in _ADDRESS_PART.findall(value):
        parts.append(",\n " if part == "," else part if part.isascii() else _mark(part))
    return _PHRASE.sub(_encode_phrase, "".join(parts)).strip()


def _mark(part: str) -> str:
    """Make one part ASCII, or mark it, between NULs, as belonging to a name."""
    if part.startswith("<"):
        address, lost = _downgrade_address(part[1:].removesuffix(">"))
        return f" {_name(f'({lost})')} <{address}>" if lost else f"<{address}>"
    if part.startswith("("):
        return f"({_encode(part[1:].removesuffix(')'))})"
    if part.startswith('"'):
        return _name(_ESCAPED.sub(r"\1", part[1:].removesuffix('"')))
    if "@" in part:
        address, lost = _downgrade_address(part)
        return f"{_name(lost)} <{address}>" if lost else address
    return _name(part)


def _name(text: str) -> str:
    return f"\0{text}\0"


def _encode_phrase(found: re.Match[str]) -> str:
    text = " ".join(part for part in found[0].split("\0") if part.strip())
    return _encode(text) + ("\n " if found[0][-1:] == " " else "")


def _downgrade_address(address: str) -> tuple[str, str]:
    """Give an ASCII address, and the true one where it is lost."""
    local_part, _, domain = address.rpartition("@")
    try:
        if local_part.isascii() and local_part:
            return f"{local_part}@{normalise_domain(domain)}", ""
    except AddressSyntaxError:
        pass
    return _NOBODY, address
