"""kmsctl reports, and the languages that an account may have."""

import email
import email.policy
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from kms.cli import failure
from kms.cli.main import run

SHIPPED = Path(__file__).parents[2] / "reports"


@attrs.frozen
class Place:
    """A configuration with the shipped reports, and what kmsctl prints there."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def call(self, *arguments: str) -> tuple[int, str, str]:
        status = run(["--config", str(self.folder / "etc" / "kms.ini"), *arguments])
        printed = self.capsys.readouterr()
        return status, printed.out, printed.err

    def ask(self, *arguments: str) -> Any:
        status, out, _ = self.call(*arguments, "--json")
        assert status == 0
        return json.loads(out)


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    (tmp_path / "etc").mkdir()
    text = "[server]\nhostname = mail.a.test\n[domains]\nlocal = a.test\n[queue]\nlanguage = de-AT\n"
    (tmp_path / "etc" / "kms.ini").write_text(text)
    shutil.copytree(SHIPPED, tmp_path / "reports")
    return Place(tmp_path, capsys)


class TestCheck:
    def test_names_the_languages_of_good_texts(self, place: Place) -> None:
        status, out, _ = place.call("reports", "check")
        assert status == 0
        assert out.endswith("the texts of cs, de, en, es, fr, it, ja, nl, pl, pt, ru, zh are right\n")
        assert place.ask("reports", "check")["problems"] == []

    def test_names_each_text_that_cannot_be_used(self, place: Place) -> None:
        (place.folder / "reports" / "cs" / "failed.txt").write_text("Subject: $oops\n\n$recipients\n")
        (place.folder / "reports" / "ru" / "quota.txt").write_bytes(b"\xff")
        (place.folder / "reports" / "zh" / "status.txt").unlink()
        status, _, err = place.call("reports", "check")
        assert status == failure.BAD_DATA
        first, second, third = err.splitlines()
        assert "reports/cs/failed.txt: unknown placeholder $oops; there are $arrived, " in first
        assert second.endswith("reports/ru/quota.txt: is not UTF-8 at octet 0")
        assert third.endswith("reports/zh/status.txt: is missing")

    def test_says_that_there_is_no_folder(self, place: Place) -> None:
        shutil.rmtree(place.folder / "reports")
        status, _, err = place.call("reports", "check")
        assert status == failure.BAD_DATA
        assert "no such folder" in err


class TestPreview:
    def test_shows_the_whole_mail_with_its_header_decoded(self, place: Place) -> None:
        status, out, err = place.call("reports", "preview", "--language", "cs", "--kind", "failed")
        assert (status, err) == (0, "")
        assert "Subject: Vaši zprávu se nepodařilo doručit\n" in out
        assert "Zde poštovní server mail.a.test.\n" in out
        assert "<bob@example.com>\n    Taková schránka neexistuje." in out
        assert "odpověděl: 550 5.1.1 No such user here)\n" in out
        assert "Final-Recipient: rfc822; bob@example.com\n" in out
        assert out.endswith("Subject: Hello\n")

    def test_is_of_a_failure_in_the_servers_language_where_nothing_else_is_asked(self, place: Place) -> None:
        assert (
            "Subject: Ihre Nachricht konnte nicht zugestellt werden\n" in place.call("reports", "preview")[1]
        )

    def test_gives_the_very_octets_to_programs(self, place: Place) -> None:
        facts = place.ask("reports", "preview", "--language", "ja", "--kind", "quota")
        assert facts["header"]["Subject"] == "メールボックス joe@a.test がいっぱいです"
        assert [part["type"] for part in facts["parts"]] == ["text/plain"]
        message = email.message_from_string(facts["message"], policy=email.policy.default)
        assert message.get_content().replace("\r\n", "\n") == facts["parts"][0]["text"]

    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            ("delayed", "Your message is delayed"),
            ("delivered", "Your message has been delivered"),
            ("relayed", "Your message has been passed on"),
            ("alarm", "Alarm: The limit failed_logins_per_address has stopped 192.0.2.77"),
        ],
    )
    def test_shows_each_kind(self, place: Place, kind: str, words: str) -> None:
        assert words in place.call("reports", "preview", "--language", "en", "--kind", kind)[1]

    def test_of_a_broken_text_shows_what_stands_in_for_it_and_says_why(self, place: Place) -> None:
        (place.folder / "reports" / "cs" / "failed.txt").write_text("Subject: $oops\n\n$recipients\n")
        (place.folder / "reports" / "fr" / "failed.txt").unlink()
        status, out, err = place.call("reports", "preview", "--language", "cs")
        assert status == 0
        assert "Subject: Your message could not be delivered\n" in out
        (line,) = err.splitlines()
        assert line.startswith("warning: ")
        assert "reports/cs/failed.txt: unknown placeholder $oops" in line

    def test_uses_a_language_that_was_added(self, place: Place) -> None:
        (place.folder / "reports" / "sv").mkdir()
        (place.folder / "reports" / "sv" / "failed.txt").write_text("Subject: Tyvärr\n\n$recipients\n")
        assert "Subject: Tyvärr\n" in place.call("reports", "preview", "--language", "sv")[1]

    def test_of_a_language_that_is_not_there_is_refused(self, place: Place) -> None:
        status, _, err = place.call("reports", "preview", "--language", "sv")
        assert status == failure.BAD_DATA
        assert "there are no reports in 'sv', only in cs, de, en," in err


class TestLanguageOfAnAccount:
    @pytest.fixture(autouse=True)
    def joe(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))
        assert place.call("user", "add", "joe@a.test", "--password-stdin")[0] == 0

    @pytest.mark.parametrize("language", ["cs", "de-AT", "en", ""])
    def test_is_one_that_there_is(self, place: Place, language: str) -> None:
        assert place.ask("user", "set", "joe@a.test", "--language", language)["language"] == language

    def test_may_always_be_english(self, place: Place) -> None:
        shutil.rmtree(place.folder / "reports")
        assert place.ask("user", "set", "joe@a.test", "--language", "en")["language"] == "en"

    @pytest.mark.parametrize(
        ("language", "nearest"), [("cz", "cs"), ("Deutsch", "de"), ("jp", "ja"), ("frensh", "fr")]
    )
    def test_is_else_refused_with_the_nearest(self, place: Place, language: str, nearest: str) -> None:
        status, _, err = place.call("user", "set", "joe@a.test", "--language", language)
        assert status == failure.BAD_DATA
        assert err.endswith(f"; did you mean {nearest}?\n")
