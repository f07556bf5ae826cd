"""An aliases(5) file, as sendmail and Postfix have it: `name: target, target`, from its text to `Alias`es.

A line that begins with a blank continues the one before, `#` begins a comment line, names compare without regard to
case and may be quoted. A name without a domain is one of every local domain, a target without one is in the first.
`:include:/path` is read together with the file. Commands, files and `\\name` are refused, each with its line: kms
runs no programs, and delivers into accounts only. Nothing of a file with a fault is used. A list that is not there,
is empty, or cannot be read, is no fault of the file: it makes its alias unusable (`Alias.trouble`), and no other.
Flow: the loader reads the file that [domains] names; newaliases lets the server read it alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from kms.config.problems import ConfigError, Problem, ValueFault
from kms.domain.account import Alias
from kms.domain.address import AddressSyntaxError, Mailbox, parse_mailbox

_ENTRY = re.compile(r'("(?:[^"\\]|\\.)*"|[^\s:"]+)\s*:(.*)', re.DOTALL)
_TARGET = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")+')
_ONLY_CLOSED_QUOTES = re.compile(r'(?:[^"]|"(?:[^"\\]|\\.)*")*')
_IN_ANGLES = re.compile(r"[^<]*<([^<>]*)>")
_INCLUDE = ":include:"


def load_aliases_file(path: Path, local_domains: tuple[str, ...]) -> tuple[Alias, ...]:
    """Read the file.

    Args:
        local_domains: in A-label form, never empty.

    Returns:
        Its aliases in their order; `domain` is "" for a name that every local domain has.

    Raises:
        ConfigError: with every fault, or because it cannot be read.
    """
    return _Reader(path, local_domains).read()


def describe_troubles(aliases: Iterable[Alias]) -> Iterator[str]:
    """Name the aliases that cannot be used, each with its list; for the operator."""
    for alias in aliases:
        if alias.trouble:
            yield f"[domains] aliases_file: mail for the alias {alias.local_part} is deferred: {alias.trouble}"


class _Unreadable(ValueFault):
    """The file is not there, or not for us to read."""


class _Reader:
    """One reading: what was found, and what is wrong with it."""

    def __init__(self, path: Path, local_domains: tuple[str, ...]) -> None:
        self._path = path
        self._local_domains = local_domains
        self._lines: dict[tuple[str, str], int] = {}
        self._found: list[Alias] = []
        self._troubles: list[str] = []

    def read(self) -> tuple[Alias, ...]:
        problems = []
        try:
            text = _read_text(self._path)
        except ValueFault as fault:
            raise ConfigError([Problem(str(self._path), 0, "", "", str(fault))]) from None
        for line, entry in _logical_lines(text):
            try:
                self._take(line, entry)
            except ValueFault as fault:
                problems.append(Problem(str(self._path), line, "", "", str(fault)))
        if problems:
            raise ConfigError(problems)
        return tuple(self._found)

    def _take(self, line: int, entry: str) -> None:
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ValueFault(f'"{entry}" is no alias; write name: target, target')
        name = self._read_name(match[1])
        if name in self._lines:
            raise ValueFault(f"{match[1]} is there already, in line {self._lines[name]}")
        self._lines[name] = line
        self._troubles = []
        targets = tuple(dict.fromkeys(self._read_targets(match[2], may_include=True)))
        if not targets and not self._troubles:
            if _INCLUDE not in match[2]:
                raise ValueFault(f"{match[1]} has no target")
            self._troubles.append("its list names nobody")
        self._found.append(Alias(*name, targets, "; ".join(self._troubles)))

    def _read_name(self, text: str) -> tuple[str, str]:
        """Read a name: its local part as the directory has it, and its domain, "" without one."""
        has_domain = "@" in text and not text.startswith('"')
        mailbox = _parse(text if has_domain else f"{text}@{self._local_domains[0]}")
        if has_domain and mailbox.domain not in self._local_domains:
            raise ValueFault(f"{mailbox.domain} is no local domain")
        if "*" in mailbox.local_part or "?" in mailbox.local_part:
            raise ValueFault(f"{text} is a pattern; make it with kmsctl alias add")
        local_part = unicodedata.normalize("NFC", mailbox.local_part.lower())
        return local_part, mailbox.domain if has_domain else ""

    def _read_targets(self, text: str, *, may_include: bool) -> Iterator[Mailbox]:
        if not _ONLY_CLOSED_QUOTES.fullmatch(text):
            raise ValueFault(f"a quote is not closed: {text.strip()}")
        for found in _TARGET.findall(text):
            target = found.strip()
            content = target[1:-1] if target.startswith('"') else target
            if content.startswith(_INCLUDE):
                yield from self._include(content, may_include)
            elif target:
                _refuse_others(target, content)
                yield self._read_address(target)

    def _include(self, target: str, may_include: bool) -> Iterator[Mailbox]:
        path = Path(target.removeprefix(_INCLUDE).strip())
        if not may_include:
            raise ValueFault(f"{target}: an included file includes no other")
        if not path.is_absolute():
            raise ValueFault(f"{target}: write the path from / on")
        try:
            lines = [*_lines(_read_text(path))]
        except _Unreadable as error:
            lines = []
            self._troubles.append(str(error))
        for number, line in lines:
            try:
                yield from self._read_targets(line, may_include=False)
            except ValueFault as fault:
                raise ValueFault(f"{path}:{number}: {fault}") from None

    def _read_address(self, target: str) -> Mailbox:
        match = _IN_ANGLES.fullmatch(target)
        address = match[1] if match else target
        has_domain = "@" in address and not address.endswith('"')
        return _parse(address if has_domain else f"{address}@{self._local_domains[0]}")


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Give the entries, each with the number of its first line; comments stand between lines, not in them."""
    first, parts = 0, list[str]()
    for number, line in _lines(text):
        if parts and line[0] not in " \t":
            yield first, " ".join(parts)
            parts = []
        first = first if parts else number
        parts.append(line.strip())
    if parts:
        yield first, " ".join(parts)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Give the lines that are neither empty nor comments, with their numbers."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def _refuse_others(target: str, content: str) -> None:
    if content.startswith("|"):
        raise ValueFault(f"{target}: kms runs no programs for aliases")
    if content.startswith("/"):
        raise ValueFault(f"{target}: kms delivers to accounts and addresses, not into files")
    if content.startswith("\\"):
        raise ValueFault(
            f"{target}: an account comes before its alias here; forward with kmsctl user set --forward --keep-copy"
        )


def _parse(address: str) -> Mailbox:
    try:
        return parse_mailbox(address)
    except AddressSyntaxError as error:
        raise ValueFault(f'"{address}" is no address: {error}') from None


def _read_text(path: Path) -> str:
    """Read a file; what is none, such as a pipe, could hold up the server for ever."""
    try:
        text = path.read_text("utf-8-sig") if path.is_file() or not path.exists() else None
    except OSError as error:
        raise _Unreadable(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueFault(f"{path} is not in UTF-8") from None
    except ValueError as error:
        raise ValueFault(f"{path} cannot be read: {error}") from None
    if text is None:
        raise _Unreadable(f"{path} is no plain file")
    return text
