"""Sections that say whose mail is taken: domains, relay control, limits.

Flow: loader.py fills these from the file, settings.py makes the policies' rule sets from them.
"""

from __future__ import annotations

import enum
from datetime import timedelta
from pathlib import Path

import attrs

from kms.config import kinds
from kms.config import network_kinds as network
from kms.config.kinds import choice, names_of, setting
from kms.domain.address_group import AddressGroup
from kms.policy.relay import RelayMode


class BareNewlines(enum.Enum):
    """What a bare CR or LF in a message means: refuse it, or make it CRLF."""

    REJECT = "reject"
    NORMALISE = "normalise"


@attrs.frozen
class DomainsSettings:
    """[domains]: for whom mail is taken."""

    local: tuple[str, ...] = setting(
        "",
        kinds.DOMAINS,
        "Domains whose mailboxes are here; must be set. Logins without a domain are the first's.",
    )
    relay: tuple[str, ...] = setting(
        "", kinds.DOMAINS, "Domains taken from anyone and passed on: backup MX, split domain."
    )
    add_envelope_to: bool = setting("no", kinds.BOOLEAN, "Write X-Envelope-To into delivered mail.")
    aliases_file: Path | None = setting(
        "", kinds.OPTIONAL_PATH, "An aliases(5) file, read after kmsctl's aliases; newaliases rereads it."
    )


@attrs.frozen
class RelaySettings:
    """[relay]: who may send to foreign domains."""

    mode: RelayMode = setting(
        "restricted",
        choice("mode", RelayMode),
        "restricted = who fulfils one of the next three conditions; open = anybody, to anywhere.",
    )
    address_group: AddressGroup | None = setting(
        "Local clients",
        network.GROUP,
        "Clients that may relay, who are also the trusted servers; empty = condition off.",
    )
    smtp_auth: bool = setting("yes", kinds.BOOLEAN, "Whoever logs in over SMTP may relay.")
    pop_before_smtp: bool = setting(
        "yes", kinds.BOOLEAN, "An address may relay for a while after a POP3 login from it."
    )
    pop_window: timedelta = setting(
        "30 minutes", kinds.DURATION_ABOVE_ZERO, "How long, counted from the login."
    )
    pop_window_max_users: int = setting(
        "0",
        kinds.COUNT,
        "With more than so many different users from one address no new window opens; 0 = no guard.",
    )
    rate_trusted_senders: bool = setting(
        "no", kinds.BOOLEAN, "SpamAssassin rates the relay group's mail too."
    )
    hide_local_ip: bool = setting(
        "no", kinds.BOOLEAN, "Keep the relay group's addresses out of Received lines."
    )
    sender_must_match_login: bool = setting(
        "no", kinds.BOOLEAN, "Whoever logged in may only use sender addresses of his account."
    )
    local_sender_needs_auth: bool = setting(
        "no", kinds.BOOLEAN, "Strangers may not use a sender in a local domain."
    )
    suspend_gateway_trust: bool = setting(
        "no", kinds.BOOLEAN, "Suspend the trust in an address that behaves like a gateway of many."
    )
    gateway_alarm: int = setting(
        "20",
        kinds.COUNT,
        "Unrelated HELO names or sender domains from one trusted address in an hour; then an alarm.",
    )
    i_know_this_is_an_open_relay: bool = setting(
        "no", kinds.BOOLEAN, "Must be yes for mode = open where SMTP listens on a public address."
    )


@attrs.frozen
class LimitsSettings:
    """[limits]: how much one client may do; 0 = no limit."""

    exempt_group: AddressGroup | None = setting(
        "Local clients", network.GROUP, "Clients to whom the limits of strangers do not apply."
    )
    observe: tuple[str, ...] = setting(
        "",
        names_of("limit", lambda: limit_names()),
        "Names of limits below that only log what they would refuse.",
    )
    messages_per_hour: int = setting("300", kinds.COUNT, "Messages from one address within 60 minutes.")
    connections_per_client: int = setting("20", kinds.COUNT, "SMTP connections from one address at one time.")
    unknown_recipients: int = setting(
        "10", kinds.COUNT, "Unknown recipients from one address within an hour; one more blocks it."
    )
    unknown_recipients_block: timedelta = setting("1 hour", kinds.DURATION, "How long that block lasts.")
    sender_domain_must_exist: bool = setting(
        "yes", kinds.BOOLEAN, "Refuse senders whose domain has neither MX nor address."
    )
    client_must_have_ptr: bool = setting("no", kinds.BOOLEAN, "Refuse clients without a PTR record.")
    max_recipients: int = setting("100", kinds.COUNT, "Recipients of one message.")
    max_failed_commands: int = setting("10", kinds.COUNT, "Wrong commands in one session.")
    max_message_size: int = setting("20 MB", kinds.SIZE, "Size of one message, as announced by SIZE.")
    max_received_hops: int = setting("100", kinds.COUNT, "Received fields; more is taken for a loop.")
    bare_newlines: BareNewlines = setting(
        "reject", choice("rule", BareNewlines), "What to do with a bare CR or LF in a message."
    )
    min_free_space: int = setting(
        "100 MB", kinds.SIZE, "Take no new mail with less free space than this where data_dir is."
    )
    failed_logins: int = setting(
        "10", kinds.COUNT, "Distinct wrong passwords of one address for one account within the window."
    )
    failed_logins_per_address: int = setting("30", kinds.COUNT, "The same for all accounts together.")
    failed_logins_window: timedelta = setting("1 hour", kinds.DURATION_ABOVE_ZERO, "That window.")
    failed_logins_block: timedelta = setting("5 minutes", kinds.DURATION, "How long the refusal then lasts.")
    alarm_after: int = setting(
        "3", kinds.COUNT, "Trips of one limit by one client in an hour that are reported to the postmaster."
    )
    account_messages_per_hour: int = setting("0", kinds.COUNT, "Messages of one login within an hour.")
    account_messages_per_day: int = setting("0", kinds.COUNT, "Messages of one login within a day.")
    account_max_message_size: int = setting("0", kinds.SIZE, "Size of one message of a login.")
    account_new_recipients_per_day: int = setting(
        "0", kinds.COUNT, "Foreign recipients a login writes to for the first time, within a day."
    )
    command_timeout: timedelta = setting(
        "5 minutes", kinds.DURATION, "How long a client may take for one command or block of data."
    )
    session_timeout: timedelta = setting(
        "1 hour",
        kinds.DURATION,
        "How long one SMTP session may last in all, also in the midst of a message (20 MB an hour: 6 KB a second).",
    )
    minimum_data_rate: int = setting(
        "100", kinds.COUNT, "Octets a second a client must send in DATA, over any minute."
    )

    def enforced(self, name: str) -> int:
        """Give a limit's value as far as it refuses something: 0 where it only observes."""
        return 0 if name in self.observe else getattr(self, name)


def limit_names() -> tuple[str, ...]:
    """Name the limits that may stand in `observe`."""
    others = ("exempt_group", "observe", "bare_newlines", "alarm_after")
    ends = ("_block", "_window", "_timeout")
    names = [field.name for field in attrs.fields(LimitsSettings)]
    return tuple(name for name in names if name not in others and not name.endswith(ends))
