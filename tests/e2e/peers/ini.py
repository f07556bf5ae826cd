"""The shipped etc/kms.ini with some keys set otherwise, so that what is tested and measured is what is shipped."""

import re
from collections.abc import Mapping
from pathlib import Path

_SECTION = re.compile(r"^\s*\[([^\]]+)\]")
_KEY = re.compile(r"^([^\s;#\[=][^=]*?)\s*=")


def with_overrides(text: str, overrides: Mapping[str, Mapping[str, str]]) -> str:
    """The INI text with `overrides[section][key] = value` in force: keys that stand there replaced, others added."""
    waiting = {section: dict(keys) for section, keys in overrides.items()}
    lines: list[str] = []
    section = ""
    is_skipping = False
    for line in text.splitlines():
        if found := _SECTION.match(line):
            lines += _rest(waiting.pop(section, {}))
            section, is_skipping = found[1].strip(), False
            lines.append(line)
            continue
        if is_skipping and line[:1].isspace() and line.strip():
            continue
        is_skipping = False
        key = _KEY.match(line)
        if key and key[1] in waiting.get(section, {}):
            lines += _rest({key[1]: waiting[section].pop(key[1])})
            is_skipping = True
        else:
            lines.append(line)
    lines += _rest(waiting.pop(section, {}))
    for name, keys in waiting.items():
        lines += ["", f"[{name}]", *_rest(keys)]
    return "\n".join(lines) + "\n"


def _rest(keys: Mapping[str, str]) -> list[str]:
    return [f"{key} = {value}".rstrip().replace("\n", "\n    ") for key, value in keys.items()]


def listing(overrides: Mapping[str, Mapping[str, str]]) -> str:
    """The overrides as INI text, to be shown."""
    return "\n".join(
        line for section, keys in overrides.items() if keys for line in (f"[{section}]", *_rest(keys))
    )


def write(path: Path, shipped: Path, overrides: Mapping[str, Mapping[str, str]]) -> None:
    """Write the shipped file with the overrides to `path`."""
    path.write_text(with_overrides(shipped.read_text(), overrides))
