"""Takes what programs of this machine hand in, and puts it into the queue.

Promises: who is told that it was taken has it in the queue, committed; a message of the maildrop is unlinked only
after that, so a crash between may send it twice, and never loses it. Any local user may send to anybody, as with
any sendmail; the uid stands in the trace line and the mail log.
Flow: submission_socket.py and the sweep of the maildrop call `take`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import attrs
from twisted.logger import Logger

from kms.config.settings import Settings
from kms.domain.address import AddressSyntaxError, Mailbox, parse_mailbox
from kms.domain.envelope import Envelope, Recipient
from kms.domain.message import count_received, split_header
from kms.domain.queue_entry import QueueEntry, format_queue_id
from kms.domain.trace import format_date
from kms.policy.recipient import DomainKind, NoPostmaster, Resolved, UnusableAlias, classify_domain
from kms.service.checks import Checks
from kms.service.directory import DirectoryCache
from kms.service.incoming import BodyFiles, IncomingContent
from kms.service.mail_log import MailLog
from kms.service.queue import Queue
from kms.store import maildrop
from kms.store.maildrop import DropDamaged, Submission

_log = Logger(namespace="kms.submissions")


class Refused(Exception):
    """It cannot be taken.

    Attributes:
        status: of sysexits.h: 65 unacceptable, 67 no such user, 75 not now.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Server(Protocol):
    """The part of `App` that is needed."""

    settings: Settings
    hostname: str
    queue: Queue
    directory: DirectoryCache
    checks: Checks
    files: BodyFiles
    mail_log: MailLog


@attrs.define
class Submissions:
    """Takes submissions into the queue."""

    server: Server
    _is_sweeping: bool = False

    async def take(self, submission: Submission, may_bounce: bool) -> str:
        """Put a message into the queue; gives its queue id after the commit.

        Args:
            may_bounce: unknown recipients are taken too, and reported to the sender: who handed it in has gone.

        Raises:
            Refused: nothing was kept.
        """
        server = self.server
        most = server.settings.limits.max_message_size
        if most and len(submission.data) > most:
            raise Refused(65, f"the message is larger than {most} octets")
        hops = server.settings.limits.enforced("max_received_hops")
        if 0 < hops < count_received(split_header(submission.data)[0]):
            raise Refused(65, "too many Received fields: a mail loop")
        sender = self.read_address(submission.sender) if submission.sender not in ("", "<>") else None
        recipients = self._resolve(submission.recipients, may_bounce)
        number, now = server.queue.next_number()
        queue_id = format_queue_id(number)
        trace = (
            f"Received: by {server.hostname} (from userid {submission.uid})\r\n"
            f"\tid {queue_id}; {format_date(now)}\r\n"
        ).encode("ascii")
        incoming = IncomingContent(server.files, number, now)
        waiting = incoming.take(submission.data, lambda _: trace)
        if waiting is not None:
            await waiting
        content = await incoming.store(lambda _: trace)
        recipients = server.checks.archive.add_copy(recipients)
        envelope = Envelope(sender, recipients, is_8bit=incoming.is_8bit)
        entry = QueueEntry(number, envelope, now, content.octets, now)
        try:
            await server.queue.accept(entry, content)
        except Exception:
            incoming.discard()
            raise
        server.mail_log.picked_up(entry, submission.uid)
        return queue_id

    def read_address(self, text: str) -> Mailbox:
        """Read an address; a bare name is in the first local domain. Raises Refused."""
        directory = self.server.directory.current
        try:
            return parse_mailbox(text if "@" in text else f"{text}@{directory.local_domains[0]}")
        except AddressSyntaxError as error:
            raise Refused(65, f"{text!r} is no address: {error}") from None

    def verify(self, address: str) -> tuple[Mailbox, ...]:
        """Say who would get a message for this address; nothing is sent. Raises Refused, as `take`."""
        return tuple(recipient.forward_path for recipient in self._resolve((address,), may_bounce=False))

    def _resolve(self, recipients: Sequence[str], may_bounce: bool) -> tuple[Recipient, ...]:
        directory = self.server.directory
        targets: dict[Mailbox, Mailbox] = {}
        for text in recipients:
            original = self.read_address(text)
            if classify_domain(directory.current, original.domain) is not DomainKind.LOCAL:
                targets.setdefault(original, original)
                continue
            match directory.resolve(original):
                case Resolved(found):
                    for target in found:
                        targets.setdefault(target, original)
                case NoPostmaster() if not may_bounce:
                    raise Refused(75, "there is no postmaster yet")
                case UnusableAlias(name) if not may_bounce:
                    raise Refused(75, f"a list of {name} cannot be read now")
                case _ if not may_bounce:
                    raise Refused(67, f"there is no {original} here; nothing was sent to anybody")
                case _:
                    targets.setdefault(original, original)
        return tuple(
            Recipient(place, target, original) for place, (target, original) in enumerate(targets.items(), 1)
        )

    async def sweep(self) -> None:
        """Take up what waits in the maildrop."""
        if self._is_sweeping:
            return
        self._is_sweeping = True
        try:
            for path in maildrop.waiting(self.server.settings.server.submit_dir / maildrop.FOLDER):
                await self._take_up(path)
        finally:
            self._is_sweeping = False

    async def _take_up(self, path: Path) -> None:
        most = self.server.settings.limits.max_message_size
        try:
            submission = await self.server.files.run(maildrop.take_up, path, most)
            await self.take(submission, may_bounce=True)
        except (DropDamaged, Refused) as error:
            aside = await self.server.files.run(maildrop.set_aside, path)
            _log.error("{path} of the maildrop was set aside: {error}", path=aside, error=error)
        except Exception as error:
            _log.error("{path} of the maildrop stays for now: {error}", path=path, error=error)
        else:
            path.unlink()
