"""MTA-STS (RFC 8461): the TXT record, the policy file, and which hosts a policy names. Pure.

Flow: service/sts_policies.py gets records and files from their owners and keeps the policies; route_finder.py asks
`is_listed` for each host.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from kms.domain.address import AddressSyntaxError, normalise_domain
from kms.domain.published_tls import StsMode, StsPolicy

MAX_POLICY_OCTETS = 65536
MAX_PATTERNS = 100
LONGEST_LIFE = timedelta(seconds=31_557_600)

_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_SECONDS = re.compile(r"[0-9]{1,10}")


class StsError(ValueError):
    """A policy cannot be used; the text says why, for the log."""


def parse_record(texts: Sequence[bytes]) -> str | None:
    """Find the policy's id in the TXT records of `_mta-sts.<domain>` (RFC 8461 3.1); None where there is no policy.

    Other records there are passed over; two that claim to be ours, or one that is wrong, are no policy.
    """
    ours = [fields for text in texts if (fields := _split(text))[0] == "v=STSv1"]
    if len(ours) != 1:
        return None
    named = [field.partition("=") for field in ours[0][1:] if field]
    found = [value.strip() for key, _, value in named if key.strip() == "id"]
    return found[0] if found and _ID.fullmatch(found[0]) else None


def _split(text: bytes) -> list[str]:
    return [field.strip(" \t") for field in text.decode("utf-8", "replace").split(";")]


def parse_policy(octets: bytes) -> StsPolicy:
    """Read a policy file (RFC 8461 3.2).

    Of a field that comes twice the first counts, but for `mx`; fields that are not known are passed over.

    Raises:
        StsError: it is not one, or leaves something out.
    """
    try:
        lines = octets.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise StsError("the policy is no UTF-8") from None
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in lines:
        if not line.strip():
            continue
        key, colon, value = (part.strip(" \t\r") for part in line.partition(":"))
        if not colon:
            raise StsError("a line of the policy has no colon")
        if key == "mx":
            patterns.append(value)
        fields.setdefault(key, value)
    return _make_policy(fields, patterns)


def _make_policy(fields: dict[str, str], patterns: list[str]) -> StsPolicy:
    if fields.get("version") != "STSv1":
        raise StsError("the policy's version is not STSv1")
    try:
        mode = StsMode(fields.get("mode"))
    except ValueError:
        raise StsError("the policy has no known mode") from None
    life = fields.get("max_age", "")
    if not _SECONDS.fullmatch(life):
        raise StsError("the policy has no max_age")
    if not patterns and mode is not StsMode.NONE:
        raise StsError("the policy names no server")
    if len(patterns) > MAX_PATTERNS:
        raise StsError("the policy names too many servers")
    mx = tuple(_normalise_pattern(pattern) for pattern in patterns)
    return StsPolicy(mode, min(timedelta(seconds=int(life)), LONGEST_LIFE), mx)


def _normalise_pattern(pattern: str) -> str:
    is_wild = pattern.startswith("*.")
    try:
        name = normalise_domain(pattern.removeprefix("*.").removesuffix("."))
    except AddressSyntaxError:
        raise StsError("the policy names a server that can have no such name") from None
    return f"*.{name}" if is_wild else name


def is_listed(host: str, policy: StsPolicy) -> bool:
    """Say whether a policy names this host (RFC 8461 4.1); `host` is lower-case in A-labels."""
    _, dot, parent = host.partition(".")
    return host in policy.mx or (bool(dot) and f"*.{parent}" in policy.mx)
