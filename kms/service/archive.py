"""The archive: one more recipient for each message that is taken (`archive_to`).

Promises: the copy has the envelope of the message, so the archive sees its sender; nobody is ever told of the copy,
by a report or otherwise (NOTIFY=NEVER, which a next hop with DSN hears too); what is for the archive anyway gets no
second copy. Reports and notices of this server are not copied: they are not taken, but made.
Flow: the reception and `submissions` ask when they make the entry; the copy goes with it through the queue.
"""

from __future__ import annotations

import attrs

from kms.domain.address import Mailbox
from kms.domain.dsn_request import Notify, RecipientRequest
from kms.domain.envelope import Recipient
from kms.policy.recipient import DomainKind, Resolved, classify_domain
from kms.service.directory import DirectoryCache

_UNTOLD = RecipientRequest(Notify.NEVER)


@attrs.define
class Archive:
    """Where copies go.

    Attributes:
        directory: who is behind a local archive address.
        address: None = no archive; a reload replaces it.
    """

    directory: DirectoryCache
    address: Mailbox | None = None

    def add_copy(self, recipients: tuple[Recipient, ...]) -> tuple[Recipient, ...]:
        """Give the recipients of a message, and behind them the archive."""
        address = self.address
        if address is None:
            return recipients
        present = {recipient.forward_path for recipient in recipients}
        number = max(recipient.recipient_id for recipient in recipients)
        new = (target for target in self._targets(address) if target not in present)
        copies = (Recipient(place, target, address, _UNTOLD) for place, target in enumerate(new, number + 1))
        return (*recipients, *copies)

    def _targets(self, address: Mailbox) -> tuple[Mailbox, ...]:
        if classify_domain(self.directory.current, address.domain) is DomainKind.LOCAL:
            resolution = self.directory.resolve(address)
            if isinstance(resolution, Resolved):
                return resolution.targets
        return (address,)  # nobody there, or far away: its delivery fails, which the mail log tells
