"""The words of the reports, read from `reports/<language>/<kind>.txt` (UTF-8).

Each report reads its file anew, so an edited text counts from the next report on, and a folder that is added
is a language that is added. A file that is missing or broken never costs a report: the language without its
region, then English, then the text that is built in stand in for it. `problems` tells `kmsctl check`.

Flow: service/bounces asks for a text and puts it into a `DeliveryReport`, service/notices into a `QuotaNotice`.
"""

from __future__ import annotations

import re
from pathlib import Path

from kms.domain.report_text import BUILT_IN, ReportKind, ReportText, ReportTextError, parse_report_text

MAX_TEXT_OCTETS = 64 * 1024
FALLBACK_LANGUAGE = "en"

_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")


class ReportTexts:
    """The texts below one folder.

    Args:
        folder: holds one folder for each language.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def text(self, language: str, kind: ReportKind) -> ReportText:
        """Give the template for a report; never fails.

        Args:
            language: such as "en", "de" or "pt-BR"; "" = English.
        """
        for candidate in _candidates(language):
            path = self._folder / candidate / f"{kind.value}.txt"
            try:
                return _read(path, kind)
            except FileNotFoundError:
                continue
            except (OSError, ReportTextError):
                break
        return BUILT_IN[kind]

    def languages(self) -> tuple[str, ...]:
        """Name the languages that have a folder, sorted."""
        try:
            found = sorted(path.name for path in self._folder.iterdir() if path.is_dir())
        except OSError:
            return ()
        return tuple(name for name in found if _LANGUAGE.fullmatch(name))

    def problems(self) -> tuple[str, ...]:
        """List every file that cannot be used, and what is wrong with it."""
        if not self._folder.is_dir():
            return (f"{self._folder}: no such folder; the built-in English texts are used",)
        files = [
            (self._folder / language / f"{kind.value}.txt", kind)
            for language in self.languages()
            for kind in ReportKind
        ]
        found = ((path, _find_problem(path, kind)) for path, kind in files)
        return tuple(f"{path}: {problem}" for path, problem in found if problem is not None)


def _candidates(language: str) -> list[str]:
    names = []
    if _LANGUAGE.fullmatch(language):
        names = [language, re.split("[-_]", language)[0]]
    return list(dict.fromkeys([*names, FALLBACK_LANGUAGE]))


def _find_problem(path: Path, kind: ReportKind) -> str | None:
    try:
        _read(path, kind)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ReportTextError as error:
        return str(error)
    return None


def _read(path: Path, kind: ReportKind) -> ReportText:
    """Read one file.

    Raises:
        OSError: it cannot be read.
        ReportTextError: it is no usable template.
    """
    if path.exists() and not path.is_file():
        raise ReportTextError("is no regular file")
    with path.open("rb") as file:
        data = file.read(MAX_TEXT_OCTETS + 1)
    if len(data) > MAX_TEXT_OCTETS:
        raise ReportTextError(f"is longer than {MAX_TEXT_OCTETS} octets")
    try:
        return parse_report_text(data.decode("utf-8-sig"), kind)
    except UnicodeDecodeError as error:
        raise ReportTextError(f"is not UTF-8 at octet {error.start}") from error
