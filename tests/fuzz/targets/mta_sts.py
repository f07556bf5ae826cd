"""What a stranger's HTTPS server and DNS say of his MTA-STS policy.

The first octet says whether the server has closed the connection; the rest is its answer, whole and in every prefix
that ends at a line, and its lines are taken for a policy and for TXT records too.
"""

from kms.domain.published_tls import StsMode, StsPolicy
from kms.policy.mta_sts import LONGEST_LIFE, MAX_PATTERNS, StsError, is_listed, parse_policy, parse_record
from kms.protocol.http_reply import HttpError, find_body
from tests.fuzz.promises import check_printable


def _read(octets: bytes, is_closed: bool) -> bytes | None:
    try:
        body = find_body(octets, is_closed=is_closed, content_type="text/plain")
    except HttpError as error:
        check_printable(str(error))
        return None
    assert body is None or len(body) <= len(octets)
    assert body is not None or not is_closed
    return body


def _check_policy(octets: bytes) -> None:
    """It is within its bounds, and lists names in the one form only."""
    try:
        policy = parse_policy(octets)
    except StsError as error:
        check_printable(str(error))
        return
    assert isinstance(policy, StsPolicy)
    assert policy.mx or policy.mode is StsMode.NONE
    assert len(policy.mx) <= MAX_PATTERNS
    assert policy.life <= LONGEST_LIFE
    for pattern in policy.mx:
        assert pattern.isascii()
        check_printable(pattern)
        assert is_listed(pattern.replace("*", "a", 1), policy)


def run(data: bytes) -> None:
    is_closed, octets = bool(data[:1] and data[0] & 1), data[1:]
    body = _read(octets, is_closed)
    if body is not None and not is_closed:
        assert _read(octets + b"more", is_closed) in (body, None)
    for text in (octets, body or b""):
        _check_policy(text)
    lines = octets.split(b"\n")
    for line in lines:
        found = parse_record([line])
        assert found is None or (found.isalnum() and found.isascii())
    parse_record(lines)
