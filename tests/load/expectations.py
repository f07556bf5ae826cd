"""What the limits must answer to the attackers: a table. A row counts as soon as its settings have an effect.

A limit that is merged later needs no line here if it stands below; any other needs one.
"""

from collections import Counter
from collections.abc import Callable, Mapping

import attrs

from kms.config.features import has_effect
from tests.load.attackers import GUESSES

CONNECTIONS_PER_CLIENT = 20
UNKNOWN_RECIPIENTS = 10
FAILED_LOGINS = 5

Seen = Mapping[str, Counter[str]]


@attrs.frozen
class Expectation:
    """One limit under attack.

    Attributes:
        section: of the setting.
        key: of the setting.
        attacker: name of the attacker's class.
        says: the rule, in words.
        is_met: judges what the attacker saw.
    """

    section: str
    key: str
    attacker: str
    says: str
    is_met: Callable[[Counter[str]], bool]

    @property
    def is_due(self) -> bool:
        return has_effect(self.section, self.key)


def _flood_is_refused(seen: Counter[str]) -> bool:
    return seen["220"] <= CONNECTIONS_PER_CLIENT and seen["421"] == seen.total() - seen["220"] > 0


def _harvest_is_blocked(seen: Counter[str]) -> bool:
    return (seen["550"], seen["421"]) == (UNKNOWN_RECIPIENTS, 1) and seen["greeting 421"] > 0


def _guessers_are_refused(seen: Counter[str]) -> bool:
    wrong, refused = seen["535"] + seen["-ERR [AUTH]"], seen["454"] + seen["-ERR [SYS/TEMP]"]
    return wrong * GUESSES <= seen.total() * FAILED_LOGINS and refused > 0


def _nobody_gets_in(seen: Counter[str]) -> bool:
    return not seen["235"] and not seen["+OK"] and seen.total() > 0


EXPECTATIONS = (
    Expectation(
        "limits",
        "connections_per_client",
        "ConnectionFlood",
        f"{CONNECTIONS_PER_CLIENT} connections from one address, every other one gets 421",
        _flood_is_refused,
    ),
    Expectation(
        "limits",
        "unknown_recipients",
        "Harvest",
        f"{UNKNOWN_RECIPIENTS} names get 550, the next one 421, and then 421 at connect",
        _harvest_is_blocked,
    ),
    Expectation(
        "limits",
        "failed_logins",
        "PasswordGuessers",
        f"{FAILED_LOGINS} wrong passwords are looked at, the others are refused unseen",
        _guessers_are_refused,
    ),
    Expectation("auth", "mechanisms", "PasswordGuessers", "no guess is right", _nobody_gets_in),
)

OVERRIDES = {
    "connections_per_client": str(CONNECTIONS_PER_CLIENT),
    "unknown_recipients": str(UNKNOWN_RECIPIENTS),
    "failed_logins": str(FAILED_LOGINS),
}


def judge(seen: Seen) -> list[str]:
    """Print the table; give the rows that are due and not met."""
    faults = []
    for row in EXPECTATIONS:
        if row.attacker not in seen:
            continue
        is_met = row.is_met(seen[row.attacker])
        state = "as specified" if is_met else "NOT MET" if row.is_due else "not there yet"
        print(f"  [{row.section}] {row.key}: {row.says}: {state}")
        if row.is_due and not is_met:
            faults.append(f"[{row.section}] {row.key}: {row.says}; seen: {dict(seen[row.attacker])}")
    return faults
