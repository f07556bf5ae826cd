"""Language tags, and which of the languages there are serves for one that is asked for (RFC 4647 3.4).

A tag is a code such as "de", or one with a region or script, such as "pt-BR" or "zh-Hant-TW"; case and "_" for
"-" make no difference. The folders of reports/ are named by tags.

Flow: config/loader and kmsctl judge what is asked for; store/report_texts finds the folder of a report.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_TAG = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")


def is_language(text: str) -> bool:
    """Say whether the text is a tag."""
    return _TAG.fullmatch(text) is not None


def find_languages(wanted: str, available: Iterable[str]) -> tuple[str, ...]:
    """List those of the available languages that serve for the wanted one, the nearest first.

    Args:
        wanted: a tag; for "zh-Hant-TW" serve "zh-Hant-TW", "zh-Hant" and "zh". What is no tag finds nothing.
        available: tags, as they are written there.
    """
    if not is_language(wanted):
        return ()
    by_form = {_normalise(tag): tag for tag in available}
    parts = _normalise(wanted).split("-")
    forms = ("-".join(parts[:count]) for count in range(len(parts), 0, -1))
    return tuple(by_form[form] for form in forms if form in by_form)


def _normalise(tag: str) -> str:
    return tag.lower().replace("_", "-")
