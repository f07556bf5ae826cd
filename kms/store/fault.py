"""Named steps at which tests let the server die or a system call fail. Not a feature of production.

Promises: without `KMS_CRASH_AT` and `KMS_FAIL_AT` in the environment of the process `reach` is an empty function;
nothing else switches it on. Each step stands just before a system call or right after one, so a failure there is
one that the call could give.
`KMS_CRASH_AT=step[:n]` leaves at the n-th time with `os._exit`, as a kill does: nothing is flushed or closed. Several
steps with commas are a path: each counts only after the one before it was reached.
`KMS_FAIL_AT=step:errno` raises that OSError once; a path may stand before the step, several faults are parted by
blanks, and each is over when it has been raised.
Flow: store and service call `reach`; tests/crash sets the variables.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from enum import Enum

EXIT_STATUS = 99


class Step(Enum):
    """Where the server can be; the names say what comes next, or what has just been done."""

    CONTENT_ENDED = "content-ended"
    BEGUN = "begun"
    ROWS_WRITTEN = "rows-written"
    OUTCOME_WRITTEN = "outcome-written"
    REPORT_WRITTEN = "report-written"
    BEFORE_COMMIT = "before-commit"
    AFTER_COMMIT = "after-commit"
    BEFORE_250 = "before-250"
    REPLY_SENT = "reply-sent"
    BODY_OPEN = "body-open"  # about to be opened
    BODY_WRITE = "body-write"  # the first time: it is open, nothing is written
    BODY_SYNC = "body-sync"  # all written
    BODY_FOLDER_SYNC = "body-folder-sync"  # synced
    BODY_STORED = "body-stored"  # its folder too
    BODY_UNLINK = "body-unlink"
    BODY_UNLINKED = "body-unlinked"
    TMP_OPEN = "tmp-open"
    TMP_WRITE = "tmp-write"
    TMP_SYNC = "tmp-sync"
    RENAME = "rename"
    NEW_SYNC = "new-sync"
    MAILBOX_STORED = "mailbox-stored"


_DONE = {
    Step.CONTENT_ENDED,
    Step.AFTER_COMMIT,
    Step.BEFORE_250,
    Step.REPLY_SENT,
    Step.BODY_STORED,
    Step.BODY_UNLINKED,
    Step.MAILBOX_STORED,
}
"""No system call follows: nothing can fail there."""


def make_reach(environment: Mapping[str, str]) -> Callable[[Step], None]:
    """Make what `reach` is in a process with this environment; raises SystemExit for a value that is none."""
    crash, fail = environment.get("KMS_CRASH_AT", ""), environment.get("KMS_FAIL_AT", "")
    if not crash and not fail:
        return _pass
    try:
        faults = [*_read_crash(crash), *_read_fail(fail)]
    except (ValueError, TypeError, AttributeError) as error:
        raise SystemExit(f"kms: KMS_CRASH_AT={crash!r} KMS_FAIL_AT={fail!r} name no step: {error}") from None
    sys.stderr.write(f"kms: faults for tests are on: KMS_CRASH_AT={crash!r} KMS_FAIL_AT={fail!r}\n")

    def reach(step: Step) -> None:
        for fault in faults:
            fault(step)

    return reach


def _pass(step: Step) -> None:
    """Nothing happens at any step."""


def _read_crash(text: str) -> list[Callable[[Step], None]]:
    return [_at(_read_path(text), _leave)] if text else []


def _read_fail(text: str) -> list[Callable[[Step], None]]:
    return [_read_failure(*word.rsplit(":", 1)) for word in text.split()]


def _read_failure(path: str, code: str) -> Callable[[Step], None]:
    number = int(getattr(errno, code))
    steps = _read_path(path)
    if steps[-1] in _DONE:
        raise ValueError(f"nothing can fail at {steps[-1].value}")

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return _at(steps, fail)


def _read_path(text: str) -> list[Step]:
    path: list[Step] = []
    for word in text.split(","):
        name, _, times = word.partition(":")
        path += [Step(name)] * int(times or 1)
    return path


def _at(path: list[Step], act: Callable[[], None]) -> Callable[[Step], None]:
    """Act once, at the last step of the path."""

    def follow(step: Step) -> None:
        if path and step is path[0]:
            path.pop(0)
            if not path:
                act()

    return follow


def _leave() -> None:
    os._exit(EXIT_STATUS)


reach = make_reach(os.environ)
