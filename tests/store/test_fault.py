"""The hook for faults: off without its variables, and never half on."""

import errno
import os

import pytest

from kms.store import fault
from kms.store.fault import Step, make_reach


def test_without_the_variables_it_is_a_function_that_does_nothing() -> None:
    assert make_reach({}) is make_reach({"PATH": "/bin"})
    for step in Step:
        make_reach({})(step)
    assert fault.reach is make_reach({})


def test_a_failure_comes_once_and_only_at_its_step(capsys: pytest.CaptureFixture[str]) -> None:
    reach = make_reach({"KMS_FAIL_AT": "body-write:2:EIO"})
    assert "faults for tests are on" in capsys.readouterr().err
    reach(Step.BODY_OPEN)
    reach(Step.BODY_WRITE)
    with pytest.raises(OSError) as raised:
        reach(Step.BODY_WRITE)
    assert raised.value.errno == errno.EIO
    reach(Step.BODY_WRITE)


def test_several_failures_come_each_at_the_end_of_its_path() -> None:
    reach = make_reach({"KMS_FAIL_AT": "content-ended,begun:ENOSPC rename:EROFS"})
    reach(Step.BEGUN)
    reach(Step.CONTENT_ENDED)
    with pytest.raises(OSError, match="No space"):
        reach(Step.BEGUN)
    with pytest.raises(OSError, match="Read-only"):
        reach(Step.RENAME)
    reach(Step.RENAME)


def test_a_crash_comes_at_the_end_of_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    reach = make_reach({"KMS_CRASH_AT": "rows-written,before-commit:2"})
    for step in (Step.BEFORE_COMMIT, Step.ROWS_WRITTEN, Step.BEFORE_COMMIT):
        reach(step)
    assert left == []
    reach(Step.BEFORE_COMMIT)
    assert left == [fault.EXIT_STATUS]


@pytest.mark.parametrize(
    "variable",
    [
        {"KMS_CRASH_AT": "nowhere"},
        {"KMS_FAIL_AT": "rename"},
        {"KMS_FAIL_AT": "rename:EXYZ"},
        {"KMS_FAIL_AT": "after-commit:EIO"},
    ],
    ids=str,
)
def test_a_value_that_names_no_step_ends_the_start(variable: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match="name no step"):
        make_reach(variable)
