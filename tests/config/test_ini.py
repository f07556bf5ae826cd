import pytest

from kms.config.ini import Section, parse_ini


def read(text: str) -> dict[str, Section]:
    def refuse(line: int, section: str, key: str, fault: str) -> None:
        raise AssertionError(f"{line}: [{section}] {key}: {fault}")

    return parse_ini(text, refuse)


def faults_of(text: str) -> list[tuple[int, str, str, str]]:
    faults: list[tuple[int, str, str, str]] = []
    parse_ini(text, lambda *fault: faults.append(fault))
    return faults


def value_of(text: str) -> str:
    return read(f"[s]\nk = {text}")["s"].entries["k"].value


def test_sections_and_keys_know_their_lines() -> None:
    sections = read("\ufeff; head\n\n[one]\na = 1\r\n# note\nb=2\n[ two ] ; more\nc =\n")
    assert sections["one"].line == 3
    assert [(key, entry.value, entry.line) for key, entry in sections["one"].entries.items()] == [
        ("a", "1", 4),
        ("b", "2", 6),
    ]
    assert sections["two"].entries["c"].value == ""


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("value ; comment", "value"),
        ("value # comment", "value"),
        ("; comment", ""),
        ("a;b#c", "a;b#c"),
        ("50% of %(x)s", "50% of %(x)s"),
        ("a = b", "a = b"),
        ('"a ; b # c"', "a ; b # c"),
        ('"  blanks  " ; comment', "  blanks  "),
        (r'"a \"quote\" and \\ and \n"', r'a "quote" and \ and \n'),
        ('""', ""),
        ('5" disk', '5" disk'),
    ],
)
def test_comments_and_quotes(written: str, meant: str) -> None:
    assert value_of(written) == meant


def test_a_line_that_begins_with_a_blank_goes_on_with_the_value() -> None:
    assert value_of("one ; first\n  two # second\n\n; note\n  ; note\n\tthree") == "one\ntwo\nthree"
    assert value_of("\n  one") == "one"


def test_every_fault_is_told_with_its_line() -> None:
    text = """a = 1
[
x = not told again
[one]
no setting
 nor this
b = 1
b = 2
c = "open
 "3
[one]
[two]
 too early
[]
"""
    assert [(line, section, key) for line, section, key, _ in faults_of(text)] == [
        (1, "", "a"),
        (2, "", ""),
        (5, "one", ""),
        (8, "one", "b"),
        (9, "one", "c"),
        (10, "one", "c"),
        (11, "one", ""),
        (13, "two", ""),
        (14, "", ""),
    ]


def test_a_line_without_a_key_is_named() -> None:
    assert faults_of("[one]\n= 3") == [(2, "one", "", '"= 3" is no setting; write key = value')]


def test_a_continued_line_before_any_section_is_named() -> None:
    ((line, _, _, fault),) = faults_of("  lost")
    assert (line, "no value above" in fault) == (1, True)


def test_what_goes_on_with_a_faulty_line_is_not_told_again() -> None:
    assert len(faults_of("[one]\nbad\n  worse\n  worst")) == 1


def test_text_after_a_closing_quote_is_a_fault() -> None:
    assert len(faults_of('[s]\nk = "a" b')) == 1
    assert len(faults_of('[s]\nk = "a";b')) == 1


def test_control_characters_are_refused() -> None:
    assert faults_of("[s]\nk = a\0b\n more") == [
        (2, "s", "", "the line holds a control character; take it out")
    ]
