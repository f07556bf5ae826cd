"""The disk fails at every named step, with each of four errors: 4xx and no rest, no false 250, and work goes on.

The faults of one server come one after the other, so that it is seen to work again after each without a restart.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.faulty_kms import BOX, FAR, SIZES, FaultyKms, Letter

ERRORS = ("EIO", "EDQUOT", "EROFS", "ENOSPC")
LARGE_RECEPTION = (
    "body-open",
    "body-open,body-write",
    "body-sync",
    "body-folder-sync",
    "content-ended,begun",
    "content-ended,rows-written",
    "rows-written,before-commit",
)
SMALL_RECEPTION = LARGE_RECEPTION[4:]
DELIVERY = ("tmp-open", "tmp-write", "tmp-sync", "rename", "new-sync")
OUTCOME = ("mailbox-stored,outcome-written",)


@pytest.fixture
def kms() -> Iterator[FaultyKms]:
    with tempfile.TemporaryDirectory(prefix="kms-faults-") as folder:
        server = FaultyKms(Path(folder) / "kms")
        server.begin()
        server.stop()
        yield server
        server.end()


def in_turn(steps: tuple[str, ...], error: str) -> str:
    return " ".join(f"{step}:{error}" for step in steps)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("error", ERRORS)
def test_a_failure_of_the_reception_is_451_and_leaves_nothing(kms: FaultyKms, error: str, size: str) -> None:
    steps = LARGE_RECEPTION if size == "large" else SMALL_RECEPTION
    kms.start_with(KMS_FAIL_AT=in_turn(steps, error))
    refused = [Letter(f"refused-{number}-{error}", BOX, SIZES[size]) for number in range(len(steps))]
    for letter in refused:
        code, text = kms.send(letter)
        assert (code, text[:5]) == (451, "4.3.0"), f"{letter}: {code} {text}\n{kms.everything()}"
        assert kms.queue_length() == 0
    letter = Letter(f"taken-{error}", BOX, SIZES[size])
    assert kms.send(letter)[0] == 250, "it works again without a restart"
    kms.wait_until_idle()
    kms.stop()
    assert [kms.copies(other) for other in refused] == [0] * len(steps)
    assert kms.copies(letter) == 1
    assert kms.rests() == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("error", ERRORS)
def test_failures_in_local_delivery_defer_and_then_deliver_once(
    kms: FaultyKms, error: str, size: str
) -> None:
    kms.start_with(KMS_FAIL_AT=in_turn((*DELIVERY, *OUTCOME), error))
    letter = Letter(f"local-{error}", BOX, SIZES[size])
    assert kms.send(letter)[0] == 250
    kms.wait_until_idle()
    assert kms.log().count("status=deferred") == len(DELIVERY)
    kms.stop()
    assert kms.copies(letter) == 1
    assert kms.reports(letter) == 0
    assert kms.rests() == []


@pytest.mark.parametrize("error", ERRORS)
def test_an_outcome_that_cannot_be_written_is_kept_and_nothing_is_sent_twice(
    kms: FaultyKms, error: str
) -> None:
    kms.start_with(
        KMS_FAIL_AT=in_turn(("rows-written,outcome-written", "outcome-written,before-commit"), error)
    )
    letter = Letter(f"remote-{error}", FAR, SIZES["small"])
    assert kms.send(letter)[0] == 250
    kms.wait_until_idle()
    assert kms.copies(letter) == 1


@pytest.mark.parametrize("error", ERRORS)
def test_a_body_file_that_cannot_be_removed_is_gone_after_the_next_start(kms: FaultyKms, error: str) -> None:
    kms.start_with(KMS_FAIL_AT=f"body-unlink:{error}")
    letter = Letter(f"unlink-{error}", BOX, SIZES["large"])
    assert kms.send(letter)[0] == 250
    kms.wait_until_idle()
    kms.stop()
    assert len(kms.rests()) == 1
    kms.start()
    kms.stop()
    assert kms.rests() == []
    assert kms.copies(letter) == 1
