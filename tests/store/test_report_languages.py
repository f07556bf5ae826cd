"""The texts that come with kms: each language whole, in its own script, in words of its own, and readable mail."""

import configparser
import email
import email.policy
import re
import string
from collections import Counter
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from unicodedata import east_asian_width

import pytest

from kms.cli.sample_report import compose_sample
from kms.config.loader import load_settings
from kms.config.settings import Settings
from kms.domain.alarm_sentence import BUILT_IN_ALARM_SENTENCES
from kms.domain.report_text import PLACEHOLDERS, ReportKind
from kms.domain.status_sentence import BUILT_IN_SENTENCES
from kms.store.report_texts import ReportTexts

ROOT = Path(__file__).parents[2]
TEXTS = ReportTexts(ROOT / "reports")
LANGUAGES = ("cs", "de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "zh")
NOW = datetime(2026, 11, 24, 13, 0, tzinfo=UTC)
SCRIPTS = {"ru": r"[а-яё]", "ja": r"[ぁ-んァ-ヶ\u4e00-\u9fff]", "zh": r"[\u4e00-\u9fff]"}
LETTERS = {
    "cs": "ěřů",
    "de": "äöü",
    "es": "ñó",
    "fr": "éêà",
    "it": "èàù",
    "pl": "łąę",
    "pt": "ãç",
}
"""Letters that show that nobody has left out the accents."""


def words_of(language: str) -> list[str]:
    """Everything of a language that a reader gets: subjects, paragraphs, sentences; placeholders taken out."""
    texts = [TEXTS.text(language, kind) for kind in ReportKind]
    pieces = [text.subject for text in texts]
    for text in texts:
        pieces += text.body.split("\n\n")
    pieces += TEXTS.sentences(language).table.values()
    pieces += TEXTS.alarm_sentences(language).table.values()
    plain = (string.Template(piece).safe_substitute(dict.fromkeys(NAMES, "")) for piece in pieces)
    return [words for words in (" ".join(piece.split()) for piece in plain) if re.search(r"\w", words)]


NAMES = {name for names in PLACEHOLDERS.values() for name in names} | {"server", "words", "count"}


def columns(line: str) -> int:
    return len(line) + sum(east_asian_width(letter) in "WF" for letter in line)


def test_there_are_twelve_languages_without_a_fault() -> None:
    assert TEXTS.languages() == LANGUAGES
    assert TEXTS.problems() == ()


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_explains_the_same_codes(language: str) -> None:
    assert TEXTS.sentences(language).table.keys() == BUILT_IN_SENTENCES.table.keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_knows_the_same_alarms(language: str) -> None:
    table = TEXTS.alarm_sentences(language).table
    assert table.keys() == BUILT_IN_ALARM_SENTENCES.table.keys()
    for name, sentence in BUILT_IN_ALARM_SENTENCES.table.items():
        used = string.Template(sentence).get_identifiers()
        assert sorted(string.Template(table[name]).get_identifiers()) == sorted(used)
        assert set(re.findall(r"`.*?`|\w+_\w+", sentence)) <= set(re.findall(r"`.*?`|\w+_\w+", table[name]))


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_alarm_is_wholly_in_its_language(settings: Settings, language: str) -> None:
    data = compose_sample(settings, TEXTS, language, ReportKind.ALARM, NOW)
    message = email.message_from_bytes(data, policy=email.policy.strict)
    assert isinstance(message, EmailMessage)
    text = message.get_content()
    assert ("has stopped" in message["Subject"], "Somebody guesses" in text) == (language == "en",) * 2


@pytest.mark.parametrize("kind", ReportKind)
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_uses_the_same_placeholders(language: str, kind: ReportKind) -> None:
    def names(code: str) -> set[str]:
        text = TEXTS.text(code, kind)
        return {
            *string.Template(text.subject).get_identifiers(),
            *string.Template(text.body).get_identifiers(),
        }

    assert names(language) == names("en")


def test_no_sentence_is_equal_to_one_of_another_language() -> None:
    counts = Counter(words for language in LANGUAGES for words in set(words_of(language)))
    assert [words for words, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("language", SCRIPTS)
def test_each_sentence_is_in_the_script_of_its_language(language: str) -> None:
    assert [words for words in words_of(language) if not re.search(SCRIPTS[language], words)] == []


def test_chinese_is_no_japanese() -> None:
    kana = r"[ぁ-んァ-ヶ]"
    assert not re.search(kana, "".join(words_of("zh")))
    assert re.search(kana, TEXTS.text("ja", ReportKind.FAILED).body)


@pytest.mark.parametrize("language", LETTERS)
def test_accents_are_written(language: str) -> None:
    everything = "".join(words_of(language))
    assert [letter for letter in LETTERS[language] if letter not in everything] == []


@pytest.mark.parametrize("kind", ReportKind)
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_report_of_each_language_is_7_bit_mail_that_python_reads(
    settings: Settings, language: str, kind: ReportKind
) -> None:
    data = compose_sample(settings, TEXTS, language, kind, NOW)
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 200
    message = email.message_from_bytes(data, policy=email.policy.strict)
    assert isinstance(message, EmailMessage)
    subject = TEXTS.text(language, kind).subject
    assert string.Template(subject).is_valid()
    assert message["Subject"].startswith(subject.partition("$")[0].rstrip())
    text = next(part for part in message.walk() if part.get_content_type() == "text/plain")
    assert isinstance(text, EmailMessage)
    assert text.get_content_charset() == "utf-8"
    content = text.get_content()
    assert "mail.example.test" in content
    assert "$" not in content
    assert max(map(columns, content.splitlines())) <= 80
    assert not [part.defects for part in message.walk() if part.defects]


def test_each_language_is_in_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    rows = {
        target: files.strip() for target, files in setup["options.data_files"].items() if "reports" in target
    }
    assert rows == {f"share/kms/reports/{code}": f"reports/{code}/*.txt" for code in LANGUAGES}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(write_config(tmp_path))


def write_config(folder: Path) -> Path:
    path = folder / "kms.ini"
    path.write_text("[server]\nhostname = mail.example.test\n[domains]\nlocal = example.test\n")
    return path


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_line_of_a_text_is_too_wide_for_a_terminal(language: str) -> None:
    lines = [line for kind in ReportKind for line in TEXTS.text(language, kind).body.split("\n")]
    widths = {line: columns(line) for line in lines}
    assert {line: width for line, width in widths.items() if width > 82} == {}
