"""Sections of the fight against spam.

Flow: loader.py fills these from the file. `score N`, `log`, `block` and `off` mean the same in all of them.
"""

from __future__ import annotations

import enum
from datetime import timedelta
from pathlib import Path

import attrs

from kms.config import kinds
from kms.config import network_kinds as network
from kms.config.kinds import Kind, Surroundings, choice, setting
from kms.config.problems import ValueFault
from kms.domain.address import Mailbox
from kms.domain.address_group import AddressGroup


class Act(enum.Enum):
    """What a check does with mail that fails it."""

    OFF = "off"
    LOG = "log"
    BLOCK = "block"
    SCORE = "score"


@attrs.frozen
class Action:
    """An act; `score` is what SCORE adds."""

    act: Act
    score: float = 0.0


def _parse_action(text: str, near: Surroundings) -> Action:
    word, _, number = text.lower().partition(" ")
    if word == "score" and number.strip():
        return Action(Act.SCORE, kinds.DECIMAL.parse(number.strip(), near))
    if word not in ("off", "log", "block") or number:
        raise ValueFault(f'"{text}" is no action; write off, log, block or score N')
    return Action(Act(word))


ACTION = Kind("off | log | block | score N", _parse_action)


class RaterAction(enum.Enum):
    """What SpamAssassin's rating does: nothing, add its score, or refuse what it calls spam."""

    OFF = "off"
    SCORE = "score"
    BLOCK = "block"


@attrs.frozen
class AntispamSettings:
    """[antispam]: what the sum of all scores means."""

    tag_score: float = setting("5.0", kinds.DECIMAL, "From this score on a message is marked as spam.")
    block_score: float = setting("9.9", kinds.DECIMAL, "From this score on it is refused.")
    subject_prefix: str = setting("", kinds.TEXT, "Put before the subject of marked mail.")
    quarantine_address: Mailbox | None = setting(
        "", kinds.MAILBOX, "Gets a copy of what the block score refuses."
    )


@attrs.frozen
class SpfSettings:
    """[spf]: may this client send for the sender's domain?"""

    action: Action = setting("score 2.0", ACTION, "What to do when SPF says fail.")
    exempt_group: AddressGroup | None = setting("", network.GROUP, "Clients that are not checked.")


@attrs.frozen
class CallerIdSettings:
    """[caller_id]: the same question for the header's sender (Caller ID for E-mail)."""

    action: Action = setting("off", ACTION, "What to do when Caller ID says fail.")
    apply_testing: bool = setting("no", kinds.BOOLEAN, "Obey records marked as being tested.")
    exempt_group: AddressGroup | None = setting("", network.GROUP, "Clients that are not checked.")


@attrs.frozen
class DkimSettings:
    """[dkim]: signatures of mail."""

    verify: bool = setting("yes", kinds.BOOLEAN, "Check signatures of incoming mail.")
    sign: bool = setting("yes", kinds.BOOLEAN, "Sign mail of domains that have a key in data_dir/dkim.")


@attrs.frozen
class DmarcSettings:
    """[dmarc]: what the From domain asks for."""

    action: Action = setting("log", ACTION, "What to do when DMARC says fail.")


@attrs.frozen
class ListsSettings:
    """[lists]: address groups always or never taken mail from."""

    whitelist_group: AddressGroup | None = setting("", network.GROUP, "Never checked for spam.")
    blacklist_group: AddressGroup | None = setting("", network.GROUP, "Always treated as follows.")
    blacklist_action: Action = setting("block", ACTION, "What to do with the black list's mail.")


@attrs.frozen
class DnsblZone:
    """One black list of the DNS: its domain suffix, and what a listing means."""

    suffix: str
    action: Action


def _parse_zone(text: str, near: Surroundings) -> DnsblZone:
    suffix, comma, action = text.partition(",")
    if not comma:
        raise ValueFault(f'"{text}" is no list; write suffix, action')
    return DnsblZone(kinds.read_domain(suffix.strip()), _parse_action(action.strip(), near))


DNSBL_ZONE = Kind("suffix, action", _parse_zone)


@attrs.frozen
class RulesSettings:
    """[rules]: rules for senders and recipients."""

    file: Path | None = setting("", kinds.OPTIONAL_PATH, "File with the rules, tried in its order.")


@attrs.frozen
class SpamAssassinSettings:
    """[spamassassin]: a spamd that rates mail."""

    action: RaterAction = setting(
        "off", choice("action", RaterAction), "off, add its score, or refuse what it calls spam."
    )
    address: str = setting("tcp:127.0.0.1:783", network.CLIENT_ENDPOINT, "Where spamd listens.")
    max_size: int = setting("128 KB", kinds.SIZE, "Larger messages are not rated.")


@attrs.frozen
class ClamAvSettings:
    """[clamav]: a clamd that looks for viruses."""

    action: Action = setting("off", ACTION, "What to do with infected mail.")
    address: str = setting("unix:/run/clamav/clamd.ctl", network.CLIENT_ENDPOINT, "Where clamd listens.")


@attrs.frozen
class GreetingDelaySettings:
    """[greeting_delay]: make clients wait for the greeting."""

    seconds: timedelta = setting("0", kinds.DURATION, "How long; 0 = not at all.")
    exempt_group: AddressGroup | None = setting("Local clients", network.GROUP, "Clients that need not wait.")


@attrs.frozen
class GreylistingSettings:
    """[greylisting]: ask strangers to come again."""

    enabled: bool = setting("no", kinds.BOOLEAN, "Defer first mail of an unknown triple (451 4.7.1).")
    delay: timedelta = setting("5 minutes", kinds.DURATION, "How long the triple must wait.")
