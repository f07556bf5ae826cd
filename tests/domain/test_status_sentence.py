from pathlib import Path

import pytest

from kms.domain.status import BAD_MAILBOX, EnhancedStatus
from kms.domain.status_sentence import (
    BUILT_IN_SENTENCES,
    StatusSentences,
    parse_status_sentences,
)

SHIPPED = Path(__file__).parents[2] / "reports" / "en" / "status.txt"
GERMAN = """\
# a comment

5.1.1 = Gibt es nicht = wirklich.
5.1.x = Adresse?
5.x.x = Fehler.
4.x.x = Später.
said = $server sprach: $words
no_end = immer
"""


def test_the_shipped_english_is_the_one_built_in() -> None:
    assert parse_status_sentences(SHIPPED.read_text()) == (BUILT_IN_SENTENCES, ())


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (EnhancedStatus(5, 1, 1), "Gibt es nicht = wirklich."),
        (EnhancedStatus(5, 1, 9), "Adresse?"),
        (EnhancedStatus(5, 2, 2), "Fehler."),
        (EnhancedStatus(4, 1, 1), "Später."),
        (EnhancedStatus(2, 1, 5), ""),
    ],
)
def test_the_nearest_line_explains_a_status(status: EnhancedStatus, sentence: str) -> None:
    sentences, problems = parse_status_sentences(GERMAN)
    assert problems == ()
    assert sentences.explain(status) == sentence


def test_the_words_around_an_answer_are_of_the_language() -> None:
    sentences, _ = parse_status_sentences(GERMAN)
    assert sentences.quote("mx[::1]:25", "550 $server") == "mx[::1]:25 sprach: 550 $server"
    assert sentences.no_end == "immer"


def test_english_stands_in_for_what_is_missing() -> None:
    nothing = StatusSentences({})
    assert nothing.explain(BAD_MAILBOX).startswith("There is no such mailbox.")
    assert nothing.explain(EnhancedStatus(5, 0, 0)).startswith("The other server refused")
    assert nothing.quote("mx", "no") == "mx said: no"
    assert nothing.no_end == "further notice"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nonsense", "line 9: 'nonsense' is no code such as 5.1.1"),
        ("2.1.1 = fine", "line 9: '2.1.1' is no code"),
        ("5.x.1 = odd", "line 9: '5.x.1' is no code"),
        ("5.7.1 =", "line 9: 5.7.1 has no sentence"),
        ("5.1.1 = again", "line 9: 5.1.1 stands there twice; the first one counts"),
    ],
)
def test_a_broken_line_is_named_and_the_others_count(line: str, problem: str) -> None:
    sentences, (found,) = parse_status_sentences(GERMAN + line)
    assert found.startswith(problem)
    assert sentences == parse_status_sentences(GERMAN)[0]


@pytest.mark.parametrize("words", ["$server", "$words", "$server $words $more", "$server $words $5"])
def test_the_words_around_an_answer_need_both_placeholders(words: str) -> None:
    text = GERMAN.replace("$server sprach: $words", words)
    sentences, problems = parse_status_sentences(text)
    assert problems == (
        "line 7: said must have the placeholders $server and $words, and no other",
        "said is missing",
    )
    assert sentences.quote("mx", "no") == "mx said: no"
