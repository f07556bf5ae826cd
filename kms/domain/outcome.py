"""What came of one recipient in one attempt.

Three values, each with the reply that says so: the remote server's own words, or ours where there was no
server to ask. An unknown error is `Deferred`, so that a fault of ours never loses a mail.
"""

from __future__ import annotations

import enum

import attrs

from kms.domain.address import Mailbox
from kms.domain.reply import Reply


class Handover(enum.Enum):
    """Who has the message now, and so who reports its delivery to a sender that asked (RFC 3461 5.2).

    FINAL: it is in its mailbox, so we do. REPORTING: a hop that was told what the sender asked; it does.
    SILENT: a hop that knows nothing of such requests, so all that we can report is that it has the message.
    """

    FINAL = "final"
    REPORTING = "reporting"
    SILENT = "silent"


@attrs.frozen
class Delivered:
    """The next hop, or the mailbox, has taken responsibility (RFC 5321 6.1).

    Attributes:
        reply: what it said.
        where: host name and address of the hop, for the log and the report; "local" for a mailbox.
        tls: protocol and cipher of the connection, for the mail log; None = clear text, or no connection.
        handover: who has it now.
    """

    reply: Reply
    where: str
    tls: str | None = None
    handover: Handover = Handover.SILENT


@attrs.frozen
class Deferred:
    """Not now: the recipient stays in the queue.

    Attributes:
        reply: a 4yz reply, the remote's or ours.
        where: the hop that said so; "none" when none was reached.
        is_ambiguous: the connection was lost after the final dot, so the hop may have taken it (RFC 1047).
        tls: protocol and cipher of the connection, for the mail log; None = clear text, or no connection.
        targets: who stands in the recipient's place from now on; empty = nobody, it stays as it is.
    """

    reply: Reply
    where: str
    is_ambiguous: bool = False
    tls: str | None = None
    targets: tuple[Mailbox, ...] = ()


@attrs.frozen
class Failed:
    """Never: the sender gets a report.

    Attributes:
        reply: a 5yz reply, the remote's or ours.
        where: the hop that said so; "none" when none was reached.
        tls: protocol and cipher of the connection, for the mail log; None = clear text, or no connection.
    """

    reply: Reply
    where: str
    tls: str | None = None


Outcome = Delivered | Deferred | Failed
