"""What is looked at after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import smtp_rig


@pytest.fixture(autouse=True)
def _every_refusal_by_a_rule_has_its_record() -> Iterator[None]:
    yield
    made, smtp_rig.MADE[:] = list(smtp_rig.MADE), []
    for rig in made:
        rig.check_records()
