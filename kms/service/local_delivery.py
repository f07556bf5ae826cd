"""Messages into mailboxes, gathered into batches.

A batch is written, synced together, renamed, its folders synced; only then is a recipient Delivered, so that
the queue forgets a message after the mailbox has it. A repeat after a crash finds its own file, for the name is
made of the queue id and the recipient's id.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kms.domain import reply
from kms.domain.account import Account
from kms.domain.address import Mailbox
from kms.domain.content import Content, InlineContent
from kms.domain.envelope import Recipient
from kms.domain.message import find_fields, split_header
from kms.domain.outcome import Deferred as DeferredOutcome
from kms.domain.outcome import Delivered, Failed, Handover, Outcome
from kms.domain.queue_entry import QueueEntry
from kms.policy.recipient import Resolved, UnusableAlias
from kms.service.clock import Clock
from kms.service.directory import DirectoryCache
from kms.service.mailboxes import Mailboxes
from kms.store.bodies import read_head
from kms.store.maildir import MailboxDelivery

_GATHER_SECONDS = 0.01
_BUSY_BATCH = 10  # so many at once say that much mail comes in
_BUSY_SECONDS = 0.1  # then each batch waits: its two syncs hold up the commits of the queue
_MOST_IN_A_BATCH = 500
_HEADER_OCTETS = 256 * 1024
WHERE = "local"
_DELIVERED = Delivered(reply.DELIVERED_TO_MAILBOX, WHERE, handover=Handover.FINAL)


@attrs.define  # not frozen: measured, one for each message; nobody changes one
class LocalRecipient:
    """One mailbox delivery to make, and whom to tell.

    Attributes:
        done: called once with the outcome.
    """

    entry: QueueEntry
    recipient: Recipient
    content: Content
    done: Callable[[LocalRecipient, Outcome], None]


class LocalDelivery:
    """Delivers to the mailboxes of this server.

    Args:
        mailboxes: writes the batches in its own thread.
        directory: says whose mailbox an address is.
        clock: for the gathering.
        hostname: part of the file names.
        adds_envelope_to: add X-Envelope-To with the address that RCPT named.
    """

    def __init__(
        self,
        mailboxes: Mailboxes,
        directory: DirectoryCache,
        clock: Clock,
        hostname: str,
        adds_envelope_to: bool = False,
    ) -> None:
        self._mailboxes = mailboxes
        self._directory = directory
        self._clock = clock
        self._hostname = hostname
        self.adds_envelope_to = adds_envelope_to
        self._gathered: list[tuple[LocalRecipient, MailboxDelivery]] = []
        self._is_waiting = False
        self._is_writing = False
        self._started_at = 0.0
        self._drained: Deferred[None] | None = None
        self._log = Logger(namespace="kms.local")

    def deliver(self, item: LocalRecipient) -> None:
        """Put one delivery into the next batch; `item.done` is called, never before this call has returned."""
        try:
            prepared = self._prepare(item)
        except Exception as error:
            self._log.failure("A local delivery could not be prepared")
            prepared = self._trouble(item, error)
        if not isinstance(prepared, MailboxDelivery):
            answer = prepared
            self._clock.call_later(0, lambda: item.done(item, answer))
            return
        self._gathered.append((item, prepared))
        if not self._is_waiting and not self._is_writing:
            self._is_waiting = True
            self._clock.call_later(_GATHER_SECONDS, self._write_batch)

    def drain(self) -> Deferred[None]:
        """Begin no further batch; fires when the one that is being written has been answered."""
        drained: Deferred[None] = Deferred()
        self._drained = drained
        self._tell_drained()
        return drained

    def _tell_drained(self) -> None:
        if self._drained is not None and not self._is_writing and not self._drained.called:
            self._drained.callback(None)

    def _prepare(self, item: LocalRecipient) -> MailboxDelivery | Outcome:
        account = self._directory.current.accounts.get(str(item.recipient.forward_path))
        if account is None:
            return self._look_again(item.recipient.forward_path)
        if not account.is_enabled:
            return Failed(reply.MAILBOX_DISABLED, WHERE)
        is_fresh = item.entry.attempts == 0 and item.entry.fence == 0  # the reception has looked just now
        if not is_fresh and _was_here(item.content, account.login):
            return Failed(reply.DELIVERED_TO_LOOP, WHERE)
        return self._compose(account, item)

    def _look_again(self, mailbox: Mailbox) -> Outcome:
        """Judge an address that is no mailbox: an alias that could not be expanded before, or nobody's."""
        match self._directory.resolve(mailbox):
            case UnusableAlias():
                return DeferredOutcome(reply.LIST_UNREADABLE, WHERE)
            case Resolved(targets):
                return DeferredOutcome(reply.NAMES_OTHERS_NOW, WHERE, targets=targets)
            case _:
                return Failed(reply.UNKNOWN_RECIPIENT, WHERE)

    def _compose(self, account: Account, item: LocalRecipient) -> MailboxDelivery:
        entry, recipient = item.entry, item.recipient
        sender = "" if entry.reverse_path is None else str(entry.reverse_path)
        header = f"Return-Path: <{sender}>\r\nDelivered-To: {recipient.forward_path}\r\n"
        if self.adds_envelope_to:
            header += f"X-Envelope-To: <{recipient.original}>\r\n"
        arrived = int(entry.arrived_at.timestamp())
        return MailboxDelivery(
            folder=self._mailboxes.folder(account),
            name=f"{arrived}.{entry.queue_id}R{recipient.recipient_id}.{self._hostname}",
            header=header.encode("utf-8"),
            content=item.content,
            may_exist=entry.attempts > 0 or entry.fence > 1,
        )

    def _write_batch(self) -> None:
        self._is_waiting = False
        batch, self._gathered = self._gathered[:_MOST_IN_A_BATCH], self._gathered[_MOST_IN_A_BATCH:]
        if not batch or self._drained is not None:
            return
        self._is_writing = True
        self._started_at = self._clock.monotonic()
        written: Deferred[list[OSError | None]] = self._mailboxes.deliver([delivery for _, delivery in batch])
        written.addBoth(self._batch_written, batch)

    def _batch_written(
        self,
        result: list[OSError | None] | Failure,
        batch: list[tuple[LocalRecipient, MailboxDelivery]],
    ) -> None:
        self._is_writing = False
        if isinstance(result, Failure):
            self._log.failure("A batch of local deliveries failed", result)
            result = [OSError("the batch failed")] * len(batch)
        for (item, _), error in zip(batch, result, strict=True):
            try:
                item.done(item, _DELIVERED if error is None else self._trouble(item, error))
            except Exception:  # the others are to be told; this one is tried again, and found in its mailbox
                self._log.failure("A local delivery could not be recorded")
        self._next_batch(len(batch))
        self._tell_drained()

    def _next_batch(self, last: int) -> None:
        """Go on with what has gathered meanwhile: at once, or, while much mail comes in, after a pause."""
        pause = self._started_at + _BUSY_SECONDS - self._clock.monotonic()
        if last < _BUSY_BATCH or len(self._gathered) >= _MOST_IN_A_BATCH or pause <= 0:
            self._write_batch()
        elif self._drained is None:
            self._is_waiting = True
            self._clock.call_later(pause, self._write_batch)

    def _trouble(self, item: LocalRecipient, error: Exception) -> Outcome:
        self._log.error(
            "{queue_id}: the mailbox of {recipient} cannot be written: {error}",
            queue_id=item.entry.queue_id,
            recipient=item.recipient.forward_path,
            error=error,
        )
        return DeferredOutcome(reply.MAILBOX_TROUBLE, WHERE)


def _was_here(content: Content, login: str) -> bool:
    """Say whether the message went through this mailbox already (RFC 9228)."""
    head = content.data if isinstance(content, InlineContent) else read_head(content, _HEADER_OCTETS)
    header, _ = split_header(head)
    if b"delivered-to" not in header.lower():
        return False
    wanted = login.encode("utf-8")
    return any(value.strip().lower() == wanted for value in find_fields(header, b"Delivered-To"))
