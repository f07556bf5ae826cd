"""Templates of reports: read, checked, filled; each kind with placeholders of its own."""

from __future__ import annotations

import pytest

from kms.domain.report_text import (
    BUILT_IN,
    PLACEHOLDERS,
    ReportKind,
    ReportText,
    ReportTextError,
    parse_report_text,
)

FAILED = ReportKind.FAILED
GOOD = "# a comment\n\nSubject: $hostname: not delivered\n\nTo:\n$recipients\n\nCosts $$5.\n\n"


def test_a_template_has_a_subject_and_a_body() -> None:
    text = parse_report_text(GOOD, FAILED)
    assert text == ReportText("$hostname: not delivered", "To:\n$recipients\n\nCosts $$5.\n")


def test_filling_puts_the_values_in() -> None:
    filled = parse_report_text(GOOD, FAILED).fill({"hostname": "mx.test", "recipients": "a@far.test: $gone"})
    assert filled == ReportText("mx.test: not delivered", "To:\na@far.test: $gone\n\nCosts $5.\n")


def test_filling_leaves_what_has_no_value() -> None:
    assert ReportText("$x", "$recipients").fill({}) == ReportText("$x", "$recipients")


def test_braces_are_placeholders_too() -> None:
    assert parse_report_text("SUBJECT: x\n\n${recipients}s", FAILED).body == "${recipients}s\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "first line"),
        ("# only a comment\n", "first line"),
        ("Subject:\n\n$recipients", "first line"),
        ("$recipients\n", "first line"),
        ("Subject: x", "empty line"),
        ("Subject: x\n$recipients", "empty line"),
        ("Subject: x\n\n", "missing"),
        ("Subject: x\n\nno placeholder", "missing"),
        ("Subject: x $5\n\n$recipients", "begins no placeholder"),
        ("Subject: x\n\n$recipients $unknown", r"unknown placeholder \$unknown"),
    ],
)
def test_a_broken_template_is_named(text: str, reason: str) -> None:
    with pytest.raises(ReportTextError, match=reason):
        parse_report_text(text, FAILED)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Subject: x\n\nfull", r"\$account is missing"),
        ("Subject: $account\n\nfull", r"\$account is missing"),
        ("Subject: x\n\n$$account", r"\$account is missing"),
        ("Subject: x\n\n$account $recipients", r"unknown placeholder \$recipients; there are \$account"),
    ],
)
def test_each_kind_has_placeholders_of_its_own(text: str, reason: str) -> None:
    with pytest.raises(ReportTextError, match=reason):
        parse_report_text(text, ReportKind.QUOTA)


def test_a_doubled_dollar_is_no_placeholder() -> None:
    with pytest.raises(ReportTextError, match="missing"):
        parse_report_text("Subject: x\n\n$$recipients", FAILED)


@pytest.mark.parametrize("kind", ReportKind)
def test_the_built_in_english_is_a_good_template(kind: ReportKind) -> None:
    text = BUILT_IN[kind]
    assert parse_report_text(f"Subject: {text.subject}\n\n{text.body}", kind) == text
    filled = text.fill(dict.fromkeys(PLACEHOLDERS[kind], "value"))
    assert "$" not in filled.subject + filled.body
