"""What an alarm says: what has happened, and what to do about it, in the words of a language.

The sentences of a language are a table of lines `what.again = …`, `advice.account = …`, templates with `$name`
placeholders. English is built in and stands in for what a table has not; the logs are always English.

Flow: policy/alarm.py makes an `Alarm`; store/report_texts reads `reports/<language>/situations.txt`;
service/notices puts both into an `AlarmNotice`.
"""

from __future__ import annotations

import string
from collections.abc import Mapping

import attrs

from kms.domain.mail_text import join_lines
from kms.domain.sentence_table import read_sentences

_FACTS = frozenset({"limit", "client", "count"})


@attrs.frozen
class Alarm:
    """One thing to tell the postmaster.

    Attributes:
        limit: name of the setting that it is about.
        who: address, network or login.
        situation: name of the sentence that says what happened.
        advice: names of the sentences that say what to do.
        count: how often, or how many.
    """

    limit: str
    who: str
    situation: str
    advice: tuple[str, ...]
    count: int = 1


@attrs.frozen
class AlarmSentences:
    """The sentences of one language.

    Attributes:
        table: by name; what it has not is English.
    """

    table: Mapping[str, str]

    def describe(self, alarm: Alarm) -> str:
        """Say what happened, one sentence without its full stop."""
        facts = {"limit": alarm.limit, "client": alarm.who, "count": str(alarm.count)}
        return string.Template(self._find(alarm.situation)).safe_substitute(facts)

    def advise(self, alarm: Alarm) -> str:
        """Say what to do."""
        return join_lines(string.Template(self._find(name)).safe_substitute() for name in alarm.advice)

    def _find(self, name: str) -> str:
        return self.table.get(name, _ENGLISH[name])


def parse_alarm_sentences(text: str) -> tuple[AlarmSentences, tuple[str, ...]]:
    """Read a table (see sentence_table.py).

    Returns:
        The sentences of all good lines, and what is wrong with the others or missing.
    """
    table, problems = read_sentences(text, _find_problem, _ENGLISH)
    return AlarmSentences(table), problems


def _find_problem(name: str, sentence: str) -> str:
    if name not in _ENGLISH:
        return f"{name!r} is no name of a sentence; there are {', '.join(_ENGLISH)}"
    if not sentence:
        return f"{name} has no sentence"
    template = string.Template(sentence)
    used = set(template.get_identifiers()) if template.is_valid() else {""}
    if name.startswith("what."):
        if "client" not in used or not used <= _FACTS:
            return f"{name} must have the placeholder $client, and may have $limit and $count, and no other"
    elif used:
        return f"{name} has no placeholders; write $$ for the character $"
    return ""


_ENGLISH: Mapping[str, str] = {
    "what.again": "The limit $limit has stopped $client $count times within an hour",
    "what.once": "The limit $limit has stopped $client once within an hour",
    "what.account": "The account $client has reached its limit $limit",
    "what.gateway": (
        "The trusted address $client has shown $count unrelated names within an hour, as a NAT gateway would"
    ),
    "advice.messages_per_hour": (
        "If you know this client and it has so much to send, raise [limits] messages_per_hour or put it into the"
        " exempt group. If not, look for what sends there."
    ),
    "advice.unknown_recipients": (
        "Somebody tries out addresses. Nothing has to be done; a firewall can keep the address out for longer. If"
        " it is a server of yours with an old list, correct the list, or put it into the exempt group."
    ),
    "advice.failed_logins": (
        "Somebody guesses the password of an account, or a device has an old one. Ask the user; nobody else is"
        " locked out. `kmsctl blocks lift` ends the block before its time."
    ),
    "advice.failed_logins_per_address": (
        "Somebody guesses passwords of many accounts. Keep the address out by a firewall (etc/fail2ban). If it is"
        " an office of yours, find the devices with old passwords, and lift the block: `kmsctl blocks lift`."
    ),
    "advice.other": (
        "If you know this client and mean to serve it, raise the limit, or put its address into the exempt group of"
        " [limits]. If not, a firewall can keep it out."
    ),
    "advice.account": (
        "Ask the user whether he sent this. If not, his password is stolen: give the account another one (kmsctl user"
        " passwd) and look at what waits in the queue. If so, raise the limit for him (kmsctl user set)."
    ),
    "advice.gateway": (
        "If it is a router with many machines behind it, take it out of the relay group, and let those behind it"
        " log in. If it is a server that passes on mail of many, raise [relay] gateway_alarm."
    ),
    "advice.suspended": "Until it behaves for an hour, it is not trusted (suspend_gateway_trust).",
}

BUILT_IN_ALARM_SENTENCES = AlarmSentences(_ENGLISH)
"""English."""
