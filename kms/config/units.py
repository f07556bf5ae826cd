"""Durations and sizes as people write them: `90`, `30 s`, `2 h 30 min`, `4 days`; `20 MB`, `1048576`.

Only units whose meaning nobody can mistake are read: `5 M` and `1 month` are refused, not guessed.
Flow: kinds.py reads values with these; the manual prints with them.
"""

from __future__ import annotations

import re
from datetime import timedelta

from kms.config.problems import ValueFault

_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86400),
}
_OCTETS = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}
_LONGEST = timedelta(days=3650)
_LARGEST = 2**62
_DURATION = re.compile(r"(?:[0-9]+\s*[A-Za-z]+\s*)+", re.ASCII)
_PART = re.compile(r"([0-9]+)\s*([A-Za-z]+)", re.ASCII)
_SIZE = re.compile(r"([0-9]+)\s*([A-Za-z]*)", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """Read a duration; a bare number is seconds.

    Raises:
        ValueFault: no duration, or longer than ten years.
    """
    fault = ValueFault(f'"{text}" is no duration; write for example 90, 30 s, 30 minutes, 4h or 2 days')
    if re.fullmatch(r"[0-9]{1,12}", text, re.ASCII):
        seconds = int(text)
    elif len(text) <= 60 and _DURATION.fullmatch(text):
        parts = [(int(number), _SECONDS.get(unit.lower())) for number, unit in _PART.findall(text)]
        if any(unit is None for _, unit in parts):
            raise fault
        seconds = sum(number * (unit or 0) for number, unit in parts)
    else:
        raise fault
    if seconds > _LONGEST.total_seconds():
        raise ValueFault(f'"{text}" is longer than ten years')
    return timedelta(seconds=seconds)


def parse_size(text: str) -> int:
    """Read a size in octets; KB = 1024.

    Raises:
        ValueFault: no size, or beyond what can be counted.
    """
    found = _SIZE.fullmatch(text) if len(text) <= 30 else None
    unit = _OCTETS.get(found[2].lower() or "b") if found else None
    if found is None or unit is None:
        raise ValueFault(f'"{text}" is no size; write for example 20 MB, 512 KB or 1048576')
    octets = int(found[1]) * unit
    if octets > _LARGEST:
        raise ValueFault(f'"{text}" is too large')
    return octets
