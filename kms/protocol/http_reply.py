"""Reads the answer to one HTTP GET (RFC 9110, 9112): a small text that was asked for, and nothing cleverer.

Promises: what is given is whole; a redirect, another status or another type of content is an error and never a
body; header and chunks are so few that no server can make the reading of its answer long. The caller bounds the
octets, the time, and how often it asks. Trailers, encodings and a second answer are not understood.

Flow: service/https_fetch.py feeds all octets that have come so far, until there is a body.
"""

from __future__ import annotations

import re

MAX_HEADER_OCTETS = 16384
MAX_FIELDS = 100
MAX_CHUNKS = 1000

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: .*)?")
_SIZE = re.compile(rb"[0-9]{1,9}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")


class HttpError(ValueError):
    """The answer is no such text; the words are for the log, and repeat nothing of it but a number."""


def find_body(octets: bytes, *, is_closed: bool, content_type: str) -> bytes | None:
    """Give the body of an answer that is whole.

    Args:
        octets: all that has come.
        is_closed: the server has ended the connection in order, so no more will come.
        content_type: that the body must have, without parameters.

    Returns:
        None while something is missing.

    Raises:
        HttpError: it will never be one.
    """
    head, separator, rest = octets.partition(b"\r\n\r\n")
    if len(head) > MAX_HEADER_OCTETS or head.count(b"\r\n") > MAX_FIELDS:
        raise HttpError("its header is too long")
    if not separator:
        return _wait(is_closed)
    status, *lines = head.split(b"\r\n")
    _check_status(status)
    fields = _read_fields(lines)
    found_type = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if found_type != content_type.encode():
        raise HttpError(f"its content is not {content_type}")
    if b"transfer-encoding" in fields:
        if fields[b"transfer-encoding"].lower() != b"chunked":
            raise HttpError("its transfer encoding is not known")
        return _read_chunks(rest, is_closed)
    length = fields.get(b"content-length")
    if length is None:
        return rest if is_closed else None
    if not _SIZE.fullmatch(length):
        raise HttpError("its length makes no sense")
    return rest[: int(length)] if len(rest) >= int(length) else _wait(is_closed)


def _check_status(line: bytes) -> None:
    status = _STATUS.fullmatch(line)
    if status is None:
        raise HttpError("the answer is not HTTP")
    if status[1] != b"200":
        raise HttpError(f"the answer is {status[1].decode()}")


def _read_fields(lines: list[bytes]) -> dict[bytes, bytes]:
    parts = (line.partition(b":") for line in lines)
    return {name.strip().lower(): value.strip(b" \t") for name, _, value in parts}


def _read_chunks(rest: bytes, is_closed: bool) -> bytes | None:
    chunks: list[bytes] = []
    start = 0
    while len(chunks) <= MAX_CHUNKS:
        line_end = rest.find(b"\r\n", start)
        if line_end < 0:
            return _wait(is_closed)
        size = _CHUNK_SIZE.fullmatch(rest, start, line_end)
        if size is None:
            raise HttpError("its chunks make no sense")
        count = int(size[1], 16)
        if count == 0:
            return b"".join(chunks)
        start, end = line_end + 2, line_end + 2 + count
        if len(rest) < end + 2:
            return _wait(is_closed)
        if rest[end : end + 2] != b"\r\n":
            raise HttpError("its chunks make no sense")
        chunks.append(rest[start:end])
        start = end + 2
    raise HttpError("its chunks are too many")


def _wait(is_closed: bool) -> bytes | None:
    if is_closed:
        raise HttpError("the answer was cut off")
    return None
