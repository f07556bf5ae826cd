"""The command line of sendmail(1), as cron, PHP, mutt, git and others write it: options glued or not.

Options that mean nothing here are ignored with their values, so that no caller fails for one.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

_WITH_VALUE = frozenset("fFrBCLONRVXhpAo")
_IGNORED_FLAGS = frozenset("GnUmqE")


class Mode(enum.Enum):
    """What is asked for: DELIVER from stdin, PRINT_QUEUE, CHECK_ALIASES, SMTP on stdin, or VERIFY addresses."""

    DELIVER = "m"
    PRINT_QUEUE = "p"
    CHECK_ALIASES = "i"
    SMTP = "s"
    VERIFY = "v"


_FLAGS: dict[str, tuple[str, object]] = {
    "t": ("takes_header", True),
    "i": ("ignores_dots", True),
    "v": ("is_verbose", True),
    "I": ("mode", Mode.CHECK_ALIASES),
}


class UsageFault(ValueError):
    """The command line cannot be understood; the text says why."""


@attrs.define
class Options:
    """What the command line says.

    Attributes:
        sender: of -f or -r; None = the default.
        full_name: of -F.
        takes_header: -t.
        ignores_dots: -i or -oi: a single dot does not end the input.
        is_verbose: -v.
        config: of -C; "" = the default.
        recipients: the rest.
    """

    mode: Mode = Mode.DELIVER
    sender: str | None = None
    full_name: str = ""
    takes_header: bool = False
    ignores_dots: bool = False
    is_verbose: bool = False
    config: str = ""
    recipients: list[str] = attrs.field(factory=list)


def parse(words: Sequence[str]) -> Options:
    """Read a command line without the program's name; raises UsageFault."""
    options = Options()
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            options.recipients += left
            break
        if word.startswith("-") and len(word) > 1:
            _take(options, word[1:], left)
        else:
            options.recipients.append(word)
    return options


def _take(options: Options, letters: str, left: list[str]) -> None:
    """Take one word of options, such as `t`, `ti`, `fanna@example.org`, `oi`."""
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter == "b":
            options.mode = _read_mode(letters)
            return
        if letter in _WITH_VALUE:
            value = letters if letters or letter == "o" else _next(letter, left)
            _set(options, letter, value)
            return
        if letter in _FLAGS:
            setattr(options, *_FLAGS[letter])
        elif letter not in _IGNORED_FLAGS:
            raise UsageFault(f"-{letter} is no option of sendmail")


def _read_mode(letter: str) -> Mode:
    if letter in ("p", "i", "s", "v", "m", ""):
        return Mode(letter or "m")
    raise UsageFault(f"-b{letter} is not there")


def _next(letter: str, left: list[str]) -> str:
    if not left:
        raise UsageFault(f"-{letter} needs a value")
    return left.pop(0)


def _set(options: Options, letter: str, value: str) -> None:
    match letter:
        case "f" | "r":
            options.sender = value
        case "F":
            options.full_name = value
        case "C":
            options.config = value
        case "o" if value == "i":
            options.ignores_dots = True
