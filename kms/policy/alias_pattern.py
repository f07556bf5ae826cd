"""Does a local part fit the pattern of an alias? `*` stands for any run of characters, `?` for exactly one.

Promises: it takes no longer than in line with the text, whatever the pattern; a pattern is compiled once.
Does not fold case: both come as the directory has them.
Flow: recipient.py asks for an address that nobody has by name.
"""

from __future__ import annotations

import re
from functools import lru_cache


def fits(pattern: str, local_part: str) -> bool:
    """Tell whether the whole local part fits."""
    return _compile(pattern).fullmatch(local_part) is not None


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> re.Pattern[str]:
    """Make the expression of a pattern; atomic groups keep its cost in line with the text."""
    first, *others = (re.escape(run).replace(r"\?", ".") for run in re.split(r"\*+", pattern))
    if not others:
        return re.compile(first, re.DOTALL)
    middle = "".join(f"(?>.*?{run})" for run in others[:-1])
    return re.compile(f"{first}{middle}.*{others[-1]}", re.DOTALL)
