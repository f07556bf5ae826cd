"""The manual page and the sample file, made from the settings' own declarations.

`python -m kms.config.manual` prints docs/configuration.md, `python -m kms.config.manual --sample` prints
etc/kms.ini. Tests compare both with the committed files, so neither can tell anything but the truth.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import attrs

from kms.config.features import has_effect
from kms.config.kinds import Setting
from kms.config.loader import FREE_SECTIONS, MADE_OF_OTHERS, section_classes, settings_of
from kms.config.settings import Settings
from kms.domain.address_group import LOCAL_CLIENTS, LOCAL_CLIENTS_ENTRIES

_WIDTH = 108

_FREE_DOCS = {
    "domain_aliases": "other names of local domains: other name = domain.",
    "address_groups": (
        "sets of clients: name = host, net/mask, net/len, first-last, group:Other name. "
        f"`{LOCAL_CLIENTS}` is predefined and can be redefined."
    ),
    "routes": (
        "other ways for some mail: <sender@domain>, <@sender domain>, recipient domain or *.domain (the most "
        "exact wins, in this order) = smtp:host:port | lmtp:host:port | lmtp:unix:path | mx | error:text."
    ),
    "dnsbl": "black lists of the DNS: name = suffix, action.",
}
_FREE_LINES = {
    "domain_aliases": ["; example.org = example.test"],
    "address_groups": [f"{LOCAL_CLIENTS} = {', '.join(LOCAL_CLIENTS_ENTRIES)}"],
    "routes": ["; partner.example = smtp:mail.partner.example:25"],
    "dnsbl": ["; example = dnsbl.example.net, score 3.0"],
}
_SHIPPED = {
    ("domains", "local"): ("example.test", "A real server names its own domains here."),
    ("relay", "address_group"): (
        "",
        "A real server that serves a local network writes Local clients (the default); here it is empty, "
        "else this machine itself would be trusted, and nothing could be shown to be refused.",
    ),
    ("limits", "sender_domain_must_exist"): (
        "no",
        "A real server writes yes (the default); no, so that this file runs without a network.",
    ),
    ("spf", "action"): (
        "off",
        "A real server writes score 2.0 (the default); off, so that this file runs without a network.",
    ),
}

_PAGE_HEAD = """\
# Configuration

This page is made by `python -m kms.config.manual` from the program itself. The sample file `etc/kms.ini`
(made by `python -m kms.config.manual --sample`) shows every key with a comment.

`kmsctl check` tells everything that is wrong with a file at once, with line, section and key; the server does
not start with such a file (exit status 78), and a reload of one changes nothing.

## How it is written

- `[section]`, then `key = value`. UTF-8. A line that begins with a blank goes on with the value above it.
- A comment begins a line with `;` or `#`, or follows a blank and one of them. A value in double quotes may
  hold these characters, and blanks at its ends; inside, `\\"` is a quote and `\\\\` a backslash.
- Durations: `90` (seconds), `30 s`, `30 minutes`, `4h`, `2 days`, `2 h 30 min`, up to ten years.
- Sizes: `1048576` (octets), `512 KB`, `20 MB`, `2 GB`; KB = 1024 octets.
- Yes or no: `yes`, `no`, `true`, `false`, `on`, `off`. Lists: commas or new lines.
- Relative paths begin in the folder of the file.
- Secrets: `KEY_file = path` reads the first line of a file instead of `KEY = secret`.
- Listeners: a port number (all addresses, IPv4 and IPv6), or endpoint strings, one a line, such as
  `tcp:2525:interface=127.0.0.1` or `tcp6:2525:interface=\\:\\:1`; empty = off.
- An unknown section or key is an error. A key that is left out has its default.

Keys marked ° have no effect yet: a value that asks for something costs a warning at the start, or is refused
where ignoring it would weaken a protection or misdirect mail. Keys marked * need a restart; for all others a
reload (SIGHUP or `kmsctl reload`) is enough, which names those that have changed and wait for the restart.
"""

_SAMPLE_HEAD = """\
; kms: the sample configuration. Every key is shown, at its default but for four lines that say so, so that it
; runs as it is, without root and without a network. How it is written: docs/configuration.md.
; Is it right? kmsctl --config etc/kms.ini check
"""


def _section_names() -> list[str]:
    return [field.name for field in attrs.fields(Settings) if field.name not in MADE_OF_OTHERS]


def _doc_of(section: str) -> str:
    """What the section is for, without its name."""
    if section in FREE_SECTIONS:
        return _FREE_DOCS[section]
    return str(section_classes()[section].__doc__).partition(": ")[2]


def _capitalise(text: str) -> str:
    return text[0].upper() + text[1:]


def make_page() -> str:
    """Write docs/configuration.md."""
    return "\n".join([_PAGE_HEAD, *(line for name in _section_names() for line in _page_section(name))])


def _page_section(name: str) -> Iterator[str]:
    doc = _doc_of(name)
    mark = "" if name not in FREE_SECTIONS or has_effect(name, "") else " °"
    yield from (f"## [{name}]{mark}", "", _capitalise(doc).replace("<", "\\<"), "")
    if name in FREE_SECTIONS:
        yield from ("```ini", *(line.removeprefix("; ") for line in _FREE_LINES[name]), "```", "")
    else:
        yield from ("| key | value | default | meaning |", "|---|---|---|---|")
        for key, setting in settings_of(section_classes()[name]).items():
            yield _page_row(name, key, setting)
        yield ""


def _page_row(section: str, key: str, setting: Setting) -> str:
    marks = ("" if has_effect(section, key) else " °") + (" *" if setting.needs_restart else "")
    default = f"`{setting.default}`" if setting.default else ""
    cells = [f"`{key}`{marks}", setting.kind.shape, default, setting.doc]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "\\<") for cell in cells) + " |"


def make_sample() -> str:
    """Write etc/kms.ini."""
    lines = [_SAMPLE_HEAD]
    for name in _section_names():
        lines += [f"[{name}]", *_comment(_capitalise(_doc_of(name))), ""]
        if name in FREE_SECTIONS:
            lines += _FREE_LINES[name]
        else:
            lines += _sample_keys(name, section_classes()[name])
        lines.append("")
    return "\n".join(lines)


def _sample_keys(name: str, section_class: type[Any]) -> Iterator[str]:
    for key, setting in settings_of(section_class).items():
        value, hint = _SHIPPED.get((name, key), (setting.default, ""))
        yield from _comment(f"{setting.doc} {hint}".strip())
        yield f"{key} = {value}".rstrip()


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="; ", subsequent_indent=";   ")


def main(arguments: list[str]) -> None:
    """Print the page, or with `--sample` the sample file."""
    sys.stdout.write(make_sample() if arguments == ["--sample"] else make_page())


if __name__ == "__main__":
    main(sys.argv[1:])
