"""From the file to `Settings`: every section and key is looked up, parsed, judged; every fault is kept.

Flow: `load_settings` is what tap.py, the reload and kmsctl call. Order: the text (ini.py), address groups,
[server] (other paths depend on it), the other sections, faults of several settings together (checks.py), keys
without effect (features.py).
"""

from __future__ import annotations

import os.path
from pathlib import Path
from typing import Any

import attrs

from kms.config.aliases_file import describe_troubles, load_aliases_file
from kms.config.antispam_settings import DNSBL_ZONE
from kms.config.checks import find_faults
from kms.config.features import Judgement, judge_effect
from kms.config.group_reader import read_groups
from kms.config.ini import Entry, Section, parse_ini
from kms.config.kinds import METADATA_KEY, Setting, Surroundings, locate, read_domain
from kms.config.problems import ConfigError, Problem, ValueFault, suggest
from kms.config.relay_settings import DomainsSettings
from kms.config.route_kinds import parse_route_key, parse_route_target
from kms.config.settings import Settings
from kms.domain.account import Alias
from kms.domain.language import find_languages
from kms.policy.route_table import RouteTarget

FREE_SECTIONS = ("domain_aliases", "address_groups", "routes", "dnsbl")
MADE_OF_OTHERS = ("file_aliases", "warnings")
_MOST_SECRET_OCTETS = 64 * 1024


def section_classes() -> dict[str, type[Any]]:
    """Give the class of each section with fixed keys, in the order of the file."""
    return {
        field.name: type(getattr(_DEFAULTS, field.name))
        for field in attrs.fields(Settings)
        if field.name not in (*FREE_SECTIONS, *MADE_OF_OTHERS)
    }


def settings_of(section_class: type[Any]) -> dict[str, Setting]:
    """Give what is known of each key of a section, in the order of the file."""
    return {field.name: field.metadata[METADATA_KEY] for field in attrs.fields(section_class)}


def load_settings(path: Path, *, with_aliases: bool = True) -> Settings:
    """Read the configuration.

    Args:
        path: of the INI file; relative paths in it begin in its folder. Problems name it as it is given.
        with_aliases: read the aliases file too; who does not ask it for anybody is not hindered by its faults.

    Raises:
        ConfigError: it cannot be read, or is not usable; with every fault.
    """
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", "", _explain(error, "configuration"))]) from None
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(str(path), line, "", "", "the line is not UTF-8")]) from None
    return read_settings(text, path, with_aliases=with_aliases)


def read_settings(text: str, path: Path, *, with_aliases: bool = True) -> Settings:
    """Read the configuration from the text of the file `path`; as `load_settings`."""
    return _Loader(text, path, with_aliases).load()


