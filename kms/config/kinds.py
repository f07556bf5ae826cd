"""Kinds of values: how the text of a key becomes what the program works with.

A kind is pure but for secrets, which are read from the file an administrator names. It raises `ValueFault`
with what is wrong and what would be right; the reader adds the place.
Flow: each field of the settings names its kind (`setting`); loader.py parses with it, the manual prints its
shape. Kinds of the network (listeners, hosts, groups) are in network_kinds.py.
"""

from __future__ import annotations

import enum
import os.path
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from kms.config.problems import ValueFault, suggest
from kms.config.units import parse_duration, parse_size
from kms.domain.address import AddressSyntaxError, Mailbox, normalise_domain, parse_mailbox
from kms.domain.address_group import AddressGroup, build_groups

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)

METADATA_KEY = "kms.setting"
_BOOLEANS = {"yes": True, "no": False, "true": True, "false": False, "on": True, "off": False}


@attrs.frozen
class Surroundings:
    """What the meaning of a value depends on.

    Attributes:
        folder: of the INI file; relative paths begin here.
        data_dir: where paths inside it begin.
        groups: all address groups by name.
    """

    folder: Path = attrs.field(factory=Path)
    data_dir: Path = attrs.field(factory=lambda: Path("../var"))
    groups: Mapping[str, AddressGroup] = attrs.field(factory=lambda: build_groups({}))


@attrs.frozen
class Kind(Generic[T]):
    """One kind of value.

    Attributes:
        shape: how the manual describes what may be written.
        parse: reads the text.
        may_have_lines: the text may go on over several lines.
        is_secret: never printed, and `KEY_file` may name a file that holds it.
    """

    shape: str
    parse: Callable[[str, Surroundings], T]
    may_have_lines: bool = False
    is_secret: bool = False


@attrs.frozen
class Setting:
    """What is known of one key, kept in the metadata of its field.

    Attributes:
        default: as it would be written in the file.
        kind: of its value.
        doc: what it does, in one or two sentences.
        needs_restart: a reload is not enough.
    """

    default: str
    kind: Kind[Any]
    doc: str
    needs_restart: bool


def setting(default: str, kind: Kind[T], doc: str, *, needs_restart: bool = False) -> T:
    """Declare one key of a section; the field's default is what `default` means."""
    field: T = attrs.field(
        factory=lambda: kind.parse(default, Surroundings()),
        repr=not kind.is_secret,
        metadata={METADATA_KEY: Setting(default, kind, doc, needs_restart)},
    )
    return field


def split_list(text: str) -> list[str]:
    """Split at commas and line ends; empty items do not count."""
    return [item.strip() for item in re.split(r"[,\n]", text) if item.strip()]


def locate(folder: Path, text: str) -> Path:
    """Find a path that is relative to `folder` unless it is absolute; `..` is resolved by name alone."""
    return Path(os.path.normpath(folder / text))


def _simple(shape: str, parse: Callable[[str], T], *, may_have_lines: bool = False) -> Kind[T]:
    return Kind(shape, lambda text, _: parse(text), may_have_lines)


def _parse_boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueFault(f'"{text}" is neither yes nor no')
    return _BOOLEANS[text.lower()]


def read_domain(text: str) -> str:
    """Read one domain name into the form in which domains are compared."""
    try:
        if text.startswith("["):
            raise AddressSyntaxError("an address literal cannot stand here")
        return normalise_domain(text)
    except AddressSyntaxError as error:
        raise ValueFault(f'"{text}" is no domain name: {error}') from None


def _parse_domains(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(read_domain, split_list(text))))


def _parse_mailbox(text: str) -> Mailbox | None:
    try:
        return parse_mailbox(text) if text else None
    except AddressSyntaxError as error:
        raise ValueFault(f'"{text}" is no address: {error}; write user@domain') from None


def _parse_path(text: str, near: Surroundings) -> Path:
    if not text:
        raise ValueFault("a path is needed")
    return locate(near.folder, text)


def _parse_duration_above_zero(text: str) -> timedelta:
    duration = parse_duration(text)
    if not duration:
        raise ValueFault(f'"{text}" is too short; it must be more than nothing')
    return duration


def _parse_durations(text: str) -> tuple[timedelta, ...]:
    durations = tuple(map(_parse_duration_above_zero, split_list(text)))
    if not durations:
        raise ValueFault("at least one duration is needed, for example 30 minutes")
    return durations


def _parse_decimal(text: str) -> float:
    if not re.fullmatch(r"-?[0-9]{1,6}(\.[0-9]{1,6})?", text):
        raise ValueFault(f'"{text}" is no number; write for example 5.0')
    return float(text)


def _parse_language(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*", text):
        raise ValueFault(f'"{text}" is no language; write for example en, cs or pt-BR')
    return text


def count(least: int = 0) -> Kind[int]:
    """Make the kind of whole numbers from `least` on."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise ValueFault(f'"{text}" is no whole number')
        if int(text) < least:
            raise ValueFault(f'"{text}" is too small; it must be at least {least}')
        return int(text)

    return _simple("number" if least == 0 else f"number, {least} or more", parse)


def choice(noun: str, options: type[E]) -> Kind[E]:
    """Make the kind of the values of an enumeration; `noun` is what the error calls one."""
    words = {member.value: member for member in options}

    def parse(text: str) -> E:
        if text.lower() not in words:
            raise ValueFault(f'"{text}" is no {noun}; write {_either(list(words))}')
        return words[text.lower()]

    return _simple(" | ".join(words), parse)


def choices(noun: str, options: type[E]) -> Kind[tuple[E, ...]]:
    """Make the kind of lists of an enumeration's values, in any case of letters."""
    words = {str(member.value).upper(): member for member in options}

    def parse(text: str) -> tuple[E, ...]:
        for item in split_list(text):
            if item.upper() not in words:
                raise ValueFault(f'"{item}" is no {noun}; write {_either(list(words))}')
        return tuple(dict.fromkeys(words[item.upper()] for item in split_list(text)))

    return _simple("list of " + ", ".join(words), parse, may_have_lines=True)


def names_of(noun: str, known: Callable[[], tuple[str, ...]]) -> Kind[tuple[str, ...]]:
    """Make the kind of lists of names, all of which must be among `known`."""

    def parse(text: str) -> tuple[str, ...]:
        for name in split_list(text):
            if name not in known():
                raise ValueFault(f'"{name}" is no {noun}{suggest(name, known())}')
        return tuple(dict.fromkeys(split_list(text)))

    return _simple(f"list of {noun}s", parse, may_have_lines=True)


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


TEXT = _simple("text", str)
SECRET = Kind("secret text", lambda text, _: text, is_secret=True)
BOOLEAN = _simple("yes | no", _parse_boolean)
HOSTNAME = _simple("host name", lambda text: read_domain(text) if text else "")
DOMAINS = _simple("list of domains", _parse_domains, may_have_lines=True)
MAILBOX = _simple("address", _parse_mailbox)
NAMES = _simple("list of names", lambda text: tuple(split_list(text)), may_have_lines=True)
PATH = Kind("path", _parse_path)
OPTIONAL_PATH = Kind("path", lambda text, near: locate(near.folder, text) if text else None)
DURATION = _simple("duration", parse_duration)
DURATION_ABOVE_ZERO = _simple("duration", _parse_duration_above_zero)
DURATIONS = _simple("list of durations", _parse_durations, may_have_lines=True)
SIZE = _simple("size", parse_size)
DECIMAL = _simple("number", _parse_decimal)
LANGUAGE = _simple("language", _parse_language)
COUNT = count()
