import os
import shutil
from pathlib import Path

import pytest

from kms.domain.alarm_sentence import BUILT_IN_ALARM_SENTENCES, Alarm
from kms.domain.report_text import BUILT_IN, ReportKind, ReportText
from kms.domain.status import BAD_MAILBOX
from kms.domain.status_sentence import BUILT_IN_SENTENCES
from kms.store.report_texts import MAX_TEXT_OCTETS, ReportTexts

SHIPPED = Path(__file__).parents[2] / "reports"
GOOD = "# a comment\n\nSubject: Zu spät\n\nAn: $recipients\n"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_german(folder: Path) -> None:
    """All that a language needs."""
    shutil.copytree(SHIPPED / "de", folder / "de")


@pytest.mark.parametrize("kind", ReportKind)
def test_the_shipped_english_texts_are_the_ones_built_in(kind: ReportKind) -> None:
    texts = ReportTexts(SHIPPED)
    assert texts.problems() == ()
    assert texts.text("en", kind) == BUILT_IN[kind]
    assert "en" in texts.languages()


def test_an_edited_text_counts_from_the_next_report_on(tmp_path: Path) -> None:
    texts = ReportTexts(tmp_path)
    write(tmp_path, "de/failed.txt", GOOD)
    assert texts.text("de", ReportKind.FAILED) == ReportText("Zu spät", "An: $recipients\n")
    write(tmp_path, "de/failed.txt", GOOD.replace("Zu spät", "Fehler"))
    assert texts.text("de", ReportKind.FAILED).subject == "Fehler"


def test_a_byte_order_mark_and_dos_line_ends_do_no_harm(tmp_path: Path) -> None:
    write(tmp_path, "de/failed.txt", b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert ReportTexts(tmp_path).text("de", ReportKind.FAILED) == ReportText("Zu spät", "An: $recipients\n")


def test_a_region_falls_back_to_its_language_and_a_language_to_english(tmp_path: Path) -> None:
    write(tmp_path, "pt/failed.txt", "Subject: pt\n\n$recipients")
    write(tmp_path, "en/failed.txt", "Subject: en\n\n$recipients")
    texts = ReportTexts(tmp_path)
    found = [texts.text(language, ReportKind.FAILED).subject for language in ("pt-BR", "pt", "cs", "", "en")]
    assert found == ["pt", "pt", "en", "en", "en"]


def test_without_any_file_the_built_in_text_is_used(tmp_path: Path) -> None:
    assert ReportTexts(tmp_path / "none").text("en", ReportKind.DELAYED) == BUILT_IN[ReportKind.DELAYED]


@pytest.mark.parametrize("language", ["../secret", "/etc", ".", "..", "en/../..", "x" * 300, "\0", "a\nb"])
def test_a_language_never_leads_out_of_the_folder(tmp_path: Path, language: str) -> None:
    write(tmp_path, "secret/failed.txt", "Subject: secret\n\n$recipients")
    texts = ReportTexts(tmp_path / "reports")
    assert texts.text(language, ReportKind.FAILED) == BUILT_IN[ReportKind.FAILED]


BROKEN: list[tuple[str | bytes, str]] = [
    (b"Subject: \xff\n\n$recipients", "is not UTF-8 at octet 9"),
    ("", "the first line that is no comment"),
    ("# only a comment\n", "the first line that is no comment"),
    ("Hello\n\n$recipients", "the first line that is no comment"),
    ("Subject:\n\n$recipients", "the first line that is no comment"),
    ("Subject: x", "an empty line must follow"),
    ("Subject: x\n$recipients", "an empty line must follow"),
    ("Subject: x\n\nnobody", "$recipients is missing"),
    ("Subject: $oops\n\n$recipients", "unknown placeholder $oops"),
    ("Subject: x\n\n$recipients costs $ 5", "begins no placeholder"),
    ("Subject: x\n\n$recipients" + "x" * MAX_TEXT_OCTETS, "is longer than"),
]


@pytest.mark.parametrize(("content", "problem"), BROKEN)
def test_a_broken_text_is_named_and_the_built_in_one_stands_in(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    write_german(tmp_path)
    path = write(tmp_path, "de/failed.txt", content)
    texts = ReportTexts(tmp_path)
    assert texts.text("de", ReportKind.FAILED) == BUILT_IN[ReportKind.FAILED]
    (found,) = texts.problems()
    assert found.startswith(f"{path}: ")
    assert problem in found


def test_a_missing_file_of_a_language_is_named(tmp_path: Path) -> None:
    write_german(tmp_path)
    (tmp_path / "de" / "delayed.txt").unlink()
    assert ReportTexts(tmp_path).problems() == (f"{tmp_path / 'de' / 'delayed.txt'}: is missing",)


def test_a_region_need_not_have_what_its_language_has(tmp_path: Path) -> None:
    write_german(tmp_path)
    write(tmp_path, "de-AT/failed.txt", GOOD)
    texts = ReportTexts(tmp_path)
    assert texts.problems() == ()
    assert texts.text("de-AT", ReportKind.FAILED).subject == "Zu spät"
    assert texts.text("de_at", ReportKind.DELAYED).subject == "Ihre Nachricht verspätet sich"
    (tmp_path / "de" / "quota.txt").unlink()
    assert [problem.removeprefix(f"{tmp_path}/") for problem in texts.problems()] == [
        "de/quota.txt: is missing",
        "de-AT/quota.txt: is missing",
    ]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    (problem,) = ReportTexts(tmp_path / "none").problems()
    assert "no such folder" in problem
    assert ReportTexts(tmp_path / "none").languages() == ()


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "de" / "failed.txt").mkdir(parents=True)
    for name in ("delayed", "delivered", "relayed", "quota", "alarm", "status", "situations"):
        os.mkfifo(tmp_path / "de" / f"{name}.txt")
    texts = ReportTexts(tmp_path)
    for kind in ReportKind:
        assert texts.text("de", kind) == BUILT_IN[kind]
    assert [problem.rsplit(": ")[1] for problem in texts.problems()] == ["is no regular file"] * 8
    assert texts.sentences("de") == BUILT_IN_SENTENCES


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_german(tmp_path)
    (tmp_path / "de" / "failed.txt").unlink()
    (tmp_path / "de" / "failed.txt").symlink_to("failed.txt")
    texts = ReportTexts(tmp_path)
    assert texts.text("de", ReportKind.FAILED) == BUILT_IN[ReportKind.FAILED]
    (problem,) = texts.problems()
    assert "cannot be read" in problem


def test_folders_that_are_no_language_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, ".git/failed.txt", "nonsense")
    write(tmp_path, "README", "nonsense")
    texts = ReportTexts(tmp_path)
    assert texts.languages() == ()
    assert texts.problems() == ()


