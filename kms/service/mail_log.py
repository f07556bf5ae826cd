"""Every line of the mail log, one function each, in Postfix's wording.

Tools that read Postfix's log read this one with the ident `kms` (`pflogsumm --syslog-name=kms`): received,
delivered, deferred, rejected, per host and sender. The queue id links the lines of a message; it stands in its
Received line and in the final 250 too.
"""

from __future__ import annotations

import functools
import os
import time

from kms.domain.address import Mailbox
from kms.domain.address_group import ClientAddress
from kms.domain.outcome import Deferred, Delivered, Outcome
from kms.domain.queue_entry import QueueEntry
from kms.domain.reply import Reply
from kms.service.clock import Clock
from kms.service.line_log import LineLog, escape

_STATUS = {Delivered: "sent", Deferred: "deferred"}


_address = functools.lru_cache(maxsize=4096)(str)


def _path(mailbox: Mailbox | None) -> str:
    return "" if mailbox is None else escape(str(mailbox))


def _status(reply: Reply) -> str:
    """Print the enhanced status; for a server that gives none, the class alone, as Postfix does."""
    return str(reply.status) if reply.status is not None else f"{reply.code // 100}.0.0"


class MailLog:
    """The mail log.

    Args:
        path: absolute file name, or "stdout".
        clock: for the stamps.
        hostname: this server's name, which syslog puts into each line.
    """

    def __init__(self, path: str, clock: Clock, hostname: str) -> None:
        self._hostname = hostname.split(".", 1)[0]
        self.lines = LineLog(path, clock, self._stamp)
        self._write = self.lines.write
        self._smtpd = self._qmgr = self._local = self._smtp = self._bounce = self._pop3d = self._pickup = ""
        self.open()

    def _stamp(self, second: int) -> str:
        return time.strftime("%b %e %H:%M:%S ", time.localtime(second)) + self._hostname + " "

    def open(self) -> None:
        """Take the process id of this process: called again after the fork."""
        pid = os.getpid()
        self._smtpd, self._qmgr, self._local = (f"kms/{part}[{pid}]: " for part in ("smtpd", "qmgr", "local"))
        self._smtp, self._bounce, self._pop3d, self._pickup = (
            f"kms/{part}[{pid}]: " for part in ("smtp", "bounce", "pop3d", "pickup")
        )

    def connected(self, client: ClientAddress) -> None:
        """A client connected to an SMTP port."""
        self._write(f"{self._smtpd}connect from unknown[{_address(client)}]")

    def disconnected(self, client: ClientAddress) -> None:
        """An SMTP session is over."""
        self._write(f"{self._smtpd}disconnect from unknown[{_address(client)}]")

    def proxy_refused(self, service: str, proxy: ClientAddress, reason: str) -> None:
        """A connection to a service's port was closed: its proxy sent no PROXY header, or a wrong one."""
        part = self._pop3d if service.startswith("pop3") else self._smtpd
        self._write(
            f"{part}warning: proxy {_address(proxy)}: PROXY header to {service} refused: {escape(reason)}"
        )

    def accepted(
        self,
        entry: QueueEntry,
        client: ClientAddress,
        client_name: str,
        login: str | None,
        protocol: str = "",
    ) -> None:
        """A message was answered 250: who brought it, and what it is; `protocol` as in the trace line."""
        who = f", sasl_username={escape(login)}" if login else ""
        how = f", proto={protocol}" if protocol else ""
        self._write(
            f"{self._smtpd}{entry.queue_id}: client=unknown[{_address(client)}], "
            f"helo=<{escape(client_name)}>{who}{how}"
        )
        self.queued(entry)

    def header_undeclared(self, queue_id: str) -> None:
        """A header holds octets above 127, and SMTPUTF8 was not said: it is kept as it is."""
        self._write(f"{self._smtpd}{queue_id}: warning: octets above 127 in the header without SMTPUTF8")

    def picked_up(self, entry: QueueEntry, uid: int) -> None:
        """A program of this machine handed a message in."""
        self._write(f"{self._pickup}{entry.queue_id}: uid={uid} from=<{_path(entry.envelope.reverse_path)}>")
        self.queued(entry)

    def queued(self, entry: QueueEntry) -> None:
        """A message, a client's or a report of ours, stands in the queue."""
        envelope = entry.envelope
        self._write(
            f"{self._qmgr}{entry.queue_id}: from=<{_path(envelope.reverse_path)}>, "
            f"size={entry.content_octets}, nrcpt={len(envelope.recipients)} (queue active)"
        )

    def rejected(
        self,
        verb: str,
        client: ClientAddress,
        client_name: str,
        reply: Reply,
        sender: Mailbox | None,
        recipient: Mailbox | None = None,
        protocol: str = "",
    ) -> None:
        """A rule refused a command; `protocol` as in the trace line."""
        how = f" proto={protocol}" if protocol else ""
        to = f" to=<{_path(recipient)}>" if recipient is not None else ""
        about = f"<{_path(recipient if recipient is not None else sender)}>"
        self._write(
            f"{self._smtpd}NOQUEUE: reject: {verb} from unknown[{_address(client)}]: {reply.code} {_status(reply)} "
            f"{about}: {escape(reply.text)}; from=<{_path(sender)}>{to}{how} helo=<{escape(client_name)}>"
        )

    def attempted(
        self, entry: QueueEntry, recipient: Mailbox, original: Mailbox, outcome: Outcome, delay: float
    ) -> None:
        """One recipient's outcome of one attempt."""
        part = self._local if outcome.where == "local" else self._smtp
        orig = "" if original == recipient else f" orig_to=<{_path(original)}>,"
        tls = f"tls=({escape(outcome.tls)}), " if outcome.tls else ""
        ambiguous = (
            ", ambiguous: lost after the final dot"
            if isinstance(outcome, Deferred) and outcome.is_ambiguous
            else ""
        )
        self._write(
            f"{part}{entry.queue_id}: to=<{_path(recipient)}>,{orig} relay={escape(outcome.where)}, "
            f"delay={delay:.2f}, {tls}dsn={_status(outcome.reply)}, status={_STATUS.get(type(outcome), 'bounced')} "
            f"({escape(str(outcome.reply))}{ambiguous})"
        )

    def removed(self, queue_id: str) -> None:
        """The message has left the queue."""
        self._write(f"{self._qmgr}{queue_id}: removed")

    def reported(self, entry: QueueEntry, report: QueueEntry, kind: str) -> None:
        """A report about `entry` was put into the queue."""
        self._write(f"{self._bounce}{entry.queue_id}: sender {kind} notification: {report.queue_id}")

    def report_dropped(self, entry: QueueEntry, why: str) -> None:
        """No report is sent about `entry`, and why."""
        self._write(f"{self._bounce}{entry.queue_id}: no notification: {escape(why)}")

    def set_aside(self, queue_id: str, reason: str) -> None:
        """An entry that cannot be read was set aside; it is kept."""
        self._write(f"{self._qmgr}{queue_id}: set aside: {escape(reason)}")

    def logged_in(self, login: str, client: ClientAddress, tls: str | None) -> None:
        """A POP3 login succeeded."""
        how = f", TLS={escape(tls)}" if tls else ""
        self._write(f"{self._pop3d}login: user=<{escape(login)}>, client=unknown[{_address(client)}]{how}")

    def ended(self, login: str, client: ClientAddress, deleted: int) -> None:
        """A POP3 session that was logged in is over."""
        self._write(
            f"{self._pop3d}logout: user=<{escape(login)}>, client=unknown[{_address(client)}], deleted={deleted}"
        )
