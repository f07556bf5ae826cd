"""What came of one recipient in one attempt.

Three values, each with the reply that says so: the remote server's own words, or ours where there was no
server to ask. An unknown error is `Deferred`, so that a fault of ours never loses a mail.
"""

from __future__ import annotations

import attrs

from kms.domain.reply import Reply


@attrs.frozen
class Delivered:
    """The next hop, or the mailbox, has taken responsibility (RFC 5321 6.1).

    Attributes:
        reply: what it said.
        where: host name and address of the hop, for the log and the report; "local" for a mailbox.
        tls: protocol and cipher of the connection, for the mail log; None = clear text, or no connection.
    """

    reply: Reply
    where: str
    tls: str | None = None


@attrs.frozen
class Deferred:
    """Not now: the recipient stays in the queue.

    Attributes:
        reply: a 4yz reply, the remote's or ours.
        where: the hop that said so; "none" when none was reached.
        is_ambiguous: the connection was lost after the final dot, so the hop may have taken it (RFC 1047).
        tls: protocol and cipher of the connection, for the mail log; None = clear text, or no connection.
    """

    reply: Reply
    where: str
    is_ambiguous: bool = False
    tls: str | None = None


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