class TestSentences:
    def test_an_edited_sentence_counts_from_the_next_report_on(self, tmp_path: Path) -> None:
        write_german(tmp_path)
        texts = ReportTexts(tmp_path)
        assert texts.sentences("de-AT").explain(BAD_MAILBOX).startswith("Dieses Postfach gibt es nicht.")
        write(tmp_path, "de/status.txt", "5.1.1 = Weg.")
        assert texts.sentences("de").explain(BAD_MAILBOX) == "Weg."
        assert texts.sentences("de").no_end == "further notice"

    def test_without_a_file_they_are_english(self, tmp_path: Path) -> None:
        assert ReportTexts(tmp_path).sentences("de") == BUILT_IN_SENTENCES
        write(tmp_path, "en/status.txt", "5.1.1 = Gone.")
        assert ReportTexts(tmp_path).sentences("de").explain(BAD_MAILBOX) == "Gone."

    def test_a_file_that_is_not_utf_8_is_named_and_replaced(self, tmp_path: Path) -> None:
        write_german(tmp_path)
        path = write(tmp_path, "de/status.txt", b"5.1.1 = \xff")
        texts = ReportTexts(tmp_path)
        assert texts.sentences("de") == BUILT_IN_SENTENCES
        assert texts.problems() == (f"{path}: is not UTF-8 at octet 8",)

    def test_a_broken_line_is_named(self, tmp_path: Path) -> None:
        write_german(tmp_path)
        path = tmp_path / "de" / "status.txt"
        path.write_text(path.read_text() + "nonsense\n")
        (problem,) = ReportTexts(tmp_path).problems()
        assert problem.startswith(f"{path}: line ")
        assert "'nonsense' is no code" in problem


class TestAlarmSentences:
    ALARM = Alarm("messages_per_hour", "192.0.2.7", "what.once", ("advice.other",))

    def test_an_edited_one_counts_from_the_next_alarm_on(self, tmp_path: Path) -> None:
        write_german(tmp_path)
        texts = ReportTexts(tmp_path)
        assert (
            texts.alarm_sentences("de-AT").describe(self.ALARM).startswith("Die Grenze messages_per_hour hat")
        )
        write(tmp_path, "de/situations.txt", "what.once = Halt $client")
        assert texts.alarm_sentences("de").describe(self.ALARM) == "Halt 192.0.2.7"
        assert texts.alarm_sentences("de").advise(self.ALARM) == BUILT_IN_ALARM_SENTENCES.advise(self.ALARM)

    def test_a_broken_line_is_named(self, tmp_path: Path) -> None:
        write_german(tmp_path)
        path = tmp_path / "de" / "situations.txt"
        path.write_text(path.read_text() + "nonsense\n")
        (problem,) = ReportTexts(tmp_path).problems()
        assert problem.startswith(f"{path}: line ")
        assert "'nonsense' is no name of a sentence" in problem
