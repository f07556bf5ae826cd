"""How a command of kmsctl ends when it cannot do what was asked: a sentence and an exit status of sysexits.h.

Flow: anything in kms.cli raises `CommandFailed`; main.py prints it and exits.
"""

from __future__ import annotations

import os

USAGE = os.EX_USAGE
BAD_DATA = os.EX_DATAERR
NO_SUCH_USER = os.EX_NOUSER
UNAVAILABLE = os.EX_UNAVAILABLE
INTERNAL = os.EX_SOFTWARE
TRY_AGAIN = os.EX_TEMPFAIL
NOT_PERMITTED = os.EX_NOPERM
BAD_CONFIGURATION = os.EX_CONFIG


class CommandFailed(Exception):
    """The command could not do what was asked.

    Attributes:
        status: exit status, of those above.
        lines: what to tell; never empty.
    """

    def __init__(self, status: int, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.status = status
        self.lines = lines
