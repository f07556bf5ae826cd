"""The address groups of the file, with every fault of every group.

Flow: loader.py gives the entries of [address_groups]; the groups are then what other keys may name.
"""

from __future__ import annotations

from collections.abc import Mapping

from kms.config.ini import Complain, Entry
from kms.config.kinds import split_list
from kms.config.problems import suggest
from kms.domain.address_group import AddressGroup, AddressGroupError, build_groups


def read_groups(entries: Mapping[str, Entry], complain: Complain) -> dict[str, AddressGroup]:
    """Build all groups; an entry with a fault is reported and left out."""
    texts = {name: split_list(entry.value) for name, entry in entries.items()}
    while True:
        try:
            return build_groups(texts)
        except AddressGroupError as error:
            near = suggest(error.entry.removeprefix("group:").strip(), (*texts, "Local clients"))
            hint = near if error.problem.startswith("there is no") else ""
            text = f'"{error.entry}": {error.problem}{hint}'
            complain(entries[error.group].line, "address_groups", error.group, text)
            texts[error.group] = _without(texts[error.group], error.entry)


def _without(items: list[str], entry: str) -> list[str]:
    """Leave out the entry; blanks within do not count."""
    return [item for item in items if "".join(item.split()) != "".join(entry.split())]
