"""Sections of what leaves the server: delivery, the DNS, the queue.

Flow: loader.py fills these from the file, settings.py makes the policies' rule sets from them.
"""

from __future__ import annotations

import enum
from datetime import timedelta

import attrs

from kms.config import kinds
from kms.config import network_kinds as network
from kms.config.kinds import choice, count, setting
from kms.domain.address import Mailbox
from kms.domain.next_hop import TlsPolicy


class DeliveryMode(enum.Enum):
    """Where foreign mail goes: to the servers of its domain, or all of it to a smarthost."""

    DIRECT = "direct"
    SMARTHOST = "smarthost"


class SmarthostAuth(enum.Enum):
    """How the smarthost learns who we are: not at all, by SMTP AUTH, by a POP3 login before."""

    NONE = "none"
    SMTP = "smtp"
    POP3 = "pop3"


@attrs.frozen
class DeliverySettings:
    """[delivery]: how foreign mail is sent."""

    mode: DeliveryMode = setting(
        "direct", choice("mode", DeliveryMode), "To the servers of each domain, or all to the smarthost."
    )
    smarthost: tuple[network.HostPort, ...] = setting(
        "", network.HOST_PORTS, "Host or host:port; several = failover in order. The usual port is 25."
    )
    smarthost_auth: SmarthostAuth = setting(
        "none", choice("way to log in", SmarthostAuth), "How to log in to the smarthost."
    )
    smarthost_user: str = setting("", kinds.TEXT, "Login name there.")
    smarthost_password: str = setting("", kinds.SECRET, "Password there.")
    smarthost_pop3: network.HostPort | None = setting(
        "", network.HOST_PORT, "POP3 server for smarthost_auth = pop3; empty = the smarthost, port 110."
    )
    smarthost_pop3_every: timedelta = setting(
        "5 minutes", kinds.DURATION, "Log in there again before sending when the last login is older."
    )
    tls: TlsPolicy = setting(
        "opportunistic", choice("TLS policy", TlsPolicy), "How much TLS an outgoing connection must have."
    )
    direct_port: int = setting(
        "25", count(1), "Port of the receiving servers in direct mode; other than 25 only for tests."
    )
    allow_private_hosts: bool = setting(
        "no", kinds.BOOLEAN, "Deliver to loopback and private addresses found through MX."
    )
    mta_sts: bool = setting(
        "yes", kinds.BOOLEAN, "Obey MTA-STS policies of the receiving domains (RFC 8461)."
    )
    dane: bool = setting(
        "no",
        kinds.BOOLEAN,
        "Obey DANE records (RFC 7672); only with a validating resolver at a loopback address.",
    )
    connections_per_destination: int = setting("5", count(1), "Connections to one destination at one time.")
    messages_per_connection: int = setting(
        "100", count(1), "Messages over one connection, then a new one.", needs_restart=True
    )
    rate_per_destination: int = setting(
        "0", kinds.COUNT, "Messages an hour to one recipient domain; 0 = no limit."
    )
    archive_to: Mailbox | None = setting(
        "", kinds.MAILBOX, "Address that gets a copy of every message that is taken."
    )


@attrs.frozen
class DnsSettings:
    """[dns]: whom to ask."""

    nameservers: tuple[network.HostPort, ...] = setting(
        "",
        network.NAMESERVERS,
        "Address or address:port of name servers; empty = the system's.",
        needs_restart=True,
    )
    timeout: timedelta = setting(
        "10 s", kinds.DURATION_ABOVE_ZERO, "Longest wait for one answer.", needs_restart=True
    )


@attrs.frozen
class QueueSettings:
    """[queue]: when mail is tried, and when its sender hears of trouble."""

    delivery_tasks: int = setting("32", count(1), "Outgoing transactions at one time.")
    retry_interval: tuple[timedelta, ...] = setting(
        "30 minutes", kinds.DURATIONS, "Wait between attempts, or a list of waits, the last of which repeats."
    )
    bounce_after: timedelta = setting(
        "4 days", kinds.DURATION_ABOVE_ZERO, "Mail not delivered after so long goes back to its sender."
    )
    warn_after: timedelta = setting(
        "4 hours", kinds.DURATION_ABOVE_ZERO, "After so long its sender is warned, once."
    )
    limits_apply_to_smarthost: bool = setting(
        "no", kinds.BOOLEAN, "Let bounce_after count for mail that goes through the smarthost too."
    )
    language: str = setting("en", kinds.LANGUAGE, "Language of reports: a folder in reports_dir.")
    offline: bool = setting("no", kinds.BOOLEAN, "Hold all outgoing mail.")
    trash_keeps: timedelta = setting("1 day", kinds.DURATION, "How long removed mail can be restored.")
