"""Line ends of octets: whether each is a CRLF, and how to make them so or otherwise.

In wire form a line ends in CRLF, in a mailbox file in LF. All functions take data that does not begin or end within
a CRLF. They see every octet of every message, so they are made of what the interpreter does in bulk.
Flow: the SMTP session sifts contents; the mailbox store writes them with LF.
"""

from __future__ import annotations

from io import IncrementalNewlineDecoder

_CRLF = b"\r\n"


def has_bare_newline(data: bytes) -> bool:
    """Tell whether a CR or LF stands alone.

    The decoder of text files notes which kinds of line end it has come across, in a third of the time of anything
    that counts.
    """
    decoder = IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(data.decode("latin-1"), final=True)
    return decoder.newlines not in (None, "\r\n")


def normalise_newlines(data: bytes) -> bytes:
    """Turn each bare CR and each bare LF into CRLF."""
    return data.replace(_CRLF, b"\n").replace(b"\r", b"\n").replace(b"\n", _CRLF)


def crlf_to_lf(data: bytes) -> bytes:
    """Turn each CRLF into LF; a CR or LF that stands alone stays what it is."""
    if has_bare_newline(data):
        return data.replace(_CRLF, b"\n")
    return data.translate(None, b"\r")  # half of the time, with the look before
