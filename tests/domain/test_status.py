"""Enhanced status codes: read and printed."""

from __future__ import annotations

import pytest

from kms.domain import status
from kms.domain.status import EnhancedStatus


@pytest.mark.parametrize("text", ["2.0.0", "4.4.7", "5.7.1", "5.1.10", "5.7.27", "5.999.999"])
def test_a_code_is_read_and_printed(text: str) -> None:
    code = EnhancedStatus.parse(text)
    assert code is not None
    assert str(code) == text


@pytest.mark.parametrize(
    "text",
    ["", "5", "5.7", "5.7.1.1", "3.0.0", "1.2.3", "55.7.1", "5.7.1 ", " 5.7.1", "5.7.1000", "5,7,1", "5.7.x"],
)
def test_anything_else_is_no_code(text: str) -> None:
    assert EnhancedStatus.parse(text) is None


def test_a_code_is_found_at_the_start_of_a_text() -> None:
    assert EnhancedStatus.find_at_start("5.7.1 Relaying denied") == status.NOT_AUTHORIZED
    assert EnhancedStatus.find_at_start("5.7.1") == status.NOT_AUTHORIZED


@pytest.mark.parametrize(
    "text", ["", "Relaying denied 5.7.1", "5.7.1: no", " 5.7.1 no", "192.0.2.1 is blocked"]
)
def test_no_code_is_found_elsewhere(text: str) -> None:
    assert EnhancedStatus.find_at_start(text) is None
