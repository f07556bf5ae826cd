"""The plain sentence that stands beside a server's own words: what its status code means, and what to do.

The sentences of a language are a table of lines `5.1.1 = …`; `5.1.x` stands for all codes of that subject that
have no line of their own, `5.x.x` for all of that class (RFC 3463 gives the meanings). Two more lines hold the
words around them: `said` and `no_end`. English is built in and stands in for what a table has not.

Flow: store/report_texts reads `reports/<language>/status.txt`; dsn.py puts the sentences into a report.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

import attrs

from kms.domain.sentence_table import read_sentences
from kms.domain.status import EnhancedStatus

SAID = "said"
"""Key of the words for an answer; they have the placeholders $server and $words."""

NO_END = "no_end"
"""Key of what stands for $until in a warning when the attempts have no end."""

REQUIRED = ("5.x.x", "4.x.x", SAID, NO_END)
"""What each table is to have, so that no report lacks a sentence of its language."""

_CODE = re.compile(r"[45]\.(?:\d{1,3}\.(?:\d{1,3}|x)|x\.x)")
_SAID_PLACEHOLDERS = frozenset({"server", "words"})


@attrs.frozen
class StatusSentences:
    """The sentences of one language.

    Attributes:
        table: by code ("5.1.1", "5.1.x", "5.x.x") or key; what it has not is English.
    """

    table: Mapping[str, str]

    def explain(self, status: EnhancedStatus) -> str:
        """Say what a status means and what to do; "" for a success."""
        keys = (
            str(status),
            f"{status.klass}.{status.subject}.x",
            f"{status.klass}.x.x",
        )
        for table in (self.table, _ENGLISH):
            for key in keys:
                if key in table:
                    return table[key]
        return ""

    def quote(self, server: str, words: str) -> str:
        """Say that a server gave an answer."""
        template = self.table.get(SAID, _ENGLISH[SAID])
        return string.Template(template).safe_substitute(server=server, words=words)

    @property
    def no_end(self) -> str:
        """What stands for the end of attempts that have none."""
        return self.table.get(NO_END, _ENGLISH[NO_END])


def parse_status_sentences(text: str) -> tuple[StatusSentences, tuple[str, ...]]:
    """Read a table (see sentence_table.py).

    Returns:
        The sentences of all good lines, and what is wrong with the others or missing.
    """
    table, problems = read_sentences(text, _find_problem, REQUIRED)
    return StatusSentences(table), problems


def _find_problem(key: str, sentence: str) -> str:
    """Say what is wrong with one line; "" = nothing."""
    if not _CODE.fullmatch(key) and key not in (SAID, NO_END):
        return f"{key!r} is no code such as 5.1.1, 5.1.x or 5.x.x, and none of {SAID}, {NO_END}"
    if not sentence:
        return f"{key} has no sentence"
    return _find_said_problem(sentence) if key == SAID else ""


def _find_said_problem(sentence: str) -> str:
    template = string.Template(sentence)
    if not template.is_valid() or set(template.get_identifiers()) != _SAID_PLACEHOLDERS:
        return f"{SAID} must have the placeholders $server and $words, and no other"
    return ""


_ENGLISH: Mapping[str, str] = {
    "5.1.1": "There is no such mailbox. Check the address for typing errors, then send the message again.",
    "5.1.2": (
        "The domain does not exist. Check what follows the @ for typing errors, then send the message again."
    ),
    "5.1.6": "The mailbox has moved. Ask the recipient in another way for the new address.",
    "5.1.8": (
        "The other server does not accept your own address. Check it in the settings of your mail program."
    ),
    "5.1.10": "The domain takes no mail at all. Ask the recipient for another address.",
    "5.1.x": "Something is wrong with the address. Check it for typing errors, then send the message again.",
    "5.2.1": "The mailbox is switched off. Ask the recipient in another way for an address that works.",
    "5.2.2": (
        "The mailbox is full. Ask the recipient in another way to make room, then send the message again."
    ),
    "5.2.x": "The mailbox does not take this message. Ask the recipient in another way for another address.",
    "5.3.4": "The message is too large for the other server. Send less, or share large files in another way.",
    "5.3.x": (
        "The other server cannot take the message. Send it again later, or reach the"
        " recipient in another way."
    ),
    "5.4.4": "No way leads to the other server. Check what follows the @, and send the message again later.",
    "5.4.6": "The mail would go in circles. Tell the postmaster of the recipient's domain.",
    "5.4.7": "It could not be delivered in time. Send it again later, or reach the recipient in another way.",
    "5.4.x": "The other server could not be reached. Check the domain, and send the message again later.",
    "5.5.3": "The message has too many recipients for the other server. Send it to fewer people at a time.",
    "5.5.x": "The two servers did not understand each other. Forward this report to your postmaster.",
    "5.6.3": "The other server takes only plain text of ASCII characters. Send the message in that form.",
    "5.6.7": (
        "The other server cannot handle the letters of this address. Ask the recipient for"
        " one of a-z and 0-9 alone."
    ),
    "5.6.x": "The other server cannot take what is in the message. Send it in a simpler form.",
    "5.7.1": "The other server does not want this message. Ask the recipient in another way to allow it.",
    "5.7.26": (
        "The other server could not verify that the message is from your domain. Forward this"
        " report to your postmaster."
    ),
    "5.7.x": "The rules of the other server forbid this message. Forward this report to your postmaster.",
    "5.x.x": (
        "The other server refused the message. Reach the recipient in another way, or ask your postmaster."
    ),
    "4.2.2": "The mailbox is full at present. You need not do anything: it will be tried again.",
    "4.4.1": "The other server does not answer at present. You need not do anything: it will be tried again.",
    "4.7.x": (
        "The other server does not take the message yet. You need not do anything: it will be tried again."
    ),
    "4.x.x": "You need not do anything: it will be tried again.",
    SAID: "$server said: $words",
    NO_END: "further notice",
}

BUILT_IN_SENTENCES = StatusSentences(_ENGLISH)
"""English."""
