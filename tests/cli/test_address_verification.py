"""What `sendmail -bv` prints and how it ends; the real command is in tests/e2e/test_aliases_file.py."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kms.cli.address_verification import verify
from kms.cli.sendmail_options import UsageFault

ANSWERS = {
    "anna": (0, ["anna@a.test", "x@far.test"], ""),
    "staff": (75, [], "its list cannot be read"),
    "nobody": (67, [], "nobody has this address"),
    "@@": (65, [], "is no address"),
}


class KnowingServer:
    """A session, and the server in it, that knows these addresses."""

    def server(self) -> KnowingServer:
        return self

    def verify_address(self, address: str) -> dict[str, Any]:
        status, targets, problem = ANSWERS[address]
        return {"address": address, "targets": targets, "status": status, "problem": problem}


def status_of(*addresses: str) -> int:
    return verify(cast(Any, KnowingServer()), addresses)


def test_each_address_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    status_of("anna", "staff", "nobody")
    assert capsys.readouterr().out.splitlines() == [
        "anna: deliverable: goes to anna@a.test, x@far.test",
        "staff: not now: its list cannot be read",
        "nobody: undeliverable: nobody has this address",
    ]


@pytest.mark.parametrize(
    ("addresses", "status"),
    [("anna", 0), ("anna staff", 75), ("staff nobody", 67), ("anna @@", 67)],
)
def test_the_status_is_that_of_the_worst(addresses: str, status: int) -> None:
    assert status_of(*addresses.split()) == status


def test_without_an_address_there_is_nothing_to_verify() -> None:
    with pytest.raises(UsageFault):
        status_of()
