"""Sections of the machine: names and folders, listeners, TLS, logins, the store, logs and the console.

Flow: loader.py fills these from the file; `service` builds its parts from them. The meaning of each key is
its doc, which the manual prints.
"""

from __future__ import annotations

import enum
from datetime import timedelta
from pathlib import Path

import attrs

from kms.config import kinds
from kms.config import network_kinds as network
from kms.config.kinds import choice, choices, setting
from kms.domain.address import Mailbox
from kms.domain.address_group import AddressGroup


class PlaintextAuth(enum.Enum):
    """Where passwords may be sent without TLS: nowhere, from loopback and the relay group, or anywhere."""

    NEVER = "never"
    TRUSTED = "trusted"
    ALWAYS = "always"


class TlsVersion(enum.Enum):
    """The oldest TLS version that is spoken."""

    V1_2 = "1.2"
    V1_3 = "1.3"


class Mechanism(enum.Enum):
    """SASL mechanisms by their registered names."""

    SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    PLAIN = "PLAIN"
    LOGIN = "LOGIN"
    CRAM_MD5 = "CRAM-MD5"


class LogFormat(enum.Enum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


@attrs.frozen
class ServerSettings:
    """[server]: who this server is, and where it keeps things."""

    hostname: str = setting(
        "",
        kinds.HOSTNAME,
        "Name in banners, trace lines and EHLO; empty = this machine's full name.",
        needs_restart=True,
    )
    data_dir: Path = setting(
        "../var",
        kinds.PATH,
        "Folder of the database, spool, mailboxes, logs and certificate; only its owner may read it.",
        needs_restart=True,
    )
    reports_dir: Path = setting(
        "../reports",
        kinds.PATH,
        "Folder with the texts of reports, one folder a language.",
        needs_restart=True,
    )
    hide_version: bool = setting("yes", kinds.BOOLEAN, "Show no version in banners and HELP.")
    shutdown_grace: timedelta = setting(
        "10 s",
        kinds.DURATION,
        "How long running transactions may still take when the server is told to stop.",
    )
    postmaster: Mailbox | None = setting(
        "",
        kinds.MAILBOX,
        "Address that gets the mail of postmaster and abuse, and alarms; empty = the first account.",
    )
    disclose_login: bool = setting(
        "no", kinds.BOOLEAN, "Name the authenticated account in the Received line."
    )
    submit_dir: Path = setting(
        "../run", kinds.PATH, "Folder of submit.sock and maildrop/ for sendmail(1).", needs_restart=True
    )


@attrs.frozen
class ListenSettings:
    """[listen]: a port (all addresses, IPv4 and IPv6), or endpoint strings, one a line; empty = off."""

    smtp: tuple[str, ...] = setting(
        "2525", network.LISTENERS, "Mail from other servers and from trusted clients.", needs_restart=True
    )
    submission: tuple[str, ...] = setting(
        "2587", network.LISTENERS, "Mail from users, who log in; STARTTLS is offered.", needs_restart=True
    )
    submissions: tuple[str, ...] = setting(
        "2465", network.LISTENERS, "The same with TLS from the first byte.", needs_restart=True
    )
    pop3: tuple[str, ...] = setting("2110", network.LISTENERS, "POP3; STLS is offered.", needs_restart=True)
    pop3s: tuple[str, ...] = setting(
        "2995", network.LISTENERS, "POP3 with TLS from the first byte.", needs_restart=True
    )
    lmtp: tuple[str, ...] = setting(
        "",
        network.LOCAL_LISTENERS,
        "LMTP for filters and other nodes: unix:lmtp.sock (in data_dir) or tcp:….",
        needs_restart=True,
    )
    console: tuple[str, ...] = setting(
        "tcp:4040:interface=127.0.0.1",
        network.LOCAL_LISTENERS,
        "The web console and its API.",
        needs_restart=True,
    )
    proxy_protocol_from: AddressGroup | None = setting(
        "",
        network.GROUP,
        "Address group whose connections start with a PROXY v1 or v2 header, before TLS too; all else counts for the "
        "client that it names. Keep proxies out of the relay group.",
    )


@attrs.frozen
class AccessSettings:
    """[access]: the address group that may connect at all; empty = everyone."""

    smtp: AddressGroup | None = setting("", network.GROUP, "Who may connect to smtp.")
    submission: AddressGroup | None = setting(
        "", network.GROUP, "Who may connect to submission and submissions."
    )
    pop3: AddressGroup | None = setting("", network.GROUP, "Who may connect to pop3 and pop3s.")
    lmtp: AddressGroup | None = setting("", network.GROUP, "Who may connect to lmtp.")


@attrs.frozen
class TlsSettings:
    """[tls]: this server's certificate, and when passwords need TLS."""

    certificate: Path | None = setting(
        "", kinds.OPTIONAL_PATH, "Certificate chain in PEM; empty = the self-signed one in data_dir."
    )
    private_key: Path | None = setting("", kinds.OPTIONAL_PATH, "Its private key in PEM.")
    sni_dir: Path | None = setting(
        "",
        kinds.OPTIONAL_PATH,
        "Folder with more certificates, shown to who asks for that host (SNI): <name>.crt and <name>.key.",
    )
    minimum_version: TlsVersion = setting(
        "1.2", choice("TLS version", TlsVersion), "Oldest TLS version that is spoken."
    )
    ca_file: Path | None = setting(
        "",
        kinds.OPTIONAL_PATH,
        "Trust anchors for `verify` and MTA-STS, in PEM; empty = the system's.",
        needs_restart=True,
    )
    plaintext_auth: PlaintextAuth = setting(
        "trusted",
        choice("rule", PlaintextAuth),
        "Where SMTP AUTH and POP3 take passwords without TLS; trusted = loopback and the relay group.",
    )


@attrs.frozen
class AuthSettings:
    """[auth]: how users prove who they are."""

    mechanisms: tuple[Mechanism, ...] = setting(
        "SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN",
        choices("mechanism", Mechanism),
        "SASL mechanisms that are offered; CRAM-MD5 as well, where wanted. POP3 has neither LOGIN nor CRAM-MD5.",
    )

    @property
    def has_scram(self) -> bool:
        """A SCRAM verifier is made whenever a password is set."""
        return Mechanism.SCRAM_SHA_256 in self.mechanisms or Mechanism.SCRAM_SHA_256_PLUS in self.mechanisms

    @property
    def has_cram(self) -> bool:
        """The password is kept as it is, of accounts that may use CRAM-MD5."""
        return Mechanism.CRAM_MD5 in self.mechanisms


@attrs.frozen
class Pop3Settings:
    """[pop3]: how mailboxes are read."""

    apop: bool = setting("no", kinds.BOOLEAN, "Offer APOP to accounts that have it switched on.")
    login_delay: timedelta = setting(
        "0", kinds.DURATION, "Time that must pass between two logins to one mailbox; 0 = none."
    )
    idle_timeout: timedelta = setting(
        "10 minutes",
        kinds.DURATION_ABOVE_ZERO,
        "A session that says nothing for so long is closed.",
        needs_restart=True,
    )
    connections_per_client: int = setting(
        "20", kinds.COUNT, "POP3 connections from one address at one time; 0 = no limit."
    )


@attrs.frozen
class StoreSettings:
    """[store]: where accounts and the queue are kept."""

    database: network.Database = setting(
        "sqlite:kms.sqlite3",
        network.DATABASE,
        "A file in data_dir, or postgresql://user@host/db for several nodes.",
        needs_restart=True,
    )


@attrs.frozen
class ConsoleSettings:
    """[console]: who may use the web console."""

    admins: tuple[str, ...] = setting("admin", kinds.NAMES, "Accounts of the console.")
    access_group: AddressGroup | None = setting(
        "Local clients", network.GROUP, "Who may connect to it; empty = everyone."
    )


@attrs.frozen
class LogSettings:
    """[log]: where the logs go."""

    mail: network.LogTarget = setting(
        "log/mail.log",
        network.log_target("log/mail.log"),
        "What happens to each message.",
        needs_restart=True,
    )
    security: network.LogTarget = setting(
        "log/security.log",
        network.log_target("log/security.log"),
        "Refusals and failed logins, in forms that fail2ban reads.",
        needs_restart=True,
    )
    operations: network.LogTarget = setting(
        "log/operations.log",
        network.log_target("log/operations.log"),
        "Starts, stops, reloads, and what administrators change.",
        needs_restart=True,
    )
    decisions_keep: timedelta = setting(
        "7 days", kinds.DURATION, "How long decision records are kept; 0 = none are."
    )
    format: LogFormat = setting("text", choice("format", LogFormat), "How log lines are written.")
