"""A file of sentences: lines `name = sentence`, comment lines with `#`, empty lines.

Flow: status_sentence.py and alarm_sentence.py say which names there are and what their sentences must be like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


def read_sentences(
    text: str, find_problem: Callable[[str, str], str], required: Iterable[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Read a table.

    Args:
        find_problem: says what is wrong with a name and its sentence; "" = nothing.
        required: names that the table is to have.

    Returns:
        The sentences of all good lines by name, and what is wrong with the others or missing.
    """
    table: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, sentence = (part.strip() for part in line.partition("="))
        problem = find_problem(name, sentence) or (_TWICE.format(name) if name in table else "")
        if problem:
            problems.append(f"line {number}: {problem}")
        else:
            table[name] = sentence
    problems += [f"{name} is missing" for name in required if name not in table]
    return table, tuple(problems)


_TWICE = "{} stands there twice; the first one counts"
