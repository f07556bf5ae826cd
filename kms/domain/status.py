"""Enhanced status codes, and names for those kms uses (RFC 3463, RFC 5248).

A code is what a machine reads of a reply: its class says whether to try again, the rest says why.
Flow: a `Reply` carries one; a DSN prints the one of the last attempt.
"""

from __future__ import annotations

import functools
import re

import attrs

_PATTERN = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})")


@attrs.frozen
class EnhancedStatus:
    """One enhanced status code, such as 5.7.1.

    RFC 3463 2: class 2 is success, 4 a persistent transient failure, 5 a permanent failure.
    """

    klass: int
    subject: int
    detail: int
    _text: str = attrs.field(init=False, eq=False, repr=False)

    @_text.default
    def _print(self) -> str:
        return f"{self.klass}.{self.subject}.{self.detail}"

    def __str__(self) -> str:
        return self._text

    @classmethod
    def parse(cls, text: str) -> EnhancedStatus | None:
        """Read `text` if it is exactly one code; None when it is not."""
        return _parse(text)

    @classmethod
    def find_at_start(cls, text: str) -> EnhancedStatus | None:
        """Read the code that opens a reply's text (RFC 2034 4); None when there is none."""
        return cls.parse(text.split(" ", 1)[0])


@functools.lru_cache(maxsize=1024)
def _parse(text: str) -> EnhancedStatus | None:
    found = _PATTERN.fullmatch(text)
    return EnhancedStatus(*(int(part) for part in found.groups())) if found else None


OK = EnhancedStatus(2, 0, 0)
SENDER_OK = EnhancedStatus(2, 1, 0)
RECIPIENT_OK = EnhancedStatus(2, 1, 5)
CANNOT_VERIFY = EnhancedStatus(2, 5, 0)
AUTHENTICATED = EnhancedStatus(2, 7, 0)

OTHER_SYSTEM_TROUBLE = EnhancedStatus(4, 3, 0)
SYSTEM_FULL = EnhancedStatus(4, 3, 1)
NO_ANSWER_FROM_HOST = EnhancedStatus(4, 4, 1)
BAD_CONNECTION = EnhancedStatus(4, 4, 2)
DIRECTORY_TROUBLE = EnhancedStatus(4, 4, 3)
UNABLE_TO_ROUTE = EnhancedStatus(4, 4, 4)

BAD_MAILBOX = EnhancedStatus(5, 1, 1)
BAD_DOMAIN = EnhancedStatus(5, 1, 2)
BAD_MAILBOX_SYNTAX = EnhancedStatus(5, 1, 3)
BAD_SENDER_SYNTAX = EnhancedStatus(5, 1, 7)
NULL_MX = EnhancedStatus(5, 1, 10)
ROUTING_LOOP = EnhancedStatus(5, 4, 6)
INVALID_COMMAND = EnhancedStatus(5, 5, 1)
SYNTAX_ERROR = EnhancedStatus(5, 5, 2)
TOO_MANY_RECIPIENTS = EnhancedStatus(5, 5, 3)
INVALID_ARGUMENTS = EnhancedStatus(5, 5, 4)
CONVERSION_NEEDED = EnhancedStatus(5, 6, 3)
NOT_AUTHORIZED = EnhancedStatus(5, 7, 1)
