import re
import subprocess
import sys
from pathlib import Path

import pytest

from kms.config.features import FEATURES
from kms.config.ini import parse_ini
from kms.config.loader import FREE_SECTIONS, load_settings, section_classes, settings_of
from kms.config.manual import main, make_page, make_sample

ROOT = Path(__file__).parents[2]
SPECIAL = {
    ("domains", "local"): "example.test",
    ("relay", "address_group"): "",
    ("limits", "sender_domain_must_exist"): "no",
    ("spf", "action"): "off",
}


def all_keys() -> dict[tuple[str, str], str]:
    return {
        (name, key): setting.default
        for name, section_class in section_classes().items()
        for key, setting in settings_of(section_class).items()
    }


def test_the_committed_page_is_what_the_program_says() -> None:
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == make_page()


def test_the_committed_sample_is_what_the_program_says() -> None:
    assert (ROOT / "etc/kms.ini").read_text(encoding="utf-8") == make_sample()


def test_the_sample_shows_every_key_at_its_default_but_for_four_lines() -> None:
    sections = parse_ini(
        (ROOT / "etc/kms.ini").read_text(encoding="utf-8"), lambda *fault: pytest.fail(str(fault))
    )
    shown = {
        (name, key): entry.value
        for name, section in sections.items()
        if name not in FREE_SECTIONS
        for key, entry in section.entries.items()
    }
    assert shown == {**all_keys(), **SPECIAL}
    assert set(sections) == {*section_classes(), *FREE_SECTIONS}


def test_the_page_shows_every_key() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    assert rows == {key for _, key in all_keys()}


def test_the_sample_loads_without_warnings() -> None:
    assert load_settings(ROOT / "etc/kms.ini").warnings == ()


def test_every_key_is_judged_once() -> None:
    assert set(FEATURES) == set(all_keys())


def test_the_documented_commands_print_them() -> None:
    command = [sys.executable, "-m", "kms.config.manual", "--sample"]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode() == make_sample()


def test_both_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert capsys.readouterr().out == make_page()
    main(["--sample"])
    assert capsys.readouterr().out == make_sample()
