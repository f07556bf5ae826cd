"""The text of an INI file, as sections of keys with their line numbers. It knows no key's meaning.

Syntax: `[section]`, `key = value`; a line that begins with a blank goes on with the value above. A comment
begins a line, or follows a blank and `;` or `#`. A value in double quotes may hold them; inside quotes `\\"`
is a quote and `\\\\` a backslash. Nothing is interpolated. Every fault is reported, not only the first.
Flow: loader.py gives the text, and each entry's value to the key's kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

_LINE_END = re.compile(r"\r\n|\n|\r")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_COMMENT = re.compile(r"(?:^|\s)[;#].*$")
_SECTION = re.compile(r"\[([^\[\]]*)\]\s*(?:\s[;#].*)?")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:\s[;#].*)?')
_ESCAPE = re.compile(r'\\(["\\])')

Complain = Callable[[int, str, str, str], None]
"""Takes line, section, key and what is wrong."""


@attrs.frozen
class Entry:
    """One key's value: its lines joined by newlines, without comments; and the line where the key stands."""

    value: str
    line: int


@attrs.define
class Section:
    """The keys of one section, in the file's order; `line` is that of its header."""

    line: int
    entries: dict[str, Entry] = attrs.field(factory=dict)


def parse_ini(text: str, complain: Complain) -> dict[str, Section]:
    """Read the whole text; faulty lines are reported through `complain` and left out."""
    reader = _Reader(complain)
    for number, line in enumerate(_LINE_END.split(text.removeprefix("\ufeff")), 1):
        reader.read_line(number, line)
    return reader.sections


class _Reader:
    """Where the reading stands: in which section, at which key."""

    def __init__(self, complain: Complain) -> None:
        self.sections: dict[str, Section] = {}
        self._complain = complain
        self._section: Section | None = None
        self._name = ""
        self._key: str | None = None
        self._was_faulty = False

    def read_line(self, number: int, line: str) -> None:
        stripped = line.strip()
        if not stripped or stripped[0] in ";#":
            return
        if _CONTROL.search(line):
            self._was_faulty = True
            self._complain(number, self._name, "", "the line holds a control character; take it out")
        elif line[0].isspace():
            self._continue_value(number, stripped)
        elif stripped[0] == "[":
            self._begin_section(number, stripped)
        else:
            self._read_key(number, stripped)

    def _begin_section(self, number: int, line: str) -> None:
        self._key, self._was_faulty = None, False
        found = _SECTION.fullmatch(line)
        if found is None or not found[1].strip():
            self._complain(number, "", "", f'"{line}" is no section; write [name]')
            self._section, self._was_faulty = None, True
            return
        self._name = found[1].strip()
        earlier = self.sections.get(self._name)
        if earlier is not None:
            self._complain(number, self._name, "", f"the section is there already, in line {earlier.line}")
        self._section = self.sections.setdefault(self._name, Section(number))

    def _read_key(self, number: int, line: str) -> None:
        key, equals, rest = line.partition("=")
        key = key.strip()
        faulty_section = self._section is None and self._was_faulty
        self._key = None
        if faulty_section:
            return
        self._was_faulty = True
        if not equals or not key:
            self._complain(number, self._name, "", f'"{line}" is no setting; write key = value')
        elif self._section is None:
            self._complain(number, "", key, "the key stands before any section; begin one with [name]")
        elif key in self._section.entries:
            earlier = self._section.entries[key].line
            self._complain(number, self._name, key, f"the key is there already, in line {earlier}")
        else:
            self._was_faulty = False
            self._key = key
            self._section.entries[key] = Entry(self._clean(number, rest), number)

    def _continue_value(self, number: int, line: str) -> None:
        if self._section is None or self._key is None:
            if not self._was_faulty:
                text = f'"{line}" begins with a blank, but there is no value above to go on with'
                self._complain(number, self._name, "", text)
            return
        entry = self._section.entries[self._key]
        value = f"{entry.value}\n{self._clean(number, line)}".strip("\n")
        self._section.entries[self._key] = attrs.evolve(entry, value=value)

    def _clean(self, number: int, text: str) -> str:
        """Take off blanks, comment and quotes."""
        stripped = text.strip()
        if not stripped.startswith('"'):
            return _COMMENT.sub("", text).strip()
        found = _QUOTED.fullmatch(stripped)
        if found is None:
            fault = 'a value that begins with a quote must end with one; write \\" for a quote inside'
            self._complain(number, self._name, self._key or "", fault)
            return ""
        return _ESCAPE.sub(r"\1", found[1])
