"""The server dies at every named step, with small and large messages, for a mailbox and for another server.

After the restart: a message that was answered 250 has arrived, one that was not is there whole or not at all; a
mailbox has it once; the sink at most twice, and twice only where the outcome was not committed; nothing is left over.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.faulty_kms import BOX, FAR, SIZES, FaultyKms, Letter

RECEPTION = (
    "content-ended,begun",
    "rows-written",
    "rows-written,before-commit",
    "rows-written,after-commit",
    "before-250",
    "before-250,reply-sent",
)
BODY = ("body-open", "body-write", "body-write:4", "body-sync", "body-folder-sync", "body-stored")
MAILBOX = ("tmp-open", "tmp-write", "tmp-sync", "rename", "new-sync", "mailbox-stored")
OUTCOME = ("outcome-written", "outcome-written,before-commit", "outcome-written,after-commit")
REPORT = ("report-written", "report-written,before-commit", "report-written,after-commit")
UNLINK = ("body-unlink", "body-unlinked")
BEFORE_250 = {*RECEPTION[:5], *BODY}
BEFORE_OUTCOME = {*MAILBOX, *OUTCOME[:2]}

CASES = [
    *((step, to, size) for step in (*RECEPTION, *OUTCOME) for to in (BOX, FAR) for size in SIZES),
    *((step, to, "large") for step in (*BODY, *UNLINK) for to in (BOX, FAR)),
    *((step, BOX, size) for step in MAILBOX for size in SIZES),
    ("tmp-write:5", BOX, "large"),
]


@pytest.fixture(scope="module")
def kms() -> Iterator[FaultyKms]:
    """One data folder for all crashes, so that each also meets what the others have left."""
    with tempfile.TemporaryDirectory(prefix="kms-steps-") as folder:
        server = FaultyKms(Path(folder) / "kms")
        server.begin()
        server.stop()
        yield server
        server.end()


def name_of(case: tuple[str, str, str]) -> str:
    return "-".join((*case[0].replace(":", "-").split(","), "local" if case[1] == BOX else "remote", case[2]))


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_crash_at_this_step_loses_nothing(kms: FaultyKms, case: tuple[str, str, str]) -> None:
    step, recipient, size = case
    letter = Letter(name_of(case), recipient, SIZES[size])
    kms.start_with(KMS_CRASH_AT=step)
    code, text = kms.send(letter)
    kms.wait_for_the_crash()
    assert code in {0, 250}, text
    if step in BEFORE_250:
        assert code == 0
    kms.start()
    kms.wait_until_idle()
    assert kms.stop() in {0, -15, 143}
    copies = kms.copies(letter)
    if recipient == BOX:
        assert copies in ({1} if code == 250 else {0, 1})
    else:
        assert copies in ({1, 2} if code == 250 else {0, 1})
        assert copies < 2 or step in BEFORE_OUTCOME
    if step in {*BODY, *RECEPTION[:3]}:
        assert copies == 0, "nothing was committed"
    if step in RECEPTION[3:]:
        assert copies == 1, "it was committed"
    assert kms.rests() == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", REPORT)
def test_a_crash_while_a_report_is_stored_gives_one_report(kms: FaultyKms, step: str, size: str) -> None:
    letter = Letter(name_of((step, FAR, size)), FAR, SIZES[size])
    kms.sink.play({"RCPT": ["550 5.1.1 nobody"] * 3})
    kms.start_with(KMS_CRASH_AT=step)
    assert kms.send(letter)[0] == 250
    kms.wait_for_the_crash()
    kms.start()
    kms.wait_until_idle()
    assert kms.stop() in {0, -15, 143}
    kms.sink.play({})
    assert kms.reports(letter) == 1
    assert kms.copies(letter) == 0
    assert kms.rests() == []
