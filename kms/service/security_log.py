"""Every line of the security log, one function each, in the sentences that fail2ban's `kerio` filter knows."""

from __future__ import annotations

import time
from datetime import datetime

from kms.domain.address import Mailbox
from kms.domain.address_group import ClientAddress
from kms.policy.block import Block
from kms.service.clock import Clock
from kms.service.line_log import LineLog, escape


def _path(mailbox: Mailbox | None) -> str:
    return "" if mailbox is None else escape(str(mailbox))


def _moment(at: datetime) -> str:
    return time.strftime("%d/%b/%Y %H:%M:%S", time.localtime(at.timestamp()))


def _stamp(second: int) -> str:
    return time.strftime("[%d/%b/%Y %H:%M:%S] ", time.localtime(second))


class SecurityLog:
    """The security log.

    Args:
        path: absolute file name, or "stdout".
        clock: for the stamps.
    """

    def __init__(self, path: str, clock: Clock) -> None:
        self.lines = LineLog(path, clock, _stamp)

    def relay_denied(self, client: ClientAddress, sender: Mailbox | None, recipient: Mailbox) -> None:
        """A foreign recipient was refused to a client that fulfils no relay condition."""
        self.lines.write(
            f"Relay attempt from IP address {client}, mail from <{_path(sender)}> to <{_path(recipient)}> rejected"
        )

    def recipient_unknown(self, client: ClientAddress, sender: Mailbox | None, recipient: Mailbox) -> None:
        """A recipient does not exist in its local domain."""
        self.lines.write(
            f"Attempt to deliver to unknown recipient <{_path(recipient)}>, from <{_path(sender)}>, "
            f"IP address {client}"
        )

    def smtp_login_failed(self, client: ClientAddress, mechanism: str) -> None:
        """An SMTP AUTH was answered 535."""
        self.lines.write(f"Failed SMTP login from {client} with SASL method {escape(mechanism)}.")

    def pop3_login_failed(self, client: ClientAddress, mechanism: str) -> None:
        """A POP3 login was answered [AUTH]."""
        self.lines.write(f"Failed POP3 login from {client} with SASL method {escape(mechanism)}.")

    def sender_domain_missing(self, client: ClientAddress, sender: Mailbox) -> None:
        """The sender's domain does not exist in the DNS."""
        self.lines.write(
            f"Message from IP address {client}, sender <{_path(sender)}> rejected: sender domain does not exist"
        )

    def sender_refused(self, client: ClientAddress, sender: Mailbox | None, login: str | None) -> None:
        """The spoofing guard refused a sender."""
        who = f"user {escape(login)}" if login else "nobody logged in"
        self.lines.write(
            f"Message from IP address {client}, sender <{_path(sender)}> rejected: address not owned, {who}"
        )

    def logins_blocked(self, client: str, account: str, minutes: float, why: str) -> None:
        """A client is refused every login, or those of one account."""
        who = f" for user {escape(account)}" if account else ""
        self.lines.write(f"Logins from {client}{who} refused for {minutes:g} minutes: {why}")

    def login_limit_observed(self, client: str, account: str, limit: str) -> None:
        """A limit of failed logins that is only observed would have refused a client."""
        who = f", user {escape(account)}" if account else ""
        self.lines.write(f"Logins from {client}{who} would be refused by {limit}, which only observes")

    def alarm(self, what: str) -> None:
        """Something is reported to the postmaster."""
        self.lines.write(f"Alarm: {escape(what)}")

    def window_refused(self, client: ClientAddress, login: str, users: int, minutes: float) -> None:
        """The shared-NAT guard opened or extended no relay window."""
        self.lines.write(
            f"Relay window of IP address {client} not opened for user {escape(login)}: {users} users logged in"
            f" from there within {minutes:g} minutes (pop_window_max_users)"
        )

    def access_denied(self, client: ClientAddress, service: str) -> None:
        """A client outside the access group of a service (SMTP, Submission, POP3, LMTP) was closed at once."""
        self.lines.write(f"{service} connection from {client} rejected: not in the access group")

    def connection_from_blocked(self, client: ClientAddress) -> None:
        """A client connected while its address is blocked for directory harvesting."""
        self.lines.write(f"SMTP connection from {client} rejected: directory harvest attack")

    def too_many_connections(self, service: str, client: ClientAddress, limit: int) -> None:
        """A client connected once too often at one time; `service` is SMTP or POP3."""
        self.lines.write(
            f"{service} connection from {client} rejected: more than {limit} connections at one time"
        )

    def ptr_missing(self, client: ClientAddress) -> None:
        """A client without PTR record was turned away."""
        self.lines.write(
            f"Client with IP address {client} has no reverse DNS entry, connection rejected before SMTP greeting"
        )

    def too_many_messages(
        self, client: ClientAddress, sender: Mailbox | None, limit: int, until: datetime
    ) -> None:
        """The hourly limit refused a message; at `until` there is room again."""
        self.lines.write(
            f"Message from IP address {client}, sender <{_path(sender)}> rejected: "
            f"more than {limit} messages within an hour, until {_moment(until)}"
        )

    def harvest_detected(self, client: ClientAddress, limit: int, until: datetime) -> None:
        """A client tried one unknown recipient too many, and is blocked."""
        self.lines.write(
            f"Directory harvest attack from IP address {client}: more than {limit} unknown recipients "
            f"within an hour, blocked until {_moment(until)}"
        )

    def block_ended(self, block: Block, is_lifted: bool) -> None:
        """A block is over, by its time or by an administrator."""
        account = f", user {escape(block.account)}" if block.account else ""
        how = "was lifted" if is_lifted else "has ended"
        self.lines.write(f"Block of IP address {escape(block.client)}{account} {how}: {block.kind.value}")

    def observed(self, client: ClientAddress, limit: str) -> None:
        """A limit that only observes would have refused a client."""
        self.lines.write(f"Client with IP address {client} over the limit {limit}, which only observes")

    def window_opened(self, client: ClientAddress, login: str, minutes: float) -> None:
        """A POP3 login opened or extended the relay window of its address."""
        unit = "minute" if minutes == 1 else "minutes"
        self.lines.write(
            f"Relay window of IP address {client} opened by user {escape(login)} for {minutes:g} {unit}"
        )

    def window_revoked(self, client: str, login: str) -> None:
        """A relay window was ended before its time."""
        self.lines.write(f"Relay window of IP address {escape(client)}, user {escape(login)}, revoked")

    def open_relay_started(self) -> None:
        """The server started in open mode, or took it up at a reload."""
        self.lines.write(
            "OPEN RELAY: relay control is off ([relay] mode = open), any client may send to any domain"
        )