class _Loader:
    """One reading of one file: what was found, and what is wrong with it."""

    def __init__(self, text: str, path: Path, with_aliases: bool) -> None:
        self._with_aliases = with_aliases
        self._file = str(path)
        self._problems: list[Problem] = []
        self._surroundings = Surroundings(folder=Path(os.path.abspath(path.parent)))
        self._sections = parse_ini(text, self._complain)

    def _complain(self, line: int, section: str, key: str, text: str) -> None:
        self._problems.append(Problem(self._file, line, section, key, text))

    def _complain_about(self, section: str, key: str, text: str) -> None:
        """Complain about a setting, at its line if it has one, unless it has a complaint already."""
        if not any((problem.section, problem.key) == (section, key) for problem in self._problems):
            found = self._sections.get(section, Section(0))
            entry = found.entries.get(key) or found.entries.get(f"{key}_file")
            self._complain(entry.line if entry else found.line, section, key, text)

    def load(self) -> Settings:
        """Do the whole reading.

        Raises:
            ConfigError: with every fault.
        """
        classes = section_classes()
        for name, section in self._sections.items():
            if name not in classes and name not in FREE_SECTIONS:
                near = suggest(name, (*classes, *FREE_SECTIONS))
                self._complain(section.line, name, "", f"there is no such section{near}")
        values = self._read_groups()
        values["server"] = self._read_section("server", classes.pop("server"))
        self._surroundings = attrs.evolve(self._surroundings, data_dir=values["server"].data_dir)
        values |= {name: self._read_section(name, section_class) for name, section_class in classes.items()}
        values |= self._read_free_sections()
        settings = Settings(**values, file_aliases=self._read_aliases(values["domains"]))
        for fault in find_faults(settings):
            self._complain_about(*fault)
        warnings = self._judge_effects(settings)
        if self._problems:
            raise ConfigError(self._problems)
        return attrs.evolve(
            settings,
            warnings=(*warnings, *_judge_language(settings), *describe_troubles(settings.file_aliases)),
        )

    def _entries(self, section: str) -> dict[str, Entry]:
        return self._sections[section].entries if section in self._sections else {}

    def _read_groups(self) -> dict[str, Any]:
        groups = read_groups(self._entries("address_groups"), self._complain)
        self._surroundings = attrs.evolve(self._surroundings, groups=groups)
        return {"address_groups": groups}

    def _read_section(self, name: str, section_class: type[Any]) -> Any:
        known = settings_of(section_class)
        secrets = {f"{key}_file": key for key, setting in known.items() if setting.kind.is_secret}
        entries = dict(self._entries(name))
        for key, entry in self._entries(name).items():
            if key not in known and key not in secrets:
                self._complain(entry.line, name, key, self._explain_unknown(name, key, (*known, *secrets)))
        for file_key, key in secrets.items():
            if file_key in entries:
                self._read_secret(name, key, file_key, entries)
        values = {key: self._read_value(name, key, setting, entries) for key, setting in known.items()}
        return section_class(**values)

    def _explain_unknown(self, section: str, key: str, known: tuple[str, ...]) -> str:
        near = suggest(key, known)
        homes = [name for name, other in section_classes().items() if key in settings_of(other)]
        if not near and homes:
            near = "; it belongs to " + " or ".join(f"[{home}]" for home in homes)
        return f"there is no such key{near}"

    def _read_secret(self, section: str, key: str, file_key: str, entries: dict[str, Entry]) -> None:
        entry = entries[file_key]
        if key in entries:
            self._complain(entry.line, section, file_key, f"{key} is there as well; write one of the two")
            return
        try:
            with locate(self._surroundings.folder, entry.value).open("rb") as file:
                first_line = file.read(_MOST_SECRET_OCTETS).decode("utf-8").split("\n", 1)[0]
        except OSError as error:
            self._complain(entry.line, section, file_key, _explain(error, "file"))
        except UnicodeDecodeError:
            self._complain(entry.line, section, file_key, "the file's text is not UTF-8")
        else:
            entries[key] = Entry(first_line.rstrip("\r"), entry.line)

    def _read_value(self, section: str, key: str, setting: Setting, entries: dict[str, Entry]) -> Any:
        entry = entries.get(key)
        if entry is not None:
            try:
                if "\n" in entry.value and not setting.kind.may_have_lines:
                    first, second = entry.value.split("\n")[:2]
                    raise ValueFault(f'one line is enough; "{second}" goes on with "{first}"')
                return setting.kind.parse(entry.value, self._surroundings)
            except ValueFault as fault:
                self._complain(entry.line, section, key, str(fault))
        return self._read_default(setting)

    def _read_default(self, setting: Setting) -> Any:
        return setting.kind.parse(setting.default, self._surroundings)

    def _read_free_sections(self) -> dict[str, Any]:
        aliases: dict[str, str] = {}
        zones: dict[str, Any] = {}
        for key, entry in self._entries("domain_aliases").items():
            try:
                aliases[read_domain(key)] = read_domain(entry.value)
            except ValueFault as fault:
                self._complain(entry.line, "domain_aliases", key, str(fault))
        for key, entry in self._entries("dnsbl").items():
            try:
                zones[key] = DNSBL_ZONE.parse(entry.value, self._surroundings)
            except ValueFault as fault:
                self._complain(entry.line, "dnsbl", key, str(fault))
        return {"domain_aliases": aliases, "dnsbl": zones, "routes": self._read_routes()}

    def _read_routes(self) -> dict[str, RouteTarget]:
        routes: dict[str, RouteTarget] = {}
        for key, entry in self._entries("routes").items():
            try:
                line = parse_route_key(key)
                if line in routes:
                    raise ValueFault(f"there is a line for {line} already")
                routes[line] = parse_route_target(entry.value.replace("\n", " "))
            except ValueFault as fault:
                self._complain(entry.line, "routes", key, str(fault))
        return routes

    def _read_aliases(self, domains: DomainsSettings) -> tuple[Alias, ...]:
        if domains.aliases_file is None or not domains.local or not self._with_aliases:
            return ()
        try:
            return load_aliases_file(domains.aliases_file, domains.local)
        except ConfigError as error:
            self._problems += error.problems
            return ()

    def _judge_effects(self, settings: Settings) -> list[str]:
        warnings = []
        for section, key, value, default in self._all_values(settings):
            judgement = judge_effect(section, key, value, default)
            if judgement is Judgement.HAS_NO_EFFECT:
                warnings.append(f"{self._file}: [{section}] {key} has no effect yet")
            elif judgement is Judgement.REFUSED:
                self._complain_about(section, key, _refuse(self._entries(section).get(key)))
        return warnings

    def _all_values(self, settings: Settings) -> list[tuple[str, str, Any, Any]]:
        values: list[tuple[str, str, Any, Any]] = []
        for name, section_class in section_classes().items():
            section = getattr(settings, name)
            for key, setting in settings_of(section_class).items():
                values.append((name, key, getattr(section, key), self._read_default(setting)))
        for name in ("routes", "dnsbl"):
            values += [(name, key, value, None) for key, value in getattr(settings, name).items()]
        return values


def _refuse(entry: Entry | None) -> str:
    written = f'"{entry.value}"' if entry else "this"
    return f"{written} is not there yet, and to ignore it would do harm; leave it at its default for now"


def _judge_language(settings: Settings) -> list[str]:
    language, folder = settings.queue.language, settings.server.reports_dir
    folders = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    if find_languages(language, [*folders, "en"]):
        return []
    return [f"[queue] language: there is no folder {folder / language}, so reports are in English"]


def _explain(error: OSError, what: str) -> str:
    return f"the {what} cannot be read: {error.strerror or error}"


_DEFAULTS = Settings()
