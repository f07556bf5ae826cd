import pytest

from kms.domain.language import find_languages, is_language


@pytest.mark.parametrize("text", ["en", "pt-BR", "pt_BR", "zh-Hant-TW", "DE"])
def test_a_tag_is_a_language(text: str) -> None:
    assert is_language(text)


@pytest.mark.parametrize("text", ["", "e", "../en", "en/..", "en-", ".git", "a\nb", "x" * 9, "čeština"])
def test_anything_else_is_none(text: str) -> None:
    assert not is_language(text)
    assert find_languages(text, [text]) == ()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("de", ("de",)),
        ("de-AT", ("de",)),
        ("DE_at", ("de",)),
        ("pt-br", ("pt_BR", "pt")),
        ("zh-Hant-TW", ("zh-Hant",)),
        ("cs", ()),
    ],
)
def test_the_nearest_language_serves_first(wanted: str, found: tuple[str, ...]) -> None:
    assert find_languages(wanted, ["de", "pt", "pt_BR", "zh-Hant", "en"]) == found
