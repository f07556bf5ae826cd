"""The words of the reports, read from `reports/<language>/<kind>.txt`, `status.txt` and `situations.txt` (UTF-8).

Each report reads its files anew, so an edited text counts from the next report on, and a folder that is added
is a language that is added. A file that is missing or broken never costs a report: the language without its
region, then English, then the text that is built in stand in for it. `problems` tells `kmsctl check` and
`kmsctl reports check`.

Flow: service/bounces asks for a text and puts it into a `DeliveryReport`, service/notices into a notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from kms.domain.alarm_sentence import BUILT_IN_ALARM_SENTENCES, AlarmSentences, parse_alarm_sentences
from kms.domain.language import find_languages, is_language
from kms.domain.report_text import BUILT_IN, ReportKind, ReportText, ReportTextError, parse_report_text
from kms.domain.status_sentence import BUILT_IN_SENTENCES, StatusSentences, parse_status_sentences

MAX_TEXT_OCTETS = 64 * 1024
FALLBACK_LANGUAGE = "en"
STATUS_FILE = "status.txt"
SITUATIONS_FILE = "situations.txt"

_NAMES = (*(f"{kind.value}.txt" for kind in ReportKind), STATUS_FILE, SITUATIONS_FILE)
_R = TypeVar("_R")


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
        return self._read(
            language, f"{kind.value}.txt", lambda text: parse_report_text(text, kind), BUILT_IN[kind]
        )

    def sentences(self, language: str) -> StatusSentences:
        """Give what status codes mean; never fails. A broken line counts as missing, so English stands in for it."""
        return self._read(
            language, STATUS_FILE, lambda text: parse_status_sentences(text)[0], BUILT_IN_SENTENCES
        )

    def alarm_sentences(self, language: str) -> AlarmSentences:
        """Give what alarms are called and what to do; never fails, as `sentences`."""
        return self._read(
            language, SITUATIONS_FILE, lambda text: parse_alarm_sentences(text)[0], BUILT_IN_ALARM_SENTENCES
        )

    def _read(self, language: str, name: str, parse: Callable[[str], _R], built_in: _R) -> _R:
        for path in self._candidates(language, name):
            try:
                return parse(_read(path))
            except FileNotFoundError:
                continue
            except (OSError, ReportTextError):
                break
        return built_in

    def languages(self) -> tuple[str, ...]:
        """Name the languages that have a folder, sorted."""
        try:
            found = sorted(path.name for path in self._folder.iterdir() if path.is_dir())
        except OSError:
            return ()
        return tuple(name for name in found if is_language(name))

    def problems(self) -> tuple[str, ...]:
        """List every file that cannot be used, and what is wrong with it."""
        if not self._folder.is_dir():
            return (f"{self._folder}: no such folder; the built-in English texts are used",)
        return tuple(
            f"{self._folder / language / name}: {problem}"
            for language in self.languages()
            for name in _NAMES
            for problem in self._find_problems(language, name)
        )

    def _candidates(self, language: str, name: str) -> list[Path]:
        languages = (*find_languages(language, self.languages()), FALLBACK_LANGUAGE)
        return [self._folder / candidate / name for candidate in dict.fromkeys(languages)]

    def _find_problems(self, language: str, name: str) -> Iterator[str]:
        try:
            text = _read(self._folder / language / name)
            if name == STATUS_FILE:
                yield from parse_status_sentences(text)[1]
            elif name == SITUATIONS_FILE:
                yield from parse_alarm_sentences(text)[1]
            else:
                parse_report_text(text, ReportKind(name.removesuffix(".txt")))
        except FileNotFoundError:
            if not self._has_wider(language, name):
                yield "is missing"
        except OSError as error:
            yield f"cannot be read: {error.strerror}"
        except ReportTextError as error:
            yield str(error)

    def _has_wider(self, language: str, name: str) -> bool:
        """Say whether the file is there for the language without its region, and so need not be here."""
        wider = find_languages(language, self.languages())[1:]
        return any((self._folder / one / name).exists() for one in wider)


def _read(path: Path) -> str:
    """Read one file.

    Raises:
        OSError: it cannot be read.
        ReportTextError: it is no text of a reasonable size.
    """
    if path.exists() and not path.is_file():
        raise ReportTextError("is no regular file")
    with path.open("rb") as file:
        data = file.read(MAX_TEXT_OCTETS + 1)
    if len(data) > MAX_TEXT_OCTETS:
        raise ReportTextError(f"is longer than {MAX_TEXT_OCTETS} octets")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReportTextError(f"is not UTF-8 at octet {error.start}") from error
