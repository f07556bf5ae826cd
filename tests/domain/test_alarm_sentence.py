from pathlib import Path

import pytest

from kms.domain.alarm_sentence import BUILT_IN_ALARM_SENTENCES, Alarm, AlarmSentences, parse_alarm_sentences

SHIPPED = Path(__file__).parents[2] / "reports" / "en" / "situations.txt"
TEXT = SHIPPED.read_text()
ALARM = Alarm("messages_per_hour", "192.0.2.7", "what.again", ("advice.gateway", "advice.suspended"), 3)


def test_the_shipped_english_is_the_one_built_in() -> None:
    assert parse_alarm_sentences(TEXT) == (BUILT_IN_ALARM_SENTENCES, ())


def test_facts_stand_in_the_sentence_and_advice_may_be_of_several() -> None:
    assert BUILT_IN_ALARM_SENTENCES.describe(ALARM) == (
        "The limit messages_per_hour has stopped 192.0.2.7 3 times within an hour"
    )
    advice = BUILT_IN_ALARM_SENTENCES.advise(ALARM)
    assert advice.startswith("If it is a router")
    assert "gateway_alarm. Until it behaves" in advice


def test_sentences_of_languages_without_blanks_follow_each_other_without_one() -> None:
    sentences = AlarmSentences({"advice.gateway": "止めて。", "advice.suspended": "一時間 $$ 待つ。"})
    assert sentences.advise(ALARM) == "止めて。一時間 $ 待つ。"


def test_english_stands_in_for_what_is_missing() -> None:
    assert AlarmSentences({}).describe(ALARM) == BUILT_IN_ALARM_SENTENCES.describe(ALARM)
    assert AlarmSentences({}).advise(ALARM) == BUILT_IN_ALARM_SENTENCES.advise(ALARM)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nonsense", "'nonsense' is no name of a sentence; there are what.again, "),
        ("what.once =", "what.once has no sentence"),
        ("what.once = $limit", "what.once must have the placeholder $client, and may have $limit and $count"),
        ("what.once = $client $when", "what.once must have the placeholder $client, "),
        ("what.once = $client $5", "what.once must have the placeholder $client, "),
        ("advice.other = Ask $client", "advice.other has no placeholders; write $$"),
        ("advice.other = 5 $", "advice.other has no placeholders; write $$"),
    ],
)
def test_a_broken_line_is_named_and_english_stands_in_for_it(line: str, problem: str) -> None:
    sentences, problems = parse_alarm_sentences(f"{line}\nwhat.account = Konto $client\n")
    assert problems[0].startswith(f"line 1: {problem}")
    assert sentences == AlarmSentences({"what.account": "Konto $client"})
    assert len(problems) == 12


def test_of_two_lines_of_a_name_the_first_counts() -> None:
    sentences, problems = parse_alarm_sentences(f"{TEXT}\nwhat.once = $client\n")
    assert problems[0].endswith("what.once stands there twice; the first one counts")
    assert sentences == BUILT_IN_ALARM_SENTENCES
