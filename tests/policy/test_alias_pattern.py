from __future__ import annotations

import pytest

from kms.policy.alias_pattern import fits


@pytest.mark.parametrize(
    ("pattern", "local_part", "does_fit"),
    [
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("sales-*", "sales-", True),
        ("sales-*", "presales-x", False),
        ("*-*-x", "a-b-c-x", True),
        ("*.*", "nodot", False),
        ("a.c*", "abc", False),
        ("*", "", True),
    ],
)
def test_a_star_is_any_run_and_a_question_mark_one_character(
    pattern: str, local_part: str, does_fit: bool
) -> None:
    assert fits(pattern, local_part) is does_fit


def test_many_stars_cost_no_more_than_the_text_is_long() -> None:
    assert not fits("*a" * 30 + "*b", "a" * 64)
