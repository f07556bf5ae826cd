"""`sendmail -bv ADDRESS...`: would a message be taken for these addresses, and who would get it? None is sent.

The running server says what it would do with a message that kms-sendmail hands in; no rule is here. Prints a line
for each address. It says nothing of what a server elsewhere will answer.
Flow: sendmail.py calls `verify`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from kms.cli.sendmail_options import UsageFault
from kms.cli.session import Session


def verify(session: Session, addresses: Sequence[str]) -> int:
    """Print what the server says.

    Returns:
        Exit status: 0 where all would be taken; 67 where one is nobody's, or no address; else 75.

    Raises:
        UsageFault: there is no address.
        CommandFailed: no server answers (69), or the configuration or its socket is not for this user.
    """
    if not addresses:
        raise UsageFault("-bv needs an address")
    server = session.server()
    statuses = set()
    for address in addresses:
        facts = server.verify_address(address)
        statuses.add(facts["status"])
        print(f"{facts['address']}: {_tell(facts['status'], facts['targets'], facts['problem'])}")
    if statuses <= {os.EX_OK}:
        return os.EX_OK
    return os.EX_TEMPFAIL if statuses <= {os.EX_OK, os.EX_TEMPFAIL} else os.EX_NOUSER


def _tell(status: int, targets: Sequence[str], problem: str) -> str:
    match status:
        case os.EX_OK:
            return f"deliverable: goes to {', '.join(targets)}"
        case os.EX_TEMPFAIL:
            return f"not now: {problem}"
        case _:
            return f"undeliverable: {problem}"
