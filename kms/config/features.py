"""Which keys have an effect: the one table to change when a feature arrives.

A key without effect is accepted. Where a value asks for the missing feature, it costs a warning; where
ignoring it would weaken a protection or misdirect mail, the configuration is refused.
Flow: loader.py asks `judge_effect` for each value after everything is parsed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import attrs

from kms.config.antispam_settings import Act, Action, DnsblZone, RaterAction
from kms.config.network_kinds import Database

Test = Callable[[Any], bool]


class Effect(enum.Enum):
    """WORKS: the key does what it says. NONE: its feature is not there yet."""

    WORKS = "works"
    NONE = "none"


@attrs.frozen
class Row:
    """What is there of one key's feature.

    Attributes:
        effect: of the key in general.
        asks: values (other than the default) that ask for what is not there.
        refused: values that cannot be ignored without harm.
    """

    effect: Effect
    asks: Test
    refused: Test


def _is_on(value: Any) -> bool:
    """Say whether a value switches something on; 0, no, off, empty and a zero duration do not."""
    match value:
        case Action():
            return value.act is not Act.OFF
        case RaterAction():
            return value is not RaterAction.OFF
        case DnsblZone():
            return _is_on(value.action)
        case _:
            return bool(value)


def _never(value: Any) -> bool:
    return False


def _blocks(value: Any) -> bool:
    match value:
        case Action():
            return value.act is Act.BLOCK
        case DnsblZone():
            return _blocks(value.action)
        case _:
            return value is RaterAction.BLOCK


def _is_other_engine(value: Database) -> bool:
    return value.engine != "sqlite"


_works = Row(Effect.WORKS, _never, _never)
_later = Row(Effect.NONE, _is_on, _never)
_later_or_refused_when_blocking = Row(Effect.NONE, _is_on, _blocks)
_refused_when_on = Row(Effect.NONE, _is_on, _is_on)

_TABLE: dict[str, tuple[tuple[Row, str], ...]] = {
    "server": (
        (
            _works,
            "hostname data_dir reports_dir hide_version shutdown_grace postmaster disclose_login submit_dir",
        ),
    ),
    "listen": (
        (_works, "smtp submission submissions pop3 pop3s lmtp proxy_protocol_from"),
        (_later, "console"),
    ),
    "access": ((_works, "smtp submission pop3 lmtp"),),
    "tls": ((_works, "certificate private_key sni_dir minimum_version ca_file plaintext_auth"),),
    "auth": ((_works, "mechanisms"),),
    "pop3": ((_works, "idle_timeout apop login_delay connections_per_client"),),
    "store": ((Row(Effect.WORKS, _never, _is_other_engine), "database"),),
    "domains": ((_works, "local relay add_envelope_to aliases_file"),),
    "relay": (
        (_works, "mode address_group smtp_auth pop_before_smtp pop_window hide_local_ip"),
        (_works, "pop_window_max_users suspend_gateway_trust gateway_alarm"),
        (_works, "sender_must_match_login local_sender_needs_auth i_know_this_is_an_open_relay"),
        (_later, "rate_trusted_senders"),
    ),
    "limits": (
        (_works, "sender_domain_must_exist max_recipients max_failed_commands max_message_size"),
        (
            _works,
            "max_received_hops bare_newlines min_free_space command_timeout session_timeout minimum_data_rate",
        ),
        (_works, "exempt_group messages_per_hour connections_per_client unknown_recipients"),
        (_works, "unknown_recipients_block client_must_have_ptr observe"),
        (_works, "failed_logins failed_logins_per_address failed_logins_window failed_logins_block"),
        (_works, "alarm_after account_messages_per_hour account_messages_per_day"),
        (_works, "account_max_message_size account_new_recipients_per_day"),
    ),
    "delivery": (
        (_works, "mode smarthost smarthost_user smarthost_password direct_port allow_private_hosts"),
        (_works, "connections_per_destination messages_per_connection tls"),
        (_works, "smarthost_auth smarthost_pop3 smarthost_pop3_every"),
        (_works, "mta_sts dane archive_to rate_per_destination"),
    ),
    "dns": ((_works, "nameservers timeout"),),
    "queue": (
        (_works, "delivery_tasks retry_interval bounce_after warn_after"),
        (_works, "limits_apply_to_smarthost language"),
        (_works, "trash_keeps offline"),
    ),
    "antispam": ((_later, "tag_score block_score subject_prefix quarantine_address"),),
    "spf": ((_later_or_refused_when_blocking, "action"), (_later, "exempt_group")),
    "caller_id": ((_later_or_refused_when_blocking, "action"), (_later, "apply_testing exempt_group")),
    "dkim": ((_later, "verify sign"),),
    "dmarc": ((_later_or_refused_when_blocking, "action"),),
    "lists": (
        (_later, "whitelist_group"),
        (_refused_when_on, "blacklist_group"),
        (_later, "blacklist_action"),
    ),
    "rules": ((_refused_when_on, "file"),),
    "spamassassin": ((_later_or_refused_when_blocking, "action"), (_later, "address max_size")),
    "clamav": ((_later_or_refused_when_blocking, "action"), (_later, "address")),
    "greeting_delay": ((_later, "seconds exempt_group"),),
    "greylisting": ((_later, "enabled delay"),),
    "console": ((_later, "admins access_group"),),
    "log": (
        (_works, "mail security operations decisions_keep"),
        (_later, "format"),
    ),
}
_FREE_SECTIONS = {
    "domain_aliases": _works,
    "address_groups": _works,
    "routes": _works,
    "dnsbl": _later_or_refused_when_blocking,
}

FEATURES: dict[tuple[str, str], Row] = {
    (section, key): row for section, rows in _TABLE.items() for row, keys in rows for key in keys.split()
}


class Judgement(enum.Enum):
    """What a value means while its feature is not all there."""

    FINE = "fine"
    HAS_NO_EFFECT = "has no effect yet"
    REFUSED = "is not there yet"


def judge_effect(section: str, key: str, value: Any, default: Any) -> Judgement:
    """Say whether a value can be obeyed, ignored with a warning, or must be refused.

    Args:
        key: any name in the sections whose keys are free (`[routes]`, `[dnsbl]`).
        default: None in those sections.
    """
    row = _FREE_SECTIONS.get(section) or FEATURES[section, key]
    if value == default:
        return Judgement.FINE
    if row.refused(value):
        return Judgement.REFUSED
    return Judgement.HAS_NO_EFFECT if row.asks(value) else Judgement.FINE


def has_effect(section: str, key: str) -> bool:
    """Say whether the key does something in this version, for the manual."""
    row = _FREE_SECTIONS.get(section) or FEATURES[section, key]
    return row.effect is Effect.WORKS
