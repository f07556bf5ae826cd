"""What is wrong with a configuration: all of it at once, each with its place.

Flow: the reader and the checks collect `Problem`s; a file with any is refused as a whole (`ConfigError`), so
that an administrator mends it in one go.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import attrs


@attrs.frozen
class Problem:
    """One fault, printed in one line as `etc/kms.ini:12: [relay] mode: "opne" is no mode; write restricted or open`.

    Attributes:
        file: the file as it was named.
        line: counted from 1; 0 = no line is to blame (something is missing).
        section: "" outside any section.
        key: "" when the fault is the section's or the file's.
        text: what is wrong, and what would be right.
    """

    file: str
    line: int
    section: str
    key: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        where = " ".join(part for part in (self.section and f"[{self.section}]", self.key) if part)
        text = self.text.replace("\n", " ")  # it may quote a value of several lines
        return f"{place}: {where}: {text}" if where else f"{place}: {text}"


class ConfigError(Exception):
    """The configuration is not usable.

    Attributes:
        problems: every fault of the file, in the order of its lines; never empty.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(map(str, self.problems)))


class ValueFault(ValueError):
    """The text of a value is not usable; the message says why and what would be right."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Name the known name nearest to `name` as `; did you mean x?`; "" when none is near."""
    by_folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f"; did you mean {by_folded[near[0]]}?" if near else ""
